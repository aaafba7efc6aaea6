"""Real traces and seeded generators: what a fleet is asked to do."""
