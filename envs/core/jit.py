"""The one way to compile a kernel, and the one place that knows where compiled code is kept.

Numba's cache does not notice an edited callee, or constant, in another file. So the cache folder of
a module is keyed by a digest of its source and of all that it imports from the package: an edit
recompiles what depends on it, a new process recompiles nothing.
"""

import ast
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TypeVar

import numba
from numba.core import config

F = TypeVar("F", bound=Callable[..., object])

ROOT = "fleetgym"
PACKAGE = Path(__file__).parents[2]


@cache
def cache_folder(module: str) -> Path:
    """Where the kernels of a module are kept: under ``NUMBA_CACHE_DIR``, else the user's cache."""
    digest = hashlib.sha256()
    for name in sorted(_closure(module)):
        digest.update(name.encode() + (_source(name) or b""))
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    base = Path(chosen) if chosen else Path(home).expanduser() / "fleetgym" / "kernels"
    folder_path = base / digest.hexdigest()[:16]
    try:
        folder_path.mkdir(parents=True, exist_ok=True)
    except OSError:
        folder_path = Path(tempfile.mkdtemp(prefix="fleetgym-kernels-"))
    return folder_path


def _closure(module: str) -> set[str]:
    """The module and all modules of the package that it imports, directly or not."""
    found, waiting = set(), [module]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(_imports(name))
    return found


@cache
def _imports(module: str) -> tuple[str, ...]:
    """Modules of the package that a module imports, wherever in it."""
    source = _source(module)
    return () if source is None else tuple(_imported(ast.parse(source)))


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == ROOT:
            for name in (f"{node.module}.{alias.name}" for alias in node.names):
                yield name if _source(name) is not None else str(node.module)


def _source(module: str) -> bytes | None:
    """The source of a module of the package, None where there is none of that name."""
    parts = module.split(".")[1:]
    path = PACKAGE.joinpath(*parts).with_suffix(".py")
    return path.read_bytes() if parts and path.is_file() else None


def kernel(function: F) -> F:
    """Compiles a module-level function that Python calls: cached on disk, without the GIL.

    Arithmetic is exact. Nothing is allocated inside, so reference counting is left out: with the
    dozens of arrays that a kernel takes, counting costs more than the work (measured 18 times).
    """
    return _compile(function)


def inner(function: F) -> F:
    """Compiles a function that only kernels call: as `kernel`, without a way in from Python."""
    return _compile(function, no_cpython_wrapper=True, no_cfunc_wrapper=True)


def folded(function: F) -> F:
    """As `inner`, and made part of each kernel that calls it.

    For large functions that take whole worlds: handing over dozens of arrays costs more than many
    of them do, and a compiler left to itself calls what is large.
    """
    return _compile(function, no_cpython_wrapper=True, no_cfunc_wrapper=True, forceinline=True)


def _compile(function: F, **options: bool) -> F:
    before = config.CACHE_DIR  # type: ignore[attr-defined]
    config.CACHE_DIR = str(cache_folder(function.__module__))  # type: ignore[attr-defined]
    try:
        compiled: F = numba.njit(  # type: ignore[call-overload]
            cache=True, nogil=True, _nrt=False, **options
        )(function)
    finally:
        config.CACHE_DIR = before  # type: ignore[attr-defined]
    return compiled
