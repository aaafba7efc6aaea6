"""Measured time of attention in every layer of a model, for prefill and for decode iterations."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fleetgym.envs.hardware.models import Model

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Attention:
    """Iterations of ``batch`` equal requests each.

    Attributes:
        batch: requests, ``(n,)``.
        length: new tokens (prefill, none cached) or keys (decode) of each request, ``(n,)``.
        ms: of attention, all layers, ``(n,)``.
    """

    batch: Float64
    length: Float64
    ms: Float64

    def only(self, wanted: NDArray[np.bool_]) -> "Attention":
        """Some of them."""
        return Attention(self.batch[wanted], self.length[wanted], self.ms[wanted])


def attention(
    sweep: pl.DataFrame, model: Model, tp: int, length: Literal["tokens", "keys"]
) -> Attention | None:
    """What a sweep says of the heads a model has on each of ``tp`` GPUs.

    Query heads between those measured are interpolated; key-value heads must be measured.

    Args:
        sweep: of ``aiconfigurator.read_context_attention`` or ``read_generation_attention``.
        model: of which.
        tp: GPUs it is split over.
        length: the sweep's column of lengths.

    Returns:
        None where the key-value heads are not in the sweep, or the query heads not within it.
    """
    rows = sweep.filter(pl.col("kv_heads") == model.kv_heads_per_gpu(tp))
    heads = model.heads // tp
    below = rows.filter(pl.col("heads") <= heads)["heads"].max()
    above = rows.filter(pl.col("heads") >= heads)["heads"].min()
    if not isinstance(below, int) or not isinstance(above, int):
        return None
    keys = ["batch", length]
    low, high = (rows.filter(pl.col("heads") == each) for each in (below, above))
    both = low.join(high, on=keys, suffix="_high").sort(keys)
    share = (heads - below) / (above - below) if above > below else 0.0
    low_ms, high_ms = both["ms"].to_numpy(), both["ms_high"].to_numpy()
    ms = model.layers * (low_ms + share * (high_ms - low_ms))
    batch, lengths = (both[name].to_numpy().astype(np.float64) for name in keys)
    return Attention(batch, lengths, ms)
