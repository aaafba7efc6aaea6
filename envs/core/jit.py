"""The one way to compile a kernel, and the one place that knows where compiled code is kept.

Numba's cache does not notice an edited callee in another file, so the cache folder is keyed by a
digest of every kernel source of the package: an edit anywhere recompiles, a new process does not.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TypeVar

import numba
from numba.core import config

F = TypeVar("F", bound=Callable[..., object])

PACKAGE = Path(__file__).parents[2]
FOLDERS = ("envs", "baselines", "agents")


@cache
def cache_folder() -> Path:
    """Where compiled kernels are kept: under ``NUMBA_CACHE_DIR``, else the user's cache folder."""
    digest = hashlib.sha256()
    for folder in FOLDERS:
        for path in sorted((PACKAGE / folder).rglob("*.py")):
            source = path.read_bytes()
            if b"core.jit import" in source:
                digest.update(path.name.encode() + source)
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    base = Path(chosen) if chosen else Path(home).expanduser() / "fleetgym" / "kernels"
    folder_path = base / digest.hexdigest()[:16]
    try:
        folder_path.mkdir(parents=True, exist_ok=True)
    except OSError:
        folder_path = Path(tempfile.mkdtemp(prefix="fleetgym-kernels-"))
    return folder_path


def kernel(function: F) -> F:
    """Compiles a module-level function that Python calls: cached on disk, without the GIL.

    Arithmetic is exact. Nothing is allocated inside, so reference counting is left out: with the
    dozens of arrays that a kernel takes, counting costs more than the work (measured 18 times).
    """
    return _compile(function)


def inner(function: F) -> F:
    """Compiles a function that only kernels call: as `kernel`, without a way in from Python."""
    return _compile(function, no_cpython_wrapper=True, no_cfunc_wrapper=True)


def _compile(function: F, **options: bool) -> F:
    before = config.CACHE_DIR  # type: ignore[attr-defined]
    config.CACHE_DIR = str(cache_folder())  # type: ignore[attr-defined]
    try:
        compiled: F = numba.njit(  # type: ignore[call-overload]
            cache=True, nogil=True, _nrt=False, **options
        )(function)
    finally:
        config.CACHE_DIR = before  # type: ignore[attr-defined]
    return compiled
