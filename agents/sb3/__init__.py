"""Stable-Baselines3: the vector environment and training."""
