"""What the next window's loads will be, from those seen: ``(H, L, E)`` to ``(L, E)`` tokens.

AR(1) and Kalman work on log-loads, whose spread changes little with their size.
"""

import numpy as np
from numpy.typing import NDArray

from fleetgym.baselines.expert_placement.situation import Float64, Int32

SHARE = 0.5  # of the last window in the moving average


def last(history: Int32) -> Float64:
    """The last window again."""
    loads: Float64 = history[0].astype(np.float64)
    return loads


def mean(history: Int32) -> Float64:
    """The mean over the history."""
    average: Float64 = history.mean(axis=0)
    return average


def ema(history: Int32) -> Float64:
    """An exponential moving average."""
    weight = SHARE * (1 - SHARE) ** np.arange(len(history))
    average: Float64 = np.tensordot(weight / weight.sum(), history, 1)
    return average


def ar1(history: Int32) -> Float64:
    """Log-loads return to their mean by one coefficient, fitted to the history of a layer."""
    logs = np.log1p(history.astype(np.float64))
    centre = logs.mean(axis=0)
    loads: Float64 = np.expm1(centre + slopes(logs)[:, None] * (logs[0] - centre))
    return loads


def slopes(logs: Float64) -> Float64:
    """The coefficient ``(L,)`` of each layer, fitted to its log-loads ``(H, L, E)``."""
    off = logs - logs.mean(axis=0)
    before, after = off[1:], off[:-1]
    slope = _fitted((before * after).sum(axis=(0, 2)), (before**2).sum(axis=(0, 2)))
    # A mean fitted to so few windows takes part of the drift with it (Kendall 1954).
    return np.clip(slope + (1 + 3 * slope) / max(3, len(logs)), 0.0, 1.0)


def kalman(history: Int32) -> Float64:
    """Local-level filter of the log-loads: what is noise and what drift is told by their lags.

    Of first differences the variance is q + 2 r and the covariance of neighbours -r (drift q,
    noise r of a random walk seen with noise), fitted to all experts of a layer.
    """
    logs = np.log1p(history.astype(np.float64))[::-1]
    steps = np.diff(logs, axis=0)
    if len(steps) < 2:
        return last(history)
    noise = np.maximum(0.0, -(steps[1:] * steps[:-1]).mean(axis=(0, 2)))
    drift = np.maximum(1e-9, (steps**2).mean(axis=(0, 2)) - 2 * noise)
    level, variance = logs[0], (noise + drift)[:, None]
    for seen in logs[1:]:
        variance = variance + drift[:, None]
        gain = variance / (variance + noise[:, None])
        level = level + gain * (seen - level)
        variance = (1 - gain) * variance
    loads: Float64 = np.expm1(level)
    return loads


def _fitted(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.ones_like(part), where=whole > 0)
