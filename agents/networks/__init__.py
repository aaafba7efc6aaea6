"""Torch modules, independent of the size of the fleet."""
