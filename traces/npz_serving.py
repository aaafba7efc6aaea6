"""Serving traces as one compressed file of arrays, as `fleetgym.traces.npz` keeps fleets."""

import zipfile
from pathlib import Path

import numpy as np

from fleetgym.traces.npz import Layout, read_arrays, write_arrays
from fleetgym.traces.schema_serving import ServingTrace

_LAYOUT: Layout = {
    "name": (np.str_, 0),
    "arrival_ns": (np.int64, 1),
    "prompt_tokens": (np.int32, 1),
    "output_tokens": (np.int32, 1),
    "client": (np.int32, 1),
    "program": (np.int32, 1),
    "next_turn": (np.int32, 1),
    "pause_ns": (np.int64, 1),
    "hash_start": (np.int32, 1),
    "hash_count": (np.int32, 1),
    "hashes": (np.int32, 1),
    "hash_tokens": (np.int64, 0),
}


def serving_to_npz(trace: ServingTrace, path: str | Path) -> Path:
    """Writes a serving trace, to a temporary file that is then renamed.

    Args:
        trace: to write.
        path: of the file; its folder must exist.

    Raises:
        TraceError: the trace is not valid, or the file cannot be written.
    """
    return write_arrays(trace.validate(), path, _LAYOUT)


def serving_from_npz(path: str | Path) -> ServingTrace:
    """Reads and validates what `serving_to_npz` wrote.

    Raises:
        TraceError: not found, not such a file, of another version, or not a valid trace.
    """
    return ServingTrace(**read_arrays(path, _LAYOUT, "a serving trace")).validate()


def is_serving(path: str | Path) -> bool:
    """Whether a file is an archive with arrivals of requests, as `serving_to_npz` writes them."""
    try:
        with zipfile.ZipFile(path) as archive:
            return "arrival_ns.npy" in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False
