"""Tables of measured results, made by ``python -m fleetgym.scripts.results FAMILY``."""
