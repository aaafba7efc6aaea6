import pytest

from fleetgym.baselines.expert_cache.bounds import (
    effective_kv_capacity,
    parallelism,
    throughput_bound,
)
from fleetgym.envs.core.errors import PolicyError


def test_the_papers_example():
    assert effective_kv_capacity(98, 256) == pytest.approx(1.57, abs=0.005)


def test_parallelism_counts_tokens_for_each_slot_of_kv_cache():
    """Of sequences at all stages: p + g tokens pass in g passes, p + g / 2 are held."""
    p, g = 98, 256
    held = sum(p + i + 0.5 for i in range(g))  # one sequence at each stage
    passed = p + g  # in one pass: a prompt, and a token of each
    assert parallelism(p, g) == pytest.approx(passed / held)


def test_throughput_is_bound_by_io_or_by_the_gpu():
    slow = throughput_bound(98, 256, 100_000, 94e9 / 25e9, 1e9)
    assert slow == pytest.approx(parallelism(98, 256) * 100_000 * 25 / 94)
    assert throughput_bound(98, 256, 100_000, 94e9 / 25e9, 50.0) == 50.0


@pytest.mark.parametrize("lengths", [(98, 0), (-1, 5), (float("nan"), 5)])
def test_lengths_that_make_no_sense(lengths):
    with pytest.raises(PolicyError, match="generated tokens"):
        parallelism(*lengths)


@pytest.mark.parametrize("sizes", [(0, 1, 1), (1, -1, 1), (1, 1, float("nan"))])
def test_sizes_that_make_no_sense(sizes):
    with pytest.raises(PolicyError, match="must be above 0"):
        throughput_bound(98, 256, *sizes)
