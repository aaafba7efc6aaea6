"""One thread everywhere, and the real data where the checkout has it beside itself."""

import os
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

DATA = Path(__file__).parents[2] / "shared" / "data"
if DATA.is_dir():
    os.environ.setdefault("FLEETGYM_DATA", str(DATA))


def pytest_configure(config):
    """Keeps torch on one thread too, without loading it for tests that do not need it."""
    import sys

    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
