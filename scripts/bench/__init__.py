"""Steps per CPU-second, memory, and the ratio to named peers."""
