"""Figures of expert loads: how uneven they are, and how much they drift."""

import numpy as np
from numpy.typing import NDArray

from fleetgym.traces.formats.expert_load import ExpertLoads


def zipf_exponent(loads: NDArray[np.int32]) -> float:
    """Slope of log-load over log-rank, fitted by least squares and averaged; falling is positive.

    Args:
        loads: ``(W, L, E)`` tokens; experts without any are left out of their rank.
    """
    ordered = -np.sort(-loads.reshape(-1, loads.shape[-1]), axis=1)
    slopes = []
    for row in ordered:
        there = np.log(row[row > 0])
        rank = np.log(np.arange(1, len(there) + 1))
        spread = ((rank - rank.mean()) ** 2).sum()
        slope = ((rank - rank.mean()) * there).sum() / spread if spread > 0 else 0.0
        slopes.append(-slope)
    return float(np.mean(slopes))


def log_sigma(loads: NDArray[np.int32]) -> float:
    """Standard deviation of the log-loads of a layer's experts, averaged; ``(W, L, E)`` tokens."""
    return float(np.log1p(loads).std(axis=2).mean())


def lag_correlation(loads: NDArray[np.int32], lag: int = 1) -> float:
    """Correlation of the log-loads of windows so far apart, about each window's mean.

    Args:
        loads: ``(W, L, E)`` tokens.
        lag: windows.

    Returns:
        Pooled over windows, layers and experts; 1 where nothing varies or there are too few.
    """
    logs = np.log1p(loads.astype(np.float64))
    off = logs - logs.mean(axis=2, keepdims=True)
    before, after = off[: len(off) - lag], off[lag:]
    spread = float(np.sqrt((before**2).sum() * (after**2).sum()))
    return float((before * after).sum()) / spread if spread > 0 else 1.0


def balancedness(loads: NDArray[np.int32], gpus: int) -> float:
    """Mean over maximum of GPUs that hold the experts in order, without replicas, averaged.

    Args:
        loads: ``(W, L, E)`` tokens.
        gpus: a divisor of E.
    """
    tokens = loads.reshape(*loads.shape[:2], gpus, -1).sum(axis=3, dtype=np.int64)
    return float((tokens.mean(axis=2) / tokens.max(axis=2)).mean())


def stats(trace: ExpertLoads) -> dict[str, object]:
    """Size, unevenness and drift of a trace of loads."""
    windows, layers, experts = trace.loads.shape
    return {
        "name": trace.name,
        "windows": windows,
        "layers": layers,
        "experts": experts,
        "tokens": int(trace.loads.sum(dtype=np.int64)),
        "zipf_exponent": zipf_exponent(trace.loads),
        "log_sigma": log_sigma(trace.loads),
        "lag1_correlation": lag_correlation(trace.loads),
    }
