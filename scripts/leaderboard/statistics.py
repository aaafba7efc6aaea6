"""Statistics of few runs, as "Deep RL at the Edge of the Statistical Precipice" defines them.

Agarwal et al., NeurIPS 2021, and their rliable: interquartile mean, stratified bootstrap with
percentile intervals, probability of improvement, performance profiles. Scores of a policy are one
array for each stratum (a suite), of its runs (workloads). rliable itself is not used: it does not
import with pandas 3 and ignores its seed.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Scores = Sequence[Float64]  # one (N,) array a stratum

RESAMPLES = 2_000
CONFIDENCE = 0.95


class Estimate(NamedTuple):
    """A statistic of a sample with its bootstrap interval."""

    value: float
    low: float
    high: float


def iqm(scores: Float64) -> Float64:
    """Interquartile mean over the last axis: the mean without the lowest and highest quarter.

    As ``scipy.stats.trim_mean(x, 0.25)``: floor(n / 4) scores are cut at each end.
    """
    cut = scores.shape[-1] // 4
    kept = np.sort(scores, axis=-1)[..., cut : scores.shape[-1] - cut]
    return np.asarray(kept.mean(axis=-1))


def resampled(scores: Scores, rng: np.random.Generator, resamples: int) -> list[Float64]:
    """Stratified resamples: of each stratum, its own runs drawn with replacement, ``(R, N)``."""
    return [runs[rng.integers(len(runs), size=(resamples, len(runs)))] for runs in scores]


def interval(samples: Float64, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The percentile interval of a bootstrapped statistic, ``(R,)``."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(samples, [tail, 1 - tail])
    return float(low), float(high)


def iqm_estimate(scores: Scores, seed: int = 0, resamples: int = RESAMPLES) -> Estimate:
    """The interquartile mean over the runs of all strata, with its stratified interval."""
    drawn = resampled(scores, np.random.default_rng(seed), resamples)
    low, high = interval(iqm(np.concatenate(drawn, axis=1)))
    return Estimate(float(iqm(np.concatenate(scores))), low, high)


def improvement(x: Float64, y: Float64, less_is_better: bool) -> Float64:
    """P(X better than Y) over the last axes: the Mann-Whitney U over N M, ties count half."""
    lead = (y[..., None, :] - x[..., :, None]) * (1 if less_is_better else -1)
    return np.asarray(((lead > 0) + 0.5 * (lead == 0)).mean(axis=(-2, -1)))


def improvement_estimate(
    x: Scores, y: Scores, less_is_better: bool, seed: int = 0, resamples: int = RESAMPLES
) -> Estimate:
    """The probability of improvement, averaged over strata, with its stratified interval."""
    rng = np.random.default_rng(seed)
    drawn = zip(resampled(x, rng, resamples), resampled(y, rng, resamples), strict=True)
    low, high = interval(np.mean([improvement(a, b, less_is_better) for a, b in drawn], axis=0))
    strata = [improvement(a, b, less_is_better) for a, b in zip(x, y, strict=True)]
    return Estimate(float(np.mean(strata)), low, high)


def profile(scores: Scores, thresholds: Float64, less_is_better: bool) -> Float64:
    """Performance profile: the share of runs at least as good as each threshold, ``(T,)``.

    The mean over strata of rliable's run-score distribution, with "at least" for "better than".
    """
    shares = []
    for runs in scores:
        reached = runs <= thresholds[:, None] if less_is_better else runs >= thresholds[:, None]
        shares.append(reached.mean(axis=1))
    return np.asarray(np.mean(shares, axis=0))
