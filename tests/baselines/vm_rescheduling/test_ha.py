from dataclasses import replace

import numpy as np
from tests.oracles.vm_plans import play

from fleetgym.baselines.vm_rescheduling import ha


def test_filters_then_scores(fleet):
    # VM 0's leaving frees a slot; slot 2 has just the hole for it; its own machine is no target.
    problem = fleet(free=[12, 4, 4, 8], vms=[(0, 4), (1, 8)], moves=3)
    assert ha.plan(problem, 0.0, 0).tolist()[0] == [0, 2]


def test_memory_is_checked(fleet):
    problem = fleet(free=[12, 0, 4, 8], vms=[(0, 4)], moves=1)
    memory = np.array([100_000, 100_000, 0, 100_000], np.int32)
    assert ha.plan(replace(problem, free_memory=memory), 0.0, 0).tolist() == [[0, 3]]


def test_large_vms_stay(fleet):
    problem = fleet(free=[12, 0, 20, 0], vms=[(0, 20)], moves=1)
    assert len(ha.plan(problem, 0.0, 0)) == 0


def test_real_fleet(medium):
    moves = ha.plan(medium(50), 0.0, 0)
    assert 0.8 < play(medium(50), moves).fragment_rate() < 0.81
