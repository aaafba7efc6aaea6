"""Fleets as one compressed file of arrays: quick to load, nothing pickled."""

import os
import tempfile
import zipfile
import zlib
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
_ARRAYS = tuple(field.name for field in fields(Fleet) if field.name not in ("name", *_IDS))
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
_KEYS = {"version", "name", *_IDS, *_ARRAYS}


def fleet_to_npz(fleet: Fleet, path: str | Path) -> Path:
    """Writes a fleet, to a temporary file that is then renamed.

    Args:
        fleet: to write.
        path: of the file; its folder must exist.

    Raises:
        TraceError: the fleet is not valid, or the file cannot be written.
    """
    path = Path(path)
    fleet.validate()
    arrays: dict[str, Any] = {name: getattr(fleet, name) for name in _ARRAYS}
    arrays |= {name: np.array(getattr(fleet, name), np.str_) for name in _IDS}
    try:
        handle, part = tempfile.mkstemp(prefix=path.name, suffix=".part", dir=path.parent)
    except OSError as error:
        raise TraceError(f"{path}: cannot be written ({error.strerror})") from error
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez_compressed(file, version=np.int64(VERSION), name=np.str_(fleet.name), **arrays)
        Path(part).replace(path)
    except OSError as error:
        raise TraceError(f"{path}: cannot be written ({error.strerror})") from error
    finally:
        Path(part).unlink(missing_ok=True)
    return path


def fleet_from_npz(path: str | Path) -> Fleet:
    """Reads and validates what `fleet_to_npz` wrote.

    Raises:
        TraceError: not found, not such a file, of another version, or not a valid fleet.
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
        raise TraceError(f"{path}: not a fleet's .npz file, or cut off ({error})") from error
    _check(path, arrays)
    columns: dict[str, Any] = {
        name: arrays[name].astype(np.bool_ if name in _BOOLS else np.int32) for name in _ARRAYS
    }
    try:
        columns |= {name: tuple(arrays[name].tolist()) for name in _IDS}
        columns["name"] = str(arrays["name"])
    except (ValueError, SystemError) as error:  # what NumPy raises beyond the last code point
        raise TraceError(f"{path}: holds text that is not Unicode ({error})") from error
    return Fleet(**columns).validate()


def _check(path: str | Path, arrays: dict[str, NDArray[np.generic]]) -> None:
    odd = sorted(_KEYS ^ set(arrays))
    if odd:
        raise TraceError(f"{path}: a fleet's .npz has other arrays; missing or unknown: {odd}")
    version = arrays["version"]
    if version.dtype != np.int64 or version.ndim or version != VERSION:
        raise TraceError(f"{path}: version {version}, but this package reads {VERSION}")
    for name, array in arrays.items():
        if name == "version":
            continue
        text = name == "name" or name in _IDS
        kind = np.str_ if text else np.bool_ if name in _BOOLS else np.int32
        dimensions = 0 if name == "name" else 1
        if not np.issubdtype(array.dtype, kind) or array.ndim != dimensions:
            raise TraceError(
                f"{path}: {name} is {array.ndim}-dimensional {array.dtype}, "
                f"not {dimensions}-dimensional {kind.__name__}"
            )
