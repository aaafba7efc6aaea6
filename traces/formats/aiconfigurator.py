"""Readers of aiconfigurator's kernel sweeps: attention, matrix products, all-reduce, Parquet.

``systems/data/GPU`` of github.com/ai-dynamo/aiconfigurator. A ``latency`` is that of one kernel in
ms. Only what is computed and cached in bfloat16 is taken; repeated rows give their medians.
"""

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import polars as pl

from fleetgym.traces.errors import TraceError
from fleetgym.traces.formats.tables import check_range
from fleetgym.traces.reading import read_bytes

_DTYPE = "bfloat16"
_MOST_MS = 1e5  # a kernel of more than 100 s is a mistake of units
_HEADS = {"num_heads": "heads", "num_key_value_heads": "kv_heads"}


def read_context_attention(path: str | Path) -> pl.DataFrame:
    """Prefill attention over whole sequences, heads of 128.

    Returns:
        Columns ``heads``, ``kv_heads``, ``batch``, ``tokens`` (of each sequence), ``ms``.

    Raises:
        TraceError: the file is not found, cut off, empty or malformed, or a value is out of range.
    """
    table = _attention(path)
    uncached = table.filter(pl.col("step") == 0).drop("step")
    return _medians(path, uncached, {**_HEADS, "batch_size": "batch", "isl": "tokens"})


def read_generation_attention(path: str | Path) -> pl.DataFrame:
    """Decode attention, one new token for each sequence, heads of 128.

    Returns:
        Columns ``heads``, ``kv_heads``, ``batch``, ``keys`` (of each sequence: isl + step), ``ms``.

    Raises:
        TraceError: as `read_context_attention`.
    """
    table = _attention(path).with_columns(isl=pl.col("isl") + pl.col("step")).drop("step")
    return _medians(path, table, {**_HEADS, "batch_size": "batch", "isl": "keys"})


def read_gemm(path: str | Path) -> pl.DataFrame:
    """Products of an (m, k) by a (k, n) matrix.

    Returns:
        Columns ``m``, ``n``, ``k``, ``ms``.

    Raises:
        TraceError: as `read_context_attention`.
    """
    table = _read(path, ("m", "n", "k"), {"gemm_dtype": _DTYPE})
    return _medians(path, table, {"m": "m", "n": "n", "k": "k"})


def read_all_reduce(path: str | Path) -> pl.DataFrame:
    """All-reduce of vLLM replayed from a CUDA graph.

    Returns:
        Columns ``tp`` (GPUs), ``bytes`` (message_size counts elements of two bytes), ``ms``.

    Raises:
        TraceError: as `read_context_attention`.
    """
    wanted = {"allreduce_dtype": _DTYPE, "backend": "vllm_graph"}
    table = _read(path, ("num_gpus", "message_size"), wanted)
    sized = table.with_columns(message_size=2 * pl.col("message_size"))
    return _medians(path, sized, {"num_gpus": "tp", "message_size": "bytes"})


def _attention(path: str | Path) -> pl.DataFrame:
    counts = ("num_heads", "num_key_value_heads", "batch_size", "isl", "step", "head_dim")
    table = _read(path, counts, {"attn_dtype": _DTYPE, "kv_cache_dtype": _DTYPE}, "window_size")
    return table.filter(pl.col("head_dim") == 128).drop("head_dim")


def _read(
    path: str | Path, counts: tuple[str, ...], wanted: Mapping[str, str], absent: str = ""
) -> pl.DataFrame:
    """Counts and latency of the rows whose text columns are as wanted.

    Args:
        path: of the file.
        counts: columns of whole numbers.
        wanted: text columns and the value of each that is taken.
        absent: a column that older files lack, and must be 0 where it is there.
    """
    content = read_bytes(path)
    try:
        table = pl.read_parquet(BytesIO(content))
    except (pl.exceptions.PolarsError, OSError) as error:
        first = str(error).splitlines()[0]
        raise TraceError(f"{path}: not Parquet, empty or cut off ({first})") from error
    needed = [*counts, "latency", *wanted]
    missing = [name for name in needed if name not in table.columns]
    if missing:
        raise TraceError(f"{path}: columns {missing} are missing; it has {table.columns}")
    if absent in table.columns:
        table = table.filter(pl.col(absent) == 0)
    try:
        table = table.select(
            *(pl.col(name).cast(pl.Int64) for name in counts),
            pl.col("latency").cast(pl.Float64),
            *(pl.col(name).cast(pl.String) for name in wanted),
        )
    except pl.exceptions.PolarsError as error:
        raise TraceError(f"{path}: a column is of another type ({error})") from error
    for name in counts:
        check_range(path, table, name, 0 if name == "step" else 1, 2**31)
    check_range(path, table, "latency", 0, _MOST_MS)
    for name, value in wanted.items():
        table = table.filter(pl.col(name) == value).drop(name)
    return table


def _medians(path: str | Path, table: pl.DataFrame, names: Mapping[str, str]) -> pl.DataFrame:
    """The table under other names, sorted, with one row for each combination of counts."""
    if not len(table):
        raise TraceError(f"{path}: no row is measured in {_DTYPE} as expected")
    keys = list(names.values())
    renamed = table.rename({**names, "latency": "ms"})
    return renamed.group_by(keys).agg(pl.col("ms").median()).sort(keys)
