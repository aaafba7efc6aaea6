"""Making a set of departures and arrivals happen, one legal move after the other.

VMs of one type are interchangeable: what must happen is that so many of a type leave these slots
and enter those. That freedom is what keeps deadlocks rare.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fleetgym.baselines.vm_rescheduling.draws import UInt64, uniform
from fleetgym.baselines.vm_rescheduling.placement import (
    Placement,
    can_move,
    has_room,
    move,
)
from fleetgym.envs.core.jit import kernel

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]


class Tasks(NamedTuple):
    """N VMs to leave and M to enter, each with the slot where it shall and its type."""

    leave_slot: Int64  # (N,)
    leave_type: Int64  # (N,)
    first: Int64  # (N,) to
    last: Int64  # (N,) range of by_place: the VMs to choose from
    by_place: Int64  # (V,) VMs ordered by slot and type
    carried: Int64  # (N,) VM on a hop, which alone can finish the task, or -1
    left: Bool  # (N,) done
    enter_slot: Int64  # (M,)
    enter_type: Int64  # (M,)
    entered: Bool  # (M,) done
    busy: Bool  # (S,) slots with a task, room to work in
    wanted: Bool  # (S,) slots where somebody waits for room, likewise


@kernel
def mark(slots: Int64, kinds: Int64, done: Bool, double: Bool, flag: Bool) -> None:
    """Flags the slots of tasks that are not done."""
    for i in range(len(slots)):
        if not done[i]:
            flag[slots[i]] = True
            if double[kinds[i]]:
                flag[slots[i] + 1] = True


@kernel
def candidate(now: Placement, tasks: Tasks, i: int, to: int) -> int:
    """A VM that can do departure i by moving to a slot, or -1."""
    carried = int(tasks.carried[i])
    if carried >= 0:
        return carried if can_move(now, carried, to) else -1
    for k in range(tasks.first[i], tasks.last[i]):
        vm = int(tasks.by_place[k])
        if not now.vm_fixed[vm] and can_move(now, vm, to):
            return vm
    return -1


@kernel
def makes_room(now: Placement, tasks: Tasks, i: int) -> bool:
    """Whether somebody waits for room where departure i leaves from."""
    origin = tasks.leave_slot[i]
    double = now.double[tasks.leave_type[i]]
    return bool(tasks.wanted[origin] or (double and tasks.wanted[origin + 1]))


@kernel
def next_pair(now: Placement, tasks: Tasks, state: UInt64) -> tuple[int, int, int]:
    """A departure, an arrival and a VM that can do both now, or -1s.

    At random, but those that make room for somebody who waits come first.
    """
    best, best_i, best_j, best_vm = -1.0, -1, -1, -1
    for j in range(len(tasks.enter_slot)):
        kind, to = tasks.enter_type[j], tasks.enter_slot[j]
        if tasks.entered[j] or not has_room(now, kind, to):
            continue
        for i in range(len(tasks.leave_slot)):
            if tasks.left[i] or tasks.leave_type[i] != kind:
                continue
            score = uniform(state) + (1.0 if makes_room(now, tasks, i) else 0.0)
            if score > best:
                vm = candidate(now, tasks, i, to)
                if vm >= 0:
                    best, best_i, best_j, best_vm = score, i, j, vm
    return best_i, best_j, best_vm


@kernel
def next_hop(now: Placement, tasks: Tasks) -> tuple[int, int, int]:
    """A departure that would make room, a VM for it and a slot to wait in meanwhile, or -1s."""
    for i in range(len(tasks.leave_slot)):
        double = now.double[tasks.leave_type[i]]
        if tasks.left[i] or tasks.carried[i] >= 0 or not makes_room(now, tasks, i):
            continue
        for to in range(0, len(now.free), 2 if double else 1):
            if tasks.busy[to] or (double and tasks.busy[to + 1]):
                continue
            vm = candidate(now, tasks, i, to)
            if vm >= 0:
                return i, vm, to
    return -1, -1, -1


@kernel
def make_moves(now: Placement, tasks: Tasks, moves: Int32, state: UInt64) -> int:
    """Orders departures and arrivals into moves, each legal when made; drops what cannot be.

    Where nothing can move, a VM hops to a slot that takes no part, while moves last.

    Args:
        now: changed.
        tasks: changed.
        moves: (moves_left, 2) written: VM and target slot.
        state: of the random order; moved on.

    Returns:
        K, the number of moves made.
    """
    made, waiting = 0, len(tasks.leave_slot)
    mark(tasks.leave_slot, tasks.leave_type, tasks.left, now.double, tasks.busy)
    mark(tasks.enter_slot, tasks.enter_type, tasks.entered, now.double, tasks.busy)
    while made < len(moves):
        tasks.wanted[:] = False
        mark(tasks.enter_slot, tasks.enter_type, tasks.entered, now.double, tasks.wanted)
        i, j, vm = next_pair(now, tasks, state)
        if vm >= 0:
            to = tasks.enter_slot[j]
            tasks.left[i] = True
            tasks.entered[j] = True
            waiting -= 1
        elif made + waiting < len(moves):
            i, vm, to = next_hop(now, tasks)
            if vm < 0:
                break
            tasks.carried[i] = vm
            tasks.leave_slot[i] = to
        else:
            break
        move(now, vm, to)
        now.vm_fixed[vm] = True
        moves[made, 0] = vm
        moves[made, 1] = to
        made += 1
    return made
