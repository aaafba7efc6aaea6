"""Fits `IterationTime` and `AllReduce` to measured kernels, and says how far off they are.

Each term is fitted to the kernels it stands for, by least squares of the error relative to the
whole iteration, so that a term keeps its meaning in mixed batches. Of each kind of points some are
held out, and seen by no fit. A measured iteration is its attention and the curve of what runs over
all tokens at its number of tokens; errors are reported of iterations whose attention was held out.
"""

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.optimize import least_squares, nnls

from fleetgym.envs.hardware.all_reduce import LIMIT_BYTES, AllReduce, wire_bytes
from fleetgym.envs.hardware.attention import Attention
from fleetgym.envs.hardware.gpu import Calibration, IterationTime
from fleetgym.envs.hardware.layers import Curve

SEED = 0
HOLD_OUT_EVERY = 5
SHARPNESS = 4  # p: how sharply the floor of the weights turns into the slope of the tokens
DECIMALS_MS = 9  # picoseconds, so that quantising changes nothing

Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]


@dataclass(frozen=True)
class Measured:
    """The kernels of one model on one GPU at one degree of tensor parallelism.

    Attributes:
        first: what runs over all tokens alike.
        prefill, decode: attention.
        sources: catalogue names of the files, with their commits.
    """

    first: Curve
    prefill: Attention
    decode: Attention
    sources: tuple[str, ...]


def held_out(count: int) -> Bool:
    """Every fifth point of a seeded shuffle, ``(count,)``."""
    chosen = np.zeros(count, np.bool_)
    chosen[np.random.default_rng(SEED).permutation(count)[::HOLD_OUT_EVERY]] = True
    return chosen


def calibrate(measured: Measured) -> Calibration:
    """Fits all terms, and tests them on the points held out."""
    prefill, decode = measured.prefill, measured.decode
    out_first = held_out(len(measured.first.tokens))
    out_prefill, out_decode = held_out(len(prefill.ms)), held_out(len(decode.ms))
    prefill_ms = measured.first.at(prefill.batch * prefill.length) + prefill.ms
    decode_ms = measured.first.at(decode.batch) + decode.ms
    first = _fit_first(measured.first.tokens[~out_first], measured.first.ms[~out_first])
    seen = ~out_prefill
    a = _fit_linear(_prefill_design(prefill)[seen], prefill.ms[seen], prefill_ms[seen])
    seen = ~out_decode
    d = _fit_linear(_decode_design(decode)[seen], decode.ms[seen], decode_ms[seen])
    time = IterationTime(SHARPNESS, *(round(float(x), DECIMALS_MS) for x in (*first, *a, *d)))
    chosen = (out_first, out_prefill, out_decode)
    return Calibration(
        time,
        measured.sources,
        fitted=sum(int((~out).sum()) for out in chosen),
        held_out=sum(int(out.sum()) for out in chosen),
        first_error_percent=error_percent(
            time.first_ms(measured.first.tokens[out_first]), measured.first.ms[out_first]
        ),
        prefill_error_percent=error_percent(
            prefill_iteration_ms(time, prefill.only(out_prefill)), prefill_ms[out_prefill]
        ),
        decode_error_percent=error_percent(
            decode_iteration_ms(time, decode.only(out_decode)), decode_ms[out_decode]
        ),
    )


def prefill_iteration_ms(time: IterationTime, points: Attention) -> Float64:
    """What the formula says of iterations of prefill alone, ``(n,)``."""
    new = points.batch * points.length
    return time.first_ms(new) + time.prefill_ms(new, new * points.length)


def decode_iteration_ms(time: IterationTime, points: Attention) -> Float64:
    """What the formula says of iterations of decode alone, ``(n,)``."""
    context = points.batch * points.length
    return time.first_ms(points.batch) + time.decode_ms(points.batch, context)


def error_percent(modelled: Float64, measured: Float64) -> float:
    """Mean absolute percentage error, to two decimals."""
    return round(float(np.abs(modelled / measured - 1).mean()) * 100, 2)


def fit_all_reduce(sweep: pl.DataFrame, tp: int, source: str) -> AllReduce:
    """Fits both sets of figures to a sweep of ``aiconfigurator.read_all_reduce``."""
    rows = sweep.filter(pl.col("tp") == tp)
    size, ms = (rows[name].to_numpy().astype(np.float64) for name in ("bytes", "ms"))
    out = held_out(len(ms))
    custom_us, custom_gb_s = _fit_message(size, ms, tp, ~out & (size < LIMIT_BYTES))
    ring_us, ring_gb_s = _fit_message(size, ms, tp, ~out & (size >= LIMIT_BYTES))
    counts = int((~out).sum()), int(out.sum())
    fitted = AllReduce(tp, custom_us, custom_gb_s, ring_us, ring_gb_s, source, *counts, 0.0)
    return replace(fitted, error_percent=error_percent(fitted.milliseconds(size[out]), ms[out]))


def _fit_message(size: Float64, ms: Float64, tp: int, chosen: Bool) -> tuple[float, float]:
    """Overhead in us and bandwidth in GB/s of the messages chosen."""
    design = np.stack([np.ones(chosen.sum()), wire_bytes(size[chosen], tp)], axis=1)
    overhead_ms, ms_per_byte = _fit_linear(design, ms[chosen], ms[chosen])
    return round(float(overhead_ms) * 1e3, 3), round(1e-6 / float(ms_per_byte), 2)


def _prefill_design(points: Attention) -> Float64:
    new = points.batch * points.length
    return np.stack([np.ones_like(new), new, new * points.length], axis=1)


def _decode_design(points: Attention) -> Float64:
    context = points.batch * points.length
    return np.stack([np.ones_like(context), points.batch, context], axis=1)


def _fit_linear(design: Float64, ms: Float64, whole_ms: Float64) -> Float64:
    """Non-negative coefficients of ``design``'s columns, errors relative to ``whole_ms``."""
    scale = design.max(axis=0)  # the columns differ by many powers of ten
    solution: Float64 = nnls(design / scale / whole_ms[:, None], ms / whole_ms)[0] / scale
    return solution


def _fit_first(tokens: Float64, ms: Float64) -> Float64:
    """floor, c0 and c1 of the first term, ``(3,)``; every octave of tokens counts alike."""
    _, octave, size = np.unique(
        np.log2(tokens).astype(int), return_inverse=True, return_counts=True
    )
    weight = 1 / np.sqrt(size[octave])

    def relative_error(x: Float64) -> Float64:
        power: Float64 = x[0] ** SHARPNESS + (x[1] + x[2] * tokens) ** SHARPNESS
        error: Float64 = weight * (power ** (1 / SHARPNESS) / ms - 1)
        return error

    start = [ms.min(), ms.min() / 2, ms[-1] / tokens[-1]]
    fit = least_squares(relative_error, start, bounds=(0, np.inf), x_scale=start)
    solution: Float64 = fit.x
    return solution
