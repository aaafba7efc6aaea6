import numpy as np
import pytest
from scipy.stats import mannwhitneyu, trim_mean

from fleetgym.scripts.leaderboard import statistics


def test_iqm_of_eight_is_the_mean_of_the_middle_four():
    scores = np.array([100.0, 1, 2, 3, 4, 5, 6, -100])
    assert statistics.iqm(scores) == pytest.approx((2 + 3 + 4 + 5) / 4)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 30, 101])
def test_iqm_is_the_trimmed_mean_that_rliable_uses(size):
    scores = np.random.default_rng(size).standard_normal((3, size))
    expected = [trim_mean(row, 0.25) for row in scores]
    assert statistics.iqm(scores) == pytest.approx(np.array(expected))


def test_iqm_estimate_joins_strata_as_rliable_flattens_runs_by_tasks():
    strata = [np.array([0.0, 1.0, 2.0, 3.0]), np.array([10.0, 11.0, 12.0, 13.0])]
    assert statistics.iqm_estimate(strata).value == pytest.approx((2 + 3 + 10 + 11) / 4)


def test_resampling_never_leaves_its_stratum():
    rng = np.random.default_rng(0)
    low, high = statistics.resampled([np.array([1.0, 2.0]), np.array([5.0])], rng, 50)
    assert set(low.ravel()) == {1.0, 2.0}
    assert set(high.ravel()) == {5.0}
    assert low.shape == (50, 2)


def test_interval_of_a_large_normal_sample_is_the_textbook_one():
    runs = np.random.default_rng(1).standard_normal(400)
    (drawn,) = statistics.resampled([runs], np.random.default_rng(2), 4_000)
    low, high = statistics.interval(drawn.mean(axis=1))
    half = 1.96 * runs.std() / 20
    assert low == pytest.approx(runs.mean() - half, abs=0.01)
    assert high == pytest.approx(runs.mean() + half, abs=0.01)


def test_estimates_depend_on_the_seed_and_nothing_else():
    runs = [np.random.default_rng(3).random(30)]
    once = statistics.iqm_estimate(runs, seed=4)
    assert once == statistics.iqm_estimate(runs, seed=4)
    assert once != statistics.iqm_estimate(runs, seed=5)
    assert once.low < once.value < once.high


def test_improvement_counts_pairs_and_half_the_ties():
    x, y = np.array([1.0, 2.0]), np.array([2.0, 3.0])
    assert statistics.improvement(x, y, less_is_better=True) == pytest.approx(3.5 / 4)
    assert statistics.improvement(x, y, less_is_better=False) == pytest.approx(0.5 / 4)


def test_improvement_is_the_mann_whitney_statistic():
    rng = np.random.default_rng(5)
    x, y = rng.integers(0, 9, 20) * 1.0, rng.integers(2, 11, 25) * 1.0
    expected = mannwhitneyu(x, y).statistic / (len(x) * len(y))
    assert statistics.improvement(x, y, less_is_better=False) == pytest.approx(expected)


def test_improvement_estimate_averages_over_strata():
    x = [np.array([0.0, 0.0]), np.array([2.0, 2.0])]
    y = [np.array([1.0, 1.0]), np.array([1.0, 1.0])]
    assert statistics.improvement_estimate(x, y, less_is_better=True) == (0.5, 0.5, 0.5)


def test_profile_is_the_share_of_runs_at_least_as_good():
    scores = [np.array([0.0, 1.0, 2.0, 3.0]), np.array([0.0, 0.0])]
    thresholds = np.array([-1.0, 0.0, 1.5, 3.0])
    less = statistics.profile(scores, thresholds, less_is_better=True)
    assert less.tolist() == [0.0, (0.25 + 1) / 2, (0.5 + 1) / 2, 1.0]
    more = statistics.profile(scores, thresholds, less_is_better=False)
    assert more.tolist() == [1.0, 1.0, 0.25, 0.125]
