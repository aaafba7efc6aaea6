"""Measured time of everything in a model's iteration that runs over all tokens alike.

That is the embedding and, in each layer, two norms, rotary embedding, activation, residual sum and
the four matrix products. `profiled` takes all of it from Vidur's profile of the very model;
`composed` takes the products from a sweep, at shapes between those measured by interpolation, and
the element-wise kernels from `Elementwise`. The output layer is in neither: Vidur did not measure
it, and the sweeps end at half of today's vocabularies.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.interpolate import RegularGridInterpolator
from scipy.optimize import nnls

from fleetgym.envs.hardware.models import Model

Float64 = NDArray[np.float64]

ELEMENTWISE = ("input_layernorm", "attn_rope", "post_attention_layernorm", "mlp_act", "add")
PRODUCTS = ("attn_pre_proj", "attn_post_proj", "mlp_up_proj", "mlp_down_proj")


@dataclass(frozen=True)
class Curve:
    """A time over the number of tokens: measured points, straight lines between them.

    Attributes:
        tokens: ascending, ``(n,)``.
        ms: ``(n,)``.
    """

    tokens: Float64
    ms: Float64

    def at(self, tokens: Float64) -> Float64:
        """Time in ms for numbers of tokens within the measured range, any shape."""
        return np.interp(tokens, self.tokens, self.ms)


@dataclass(frozen=True)
class Elementwise:
    """Time of kernels that read and write activations and compute next to nothing.

    Attributes:
        overhead_ms: of a kernel.
        ms_per_byte: of memory traffic.
    """

    overhead_ms: float
    ms_per_byte: float

    def on(self, bandwidth_ratio: float) -> "Elementwise":
        """The same kernels on a GPU whose memory is that much faster."""
        return Elementwise(self.overhead_ms, self.ms_per_byte / bandwidth_ratio)

    def ms(self, kernels: int, num_bytes: Float64) -> Float64:
        """Time of some kernels that move some bytes in all, any shape."""
        return kernels * self.overhead_ms + num_bytes * self.ms_per_byte


def profiled(profile: pl.DataFrame, model: Model, tp: int) -> Curve:
    """From Vidur's profile of the model; one residual sum a layer, as Vidur itself counts."""
    rows = profile.filter(pl.col("tp") == tp)
    layer = _sum(rows, (*ELEMENTWISE, *PRODUCTS))
    return Curve(_column(rows, "tokens"), model.layers * layer + _column(rows, "emb_ms"))


def composed(gemm: pl.DataFrame, elementwise: Elementwise, model: Model, tp: int) -> Curve:
    """From a sweep of matrix products, at its own numbers of tokens (its m)."""
    tokens = np.unique(_column(gemm, "m"))
    products = _products(gemm, model, tp)
    small = elementwise.ms(len(ELEMENTWISE), tokens * layer_bytes_per_token(model, tp))
    embedding = elementwise.ms(1, tokens * (2 * model.hidden * model.dtype_bytes))
    return Curve(tokens, model.layers * (products + small) + embedding)


def layer_bytes_per_token(model: Model, tp: int) -> int:
    """Bytes that the `ELEMENTWISE` kernels of a layer read and write for a token, on each GPU."""
    norms = 2 * 2 * model.hidden
    rope = 2 * (model.heads // tp + model.kv_heads_per_gpu(tp)) * model.head_dim
    activation = 3 * model.ffn // tp
    residual = 3 * model.hidden
    return (norms + rope + activation + residual) * model.dtype_bytes


def fit_elementwise(profiles: Sequence[tuple[pl.DataFrame, Model]]) -> Elementwise:
    """Fitted, by relative error, to the element-wise kernels of Vidur's profiles."""
    design, times = [], []
    for profile, model in profiles:
        for tp in profile["tp"].unique().sort():
            rows = profile.filter(pl.col("tp") == tp)
            moved = _column(rows, "tokens") * layer_bytes_per_token(model, tp)
            design.append(np.stack([np.full_like(moved, len(ELEMENTWISE)), moved], axis=1))
            times.append(_sum(rows, ELEMENTWISE))
    matrix, ms = np.concatenate(design), np.concatenate(times)
    scale = matrix.max(axis=0)  # the columns differ by many powers of ten
    solution = nnls(matrix / scale / ms[:, None], np.ones(len(ms)))[0] / scale
    return Elementwise(float(solution[0]), float(solution[1]))


def _products(gemm: pl.DataFrame, model: Model, tp: int) -> Float64:
    """The four products of a layer at the sweep's m, ``(len(m),)``, ms.

    Interpolated in the logarithms of n and k: a product's time is near a power of either.
    """
    queries = model.heads // tp * model.head_dim
    keys = model.kv_heads_per_gpu(tp) * model.head_dim
    feed_forward = model.ffn // tp
    shapes = [
        (queries + 2 * keys, model.hidden),
        (model.hidden, queries),
        (2 * feed_forward, model.hidden),
        (model.hidden, feed_forward),
    ]
    axes = [np.unique(_column(gemm, name)) for name in ("m", "n", "k")]
    sweep = np.full([len(axis) for axis in axes], np.nan)
    where = [
        np.searchsorted(axis, _column(gemm, name)) for axis, name in zip(axes, "mnk", strict=True)
    ]
    sweep[tuple(where)] = np.log(_column(gemm, "ms"))
    grid = RegularGridInterpolator((np.log(axes[1]), np.log(axes[2])), sweep.transpose(1, 2, 0))
    total: Float64 = np.exp(grid(np.log(shapes))).sum(axis=0)
    return total


def _sum(rows: pl.DataFrame, kernels: Sequence[str]) -> Float64:
    total: Float64 = np.stack([_column(rows, f"{kernel}_ms") for kernel in kernels]).sum(axis=0)
    return total


def _column(table: pl.DataFrame, name: str) -> Float64:
    return table[name].to_numpy().astype(np.float64)
