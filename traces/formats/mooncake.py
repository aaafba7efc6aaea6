"""Reader of the Mooncake traces (FAST'25): requests with the hashes of their prompts, JSONL.

An object a line, ``{"timestamp", "input_length", "output_length", "hash_ids"}``: milliseconds,
tokens, and an id for each block of 512 prompt tokens (the last may be partial) that is the same
where the prompt is the same from its start to the end of that block.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import numpy as np
import polars as pl

from fleetgym.traces.errors import TraceError
from fleetgym.traces.formats.serving_columns import MAX_S, Requests, source
from fleetgym.traces.report import ReadReport
from fleetgym.traces.schema import MAX_SIZE
from fleetgym.traces.schema_serving import ServingTrace

BLOCK_TOKENS = 512  # of a hash
_MS = 10**6  # ns
_HIGHEST = {"timestamp": MAX_S * 1000, "input_length": MAX_SIZE, "output_length": MAX_SIZE}
_SCHEMA = dict.fromkeys(_HIGHEST, pl.Int64()) | {"hash_ids": pl.List(pl.Int64)}


def read(path: str | Path) -> tuple[ServingTrace, ReadReport]:
    """The requests of a file, and what was dropped and repaired, as `Requests.serving` says.

    Args:
        path: ``.jsonl`` or ``.jsonl.gz``.

    Raises:
        TraceError: the file is not found, cut off or malformed, or holds no request.
    """
    try:
        table = pl.read_ndjson(source(path), schema=_SCHEMA)
    except pl.exceptions.PolarsError as error:
        _name_the_fault(path, str(error).splitlines()[0])
    ids = table["hash_ids"]
    for name, high in _HIGHEST.items():
        if not table[name].is_between(0, high).fill_null(False).all():
            _name_the_fault(path, f"{name} is missing or out of range")
    if ids.null_count() or ids.explode(empty_as_null=False).null_count():
        _name_the_fault(path, "hash_ids are missing")
    time, prompt, output = (table[name].to_numpy() for name in _HIGHEST)
    trace, report, rows = Requests(time * _MS, prompt, output).serving(path)
    return _with_hashes(trace, ids.gather(rows)).validate(), report


def _with_hashes(trace: ServingTrace, ids: pl.Series) -> ServingTrace:
    count = ids.list.len().cast(pl.Int64).to_numpy()
    _, dense = np.unique(ids.explode(empty_as_null=False).to_numpy(), return_inverse=True)
    return replace(
        trace,
        hash_start=(np.cumsum(count) - count).astype(np.int32),
        hash_count=count.astype(np.int32),
        hashes=dense.astype(np.int32),
        hash_tokens=BLOCK_TOKENS if len(dense) else 0,
    )


def _name_the_fault(path: str | Path, what: str) -> NoReturn:
    """Raises for the first line that is not as it must be; polars does not say which it is."""
    for number, line in _lines(path):
        try:
            row = json.loads(line)
        except ValueError:
            raise TraceError(
                f"{path}: line {number}: not JSON, or cut off: {line[:60]!r}"
            ) from None
        if not isinstance(row, dict):
            raise TraceError(f"{path}: line {number}: expected an object, got {line[:60]!r}")
        for name, high in _HIGHEST.items():
            if not _whole(row.get(name), 0, high):
                raise TraceError(
                    f"{path}: line {number}: {name} is {row.get(name)!r}, expected a whole number "
                    f"from 0 to {high}"
                )
        ids = row.get("hash_ids")
        if not isinstance(ids, list) or not all(_whole(i, -(2**63), 2**63 - 1) for i in ids):
            raise TraceError(
                f"{path}: line {number}: hash_ids is {str(ids)[:60]}, expected a list of integers"
            )
    raise TraceError(f"{path}: not the JSONL expected ({what})")


def _whole(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _lines(path: str | Path) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, with their number."""
    where = source(path)
    opened: Iterable[bytes] = where.open("rb") if isinstance(where, Path) else where
    return ((number, line) for number, line in enumerate(opened, 1) if line.strip())
