"""Seeded generators of workloads."""
