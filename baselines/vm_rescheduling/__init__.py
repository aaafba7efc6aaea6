"""Planners and policies for VM rescheduling."""
