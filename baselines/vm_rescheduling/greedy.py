"""Best single move: the one legal move that lowers the objective most, again and again.

What leaving costs one machine and what entering costs another add up, so it is enough to know
both for every kind of VM and every slot, and to bring up to date the two machines a move changed.
"""

import numpy as np
from numpy.typing import NDArray

from fleetgym.baselines.vm_rescheduling.goal import (
    Float64,
    Goal,
    goal_of,
    hosted_of,
    machine_cost,
)
from fleetgym.baselines.vm_rescheduling.grouped_kinds import grouped_kinds_of
from fleetgym.baselines.vm_rescheduling.placement import (
    Int64,
    Placement,
    has_room,
    move,
    placement_of,
)
from fleetgym.baselines.vm_rescheduling.problem import Moves, Problem
from fleetgym.envs.core.jit import kernel

Int32 = NDArray[np.int32]

BETTER = 1e-12  # a move must lower the objective by more


def plan(problem: Problem, seconds: float, seed: int) -> Moves:
    """Moves until none lowers the weighted objective; needs neither the time nor the seed."""
    kinds = grouped_kinds_of(problem)
    now = placement_of(problem, kinds)
    costs = np.empty((3, len(kinds.need), len(now.free)))
    movable = np.zeros(costs.shape[1:], np.int64)
    np.add.at(movable, (now.vm_type[~now.vm_fixed], now.vm_slot[~now.vm_fixed]), 1)
    moves = np.empty((problem.moves_left, 2), np.int32)
    made = make_best_moves(
        now, hosted_of(problem), movable, kinds.group, goal_of(problem, kinds), costs, moves
    )
    return moves[:made]


@kernel
def shift(now: Placement, hosted: Int64, kind: int, slot: int, vms: int) -> None:
    """Adds VMs of a kind to a slot's machine (or takes them off), room or not."""
    for node in range(slot, slot + (2 if now.double[kind] else 1)):
        for r in range(3):
            now.free[node, r] -= vms * now.need[kind, r]
    hosted[slot // 2] += vms


@kernel
def shift_cost(now: Placement, hosted: Int64, kind: int, slot: int, vms: int, goal: Goal) -> float:
    """What that would cost."""
    before = machine_cost(now.free, hosted, slot // 2, goal)
    shift(now, hosted, kind, slot, vms)
    after = machine_cost(now.free, hosted, slot // 2, goal)
    shift(now, hosted, kind, slot, -vms)
    return after - before


@kernel
def price_machine(
    now: Placement, hosted: Int64, movable: Int64, group: Int64, pm: int, goal: Goal,
    costs: Float64,
) -> None:  # fmt: skip
    """Writes what a VM of each kind costs that leaves, enters or changes node of a machine."""
    leave, enter, across = costs[0], costs[1], costs[2]
    for kind in range(len(now.need)):
        full = group[kind] >= 0 and now.load[group[kind], pm] >= now.most[group[kind]]
        for slot in (2 * pm, 2 * pm + 1):
            leave[kind, slot] = enter[kind, slot] = across[kind, slot] = np.inf
            if now.double[kind] and slot % 2 == 1:
                continue
            if not full and has_room(now, kind, slot):
                enter[kind, slot] = shift_cost(now, hosted, kind, slot, 1, goal)
            if movable[kind, slot] == 0:
                continue
            leave[kind, slot] = shift_cost(now, hosted, kind, slot, -1, goal)
            if not now.double[kind] and has_room(now, kind, slot ^ 1):
                shift(now, hosted, kind, slot, -1)
                across[kind, slot] = shift_cost(now, hosted, kind, slot ^ 1, 1, goal)
                shift(now, hosted, kind, slot, 1)
                across[kind, slot] += leave[kind, slot]


@kernel
def two_least(costs: Float64) -> tuple[int, int]:
    """The slot of least cost, and that of least cost on another machine."""
    first = 0
    for slot in range(len(costs)):
        if costs[slot] < costs[first]:
            first = slot
    second = 0 if first > 1 else min(2, len(costs) - 1)
    for slot in range(len(costs)):
        if slot // 2 != first // 2 and costs[slot] < costs[second]:
            second = slot
    return first, second


@kernel
def best_move(costs: Float64, fee: Float64) -> tuple[float, int, int, int]:
    """The cheapest move: its cost, kind, source and target slot."""
    leave, enter, across = costs[0], costs[1], costs[2]
    best, best_kind, best_from, best_to = np.inf, -1, -1, -1
    for kind in range(len(leave)):
        sources, targets = two_least(leave[kind]), two_least(enter[kind])
        for source in sources:
            for target in targets:
                cost = leave[kind, source] + enter[kind, target] + fee[kind]
                if source // 2 != target // 2 and cost < best:
                    best, best_kind, best_from, best_to = cost, kind, source, target
        for source in range(leave.shape[1]):
            cost = across[kind, source] + fee[kind]
            if cost < best:
                best, best_kind, best_from, best_to = cost, kind, source, source ^ 1
    return best, best_kind, best_from, best_to


@kernel
def make_best_moves(
    now: Placement, hosted: Int64, movable: Int64, group: Int64, goal: Goal, costs: Float64,
    moves: Int32,
) -> int:  # fmt: skip
    """Makes moves, each the best of its time, until none is better than nothing.

    Args:
        now: changed by every move.
        hosted: (P,) VMs on each machine; changed likewise.
        movable: (K, S) VMs of each kind that may leave the slot; changed likewise.
        group: (K,) of each kind.
        goal: the objective.
        costs: (3, K, S) overwritten: of leaving, of entering, of changing node.
        moves: (limit, 2) overwritten.

    Returns:
        The number of moves made.
    """
    for pm in range(len(hosted)):
        price_machine(now, hosted, movable, group, pm, goal, costs)
    for made in range(len(moves)):
        cost, kind, source, target = best_move(costs, goal.fee)
        if not cost < -BETTER:
            return made
        vm = 0
        while now.vm_type[vm] != kind or now.vm_slot[vm] != source or now.vm_fixed[vm]:
            vm += 1
        moves[made, 0], moves[made, 1] = vm, target
        move(now, vm, target)
        hosted[source // 2] -= 1
        hosted[target // 2] += 1
        movable[kind, source] -= 1
        movable[kind, target] += 1
        price_machine(now, hosted, movable, group, source // 2, goal, costs)
        price_machine(now, hosted, movable, group, target // 2, goal, costs)
    return len(moves)
