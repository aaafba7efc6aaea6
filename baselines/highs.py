"""HiGHS through SciPy, silent: some of its messages ignore ``disp`` and would spoil our output."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from scipy import optimize

_lock = threading.Lock()  # the standard output belongs to the whole process


def milp(*args: Any, **kwargs: Any) -> Any:
    """``scipy.optimize.milp``, silent."""
    with _silence():
        return optimize.milp(*args, **kwargs)


def linprog(*args: Any, **kwargs: Any) -> Any:
    """``scipy.optimize.linprog``, silent."""
    with _silence():
        return optimize.linprog(*args, **kwargs)


@contextmanager
def _silence() -> Iterator[None]:
    """Sends file descriptor 1, which HiGHS writes to past Python, nowhere for a while."""
    with _lock:
        sys.stdout.flush()
        kept = os.dup(1)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, 1)
            yield
        finally:
            os.dup2(kept, 1)
            os.close(kept)
            os.close(nowhere)
