import pytest
from tests.oracles.vm_plans import best_objective, tiny

from fleetgym.baselines.vm_rescheduling.bounds import linear_bound, pattern_bound


@pytest.mark.parametrize("kind", [{}, {"groups": 2}, {"scarce": True}, {"weight_pair": 0.5}])
def test_no_plan_is_below(kind):
    for seed in range(8):
        problem = tiny(seed, vms=6, **kind)
        least = best_objective(problem)
        assert linear_bound(problem) <= least + 1e-7
        assert pattern_bound(problem, 5.0) <= least + 1e-7


def test_known_bound(fleet):
    # 20 cores are free: at most one slot of 16.
    problem = fleet(free=[12, 8], vms=[(0, 4), (1, 8)], moves=3)
    assert pattern_bound(problem, 5.0) == pytest.approx(4 / 20)


def test_without_moves_the_bound_is_the_objective(fleet):
    problem = fleet(free=[12, 4], vms=[(0, 4), (1, 8)], moves=0)
    assert linear_bound(problem) == pattern_bound(problem, 5.0) == pytest.approx(1.0)
