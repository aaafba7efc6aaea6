"""Traces as one compressed file of arrays: quick to load, nothing pickled; here, fleets."""

import os
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleetgym.traces.errors import TraceError
from fleetgym.traces.reading import MAX_BYTES
from fleetgym.traces.schema import Fleet

VERSION = 1
_IDS = ("pm_ids", "vm_ids")
_BOOLS = ("vm_double", "vm_movable")
_COLUMNS = tuple(field.name for field in fields(Fleet) if field.name not in ("name", *_IDS))

Layout = Mapping[str, tuple[type[np.generic], int]]  # of each array its type and dimensions
_LAYOUT: Layout = {
    "name": (np.str_, 0),
    **dict.fromkeys(_IDS, (np.str_, 1)),
    **{name: (np.bool_ if name in _BOOLS else np.int32, 1) for name in _COLUMNS},
}
_HEADER = 256  # bytes, or fewer, beside the data of an array in the file
# What a damaged archive makes zipfile and NumPy raise, beside errors of their own.
_BROKEN = (
    OSError,
    EOFError,
    KeyError,
    ValueError,
    RuntimeError,
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
)


def fleet_to_npz(fleet: Fleet, path: str | Path) -> Path:
    """Writes a fleet, to a temporary file that is then renamed.

    Args:
        fleet: to write.
        path: of the file; its folder must exist.

    Raises:
        TraceError: the fleet is not valid, or the file cannot be written.
    """
    return write_arrays(fleet.validate(), path, _LAYOUT)


def fleet_from_npz(path: str | Path) -> Fleet:
    """Reads and validates what `fleet_to_npz` wrote.

    Raises:
        TraceError: not found, not such a file, of another version, or not a valid fleet.
    """
    return Fleet(**read_arrays(path, _LAYOUT, "a fleet")).validate()


def write_arrays(trace: object, path: str | Path, layout: Layout) -> Path:
    """Writes attributes of a trace as arrays, to a temporary file that is then renamed.

    Args:
        trace: valid, with an attribute of each name of the layout.
        path: of the file; its folder must exist.
        layout: what to write.

    Raises:
        TraceError: the file cannot be written, or would be too large to be read.
    """
    path = Path(path)
    arrays: dict[str, Any] = {
        name: np.asarray(getattr(trace, name), kind) for name, (kind, _) in layout.items()
    }
    size = sum(array.nbytes + _HEADER for array in arrays.values())
    if size > MAX_BYTES:
        raise TraceError(f"{path}: {size} bytes are more than the {MAX_BYTES} that can be read")
    try:
        handle, part = tempfile.mkstemp(prefix=path.name, suffix=".part", dir=path.parent)
    except OSError as error:
        raise TraceError(f"{path}: cannot be written ({error.strerror})") from error
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez_compressed(file, version=np.int64(VERSION), **arrays)
        Path(part).replace(path)
    except OSError as error:
        raise TraceError(f"{path}: cannot be written ({error.strerror})") from error
    finally:
        Path(part).unlink(missing_ok=True)
    return path


def read_arrays(path: str | Path, layout: Layout, what: str) -> dict[str, Any]:
    """Reads what `write_arrays` wrote with the same layout.

    Args:
        path: of the file.
        layout: what it must hold.
        what: "a fleet", for messages.

    Returns:
        The attributes: an array as one, text as str or a tuple of str, a number as int.

    Raises:
        TraceError: not found, too large, not such a file, or of another version.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > MAX_BYTES:
            raise TraceError(f"{path}: holds more than {MAX_BYTES} bytes uncompressed; not read")
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise TraceError(f"{path}: no such file") from None
    except _BROKEN as error:
        raise TraceError(f"{path}: not {what}'s .npz file, or cut off ({error})") from error
    odd = sorted({"version", *layout} ^ set(arrays))
    if odd:
        raise TraceError(f"{path}: {what}'s .npz has other arrays; missing or unknown: {odd}")
    version = arrays["version"]
    if version.dtype != np.int64 or version.ndim or version != VERSION:
        raise TraceError(f"{path}: version {version}, but this package reads {VERSION}")
    for name, (kind, dimensions) in layout.items():
        array = arrays[name]
        if not np.issubdtype(array.dtype, kind) or array.ndim != dimensions:
            raise TraceError(
                f"{path}: {name} is {array.ndim}-dimensional {array.dtype}, "
                f"not {dimensions}-dimensional {kind.__name__}"
            )
    try:
        return {name: _attribute(arrays[name], kind) for name, (kind, _) in layout.items()}
    except (ValueError, SystemError) as error:  # what NumPy raises beyond the last code point
        raise TraceError(f"{path}: holds text that is not Unicode ({error})") from error


def _attribute(array: NDArray[Any], kind: type[np.generic]) -> Any:
    if kind is np.str_:
        return tuple(array.tolist()) if array.ndim else str(array)
    return array.astype(kind) if array.ndim else int(array)  # in this machine's byte order
