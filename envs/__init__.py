"""The simulated fleets: a core written once, and a folder for each family."""
