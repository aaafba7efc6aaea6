import numpy as np
import pytest
from tests.oracles.vm_plans import objective, tiny

from fleetgym.baselines.vm_rescheduling import exact, pop


def test_no_machine_is_dropped():
    problem = tiny(0, pms=7, vms=12)
    pieces = pop.partition(problem, 3, 3)
    assert sorted(len(piece) for piece in pieces) == [2, 2, 3]
    np.testing.assert_array_equal(np.sort(np.concatenate(pieces)), np.arange(7))


def test_one_part_is_the_whole():
    problem = tiny(2, pms=3, vms=9, weight_pair=0.5)
    whole = exact.solve(problem, 10.0)
    part, slots, vms = pop.part_of(problem, np.arange(3), problem.moves_left)
    assert objective(part) == pytest.approx(objective(problem))
    assert len(slots) == 6
    assert len(vms) == len(problem.vm_slot)
    assert exact.solve(part, 10.0).value == pytest.approx(whole.value)


def test_parts_add_up():
    problem = tiny(5, pms=6, vms=16, gpu=True, weight_memory=0.5, weight_gpu=0.4, weight_active=0.2)
    parts = [pop.part_of(problem, piece, 1)[0] for piece in pop.partition(problem, 0, 3)]
    assert sum(objective(part) for part in parts) == pytest.approx(objective(problem))


def test_moves_go_where_they_gain(fleet):
    # Only the second machine can gain a slot: it gets the only move.
    problem = fleet(free=[0, 0, 12, 4], vms=[(0, 4), (2, 4)], moves=1)
    pieces = [np.array([0]), np.array([1])]
    assert pop.marginal_shares(problem, pieces, 0).tolist() == [0, 1]
