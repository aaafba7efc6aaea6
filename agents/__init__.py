"""Agents that learn, and the weights that ship."""
