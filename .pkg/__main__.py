"""``python -m fleetgym`` is the command line."""

from fleetgym.scripts.cli import main

if __name__ == "__main__":
    main()
