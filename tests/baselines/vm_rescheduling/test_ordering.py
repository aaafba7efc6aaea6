from dataclasses import replace

import numpy as np
import pytest
from tests.oracles.vm_plans import play

from fleetgym.baselines.vm_rescheduling.grouped_kinds import grouped_kinds_of
from fleetgym.baselines.vm_rescheduling.ordering import order


def change_of(problem, kinds, target):
    """(C, 3) kind, place, VMs gained there, from (VM, slot) pairs."""
    rows = []
    for vm, slot in target:
        rows += [(kinds.of_vm[vm], problem.vm_slot[vm], -1), (kinds.of_vm[vm], slot, 1)]
    return np.array(rows)


def test_who_makes_room_goes_first(fleet):
    problem = fleet(free=[0, 0, 0, 4], vms=[(0, 8), (2, 8), (2, 4)], moves=2)
    kinds = grouped_kinds_of(problem)
    target = [(2, 3)]
    moves, stuck = order(problem, kinds, change_of(problem, kinds, target), 0)
    assert moves.tolist() == [[2, 3]]
    assert not stuck.any()


def test_chain_is_ordered_backwards(fleet):
    # 0 -> 1 -> 2 -> 3, and only slot 3 has room; sizes differ so that VMs are no equals.
    problem = fleet(free=[0, 0, 1, 4], vms=[(0, 2), (1, 3), (2, 4)], moves=3)
    kinds = grouped_kinds_of(problem)
    target = [(0, 1), (1, 2), (2, 3)]
    moves, stuck = order(problem, kinds, change_of(problem, kinds, target), 0)
    assert moves.tolist() == [[2, 3], [1, 2], [0, 1]]
    assert not stuck.any()
    play(problem, moves)


@pytest.mark.parametrize(("moves_left", "solved"), [(3, True), (2, False)])
def test_cycle_needs_a_stop_over(fleet, moves_left, solved):
    # Two VMs change places between full slots; slot 4 has room for a stop.
    problem = fleet(free=[0, 0, 0, 0, 4, 0], vms=[(0, 4), (2, 4)], moves=moves_left)
    problem = replace(problem, vm_memory=np.array([1, 2], np.int32))
    kinds = grouped_kinds_of(problem)
    target = [(0, 2), (1, 0)]
    moves, stuck = order(problem, kinds, change_of(problem, kinds, target), 0)
    after = play(problem, moves)
    assert (after.vm_slot.tolist() == [2, 0]) is solved
    assert stuck.any() is np.bool_(not solved)


def test_group_limit_is_kept_on_the_way(fleet):
    # Both VMs are of a group of which a machine may hold one: who is there must go first.
    problem = fleet(
        free=[9, 9, 9, 9, 9, 9], vms=[(0, 2), (2, 3)], moves=2, groups=[0, 0], group_max=[1]
    )
    kinds = grouped_kinds_of(problem)
    moves, stuck = order(problem, kinds, change_of(problem, kinds, [(0, 2), (1, 4)]), 0)
    assert moves.tolist() == [[1, 4], [0, 2]]
    assert not stuck.any()
