from dataclasses import replace

import numpy as np
import pytest
from tests.oracles.vm_plans import best_objective, objective, play, tiny

from fleetgym.baselines.vm_rescheduling import exact

VARIANTS = {
    "fragment": {},
    "groups": {"groups": 2, "vms": 7},
    "scarce-memory": {"scarce": True},
    "gpu": {"gpu": True, "weight_gpu": 0.5},
    "pair": {"weight_pair": 0.7},
    "memory": {"weight_memory": 0.6, "scarce": True},
    "active": {"weight_active": 0.8, "vms": 4, "pms": 3, "moves": 2},
    "all": {"weight_pair": 0.3, "weight_memory": 0.2, "weight_active": 0.5, "moves": 2},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_against_every_sequence_of_moves(variant):
    optimal = 0
    for seed in range(8):
        problem = tiny(seed, **VARIANTS[variant])
        least, found = best_objective(problem), exact.solve(problem, 10.0)
        assert objective(play(problem, found.moves)) == pytest.approx(found.value)
        assert found.bound <= least + 1e-7 <= found.value + 2e-7
        if found.optimal:
            assert found.value == pytest.approx(least, abs=1e-7)
        optimal += found.optimal
    assert optimal >= 6  # transient infeasibility may stand in the way, but seldom does


def test_known_optimum(fleet):
    # X = 16: node 0 lacks 4 cores, node 1 has a hole of 4: one move makes a slot.
    problem = fleet(free=[12, 4], vms=[(0, 4), (1, 8)], moves=3)
    found = exact.solve(problem, 10.0)
    assert found.moves.tolist() == [[0, 1]]
    assert (found.value, found.bound, found.optimal) == (0.0, 0.0, True)


def test_traffic_must_be_worth_it(fleet):
    problem = fleet(free=[12, 4], vms=[(0, 4), (1, 8)], moves=3)
    for weight, moves in ((0.1, 1), (10.0, 0)):
        goal = replace(problem.objective, weight_traffic=weight)
        assert len(exact.plan(replace(problem, objective=goal), 10.0, 0)) == moves


def test_nothing_to_do(fleet):
    problem = fleet(free=[12, 4], vms=[(0, 4), (1, 8)], moves=0)
    found = exact.solve(problem, 10.0)
    assert len(found.moves) == 0
    assert found.bound == found.value == pytest.approx(1.0)


def test_immovable_vms_stay(fleet):
    problem = fleet(free=[12, 4], vms=[(0, 4), (1, 8)], moves=3)
    fixed = replace(problem, vm_movable=np.array([False, True]))
    assert (exact.plan(fixed, 10.0, 0)[:, 0] != 0).all()


def test_bytedance_medium(medium):
    # VMR2L's Medium as published.
    found = exact.solve(medium(10), 60.0)
    assert found.value == pytest.approx(0.8508, abs=5e-5)
    assert found.optimal
    assert play(medium(10), found.moves).fragment_rate() == pytest.approx(found.value)
