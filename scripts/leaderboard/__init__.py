"""Evaluate, verify by replay, rank, and report."""
