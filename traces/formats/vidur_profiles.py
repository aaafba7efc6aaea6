"""Reader of Vidur's compute profiles: median kernel times of one transformer layer, CSV.

``data/profiling/compute/GPU/MODEL/mlp.csv`` of github.com/microsoft/vidur (MLSys'24) has a row for
each count of tokens and tensor-parallel degree, with ``time_stats.KERNEL.median`` in ms.
"""

from pathlib import Path

import polars as pl

from fleetgym.traces.errors import TraceError
from fleetgym.traces.formats.tables import check_range, read_csv

KERNELS = (
    "emb",  # once an iteration; all others once a layer
    "input_layernorm",
    "attn_pre_proj",
    "attn_rope",
    "attn_post_proj",
    "post_attention_layernorm",
    "mlp_up_proj",
    "mlp_act",
    "mlp_down_proj",
    "add",
)
_COUNTS = {"num_tensor_parallel_workers": "tp", "num_tokens": "tokens"}
_TIMES = {f"time_stats.{kernel}.median": f"{kernel}_ms" for kernel in KERNELS}
_MOST_MS = 1e5  # a kernel of more than 100 s is a mistake of units


def read(path: str | Path) -> pl.DataFrame:
    """Times in ms, sorted by ``tp`` and ``tokens``; those of repeated rows are their medians.

    Returns:
        Columns ``tp``, ``tokens`` (int) and ``KERNEL_ms`` for each of `KERNELS` (float).

    Raises:
        TraceError: the file is not found, cut off, empty or malformed, or a value is out of range.
    """
    columns: dict[str, type[pl.DataType]] = dict.fromkeys(_COUNTS, pl.Int64)
    columns |= dict.fromkeys(_TIMES, pl.Float64)
    table = read_csv(path, columns)
    if not len(table):
        raise TraceError(f"{path}: no rows; expected one for each count of tokens")
    for column in _COUNTS:
        check_range(path, table, column, 1, 2**31)
    for column in _TIMES:
        check_range(path, table, column, 0, _MOST_MS)
    keys = list(_COUNTS.values())
    return table.rename(_COUNTS | _TIMES).group_by(keys).agg(pl.all().median()).sort(keys)
