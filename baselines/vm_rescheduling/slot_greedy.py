"""Slot greedy: gain one slot of X free cores at a time, by the fewest moves.

A node that lacks d cores of another whole slot of X gets it when single-NUMA VMs of at least d
cores leave it. They go into holes of other nodes, that is into free cores mod X, so that no slot
is lost there. Of the ways with as few moves the one that frees the fewest cores too many is taken,
and of the holes the one that a VM fills best.
"""

import numpy as np
from numpy.typing import NDArray

from fleetgym.baselines.vm_rescheduling.grouped_kinds import grouped_kinds_of
from fleetgym.baselines.vm_rescheduling.guards import fragments_only
from fleetgym.baselines.vm_rescheduling.placement import (
    Int64,
    Placement,
    has_room,
    placement_of,
)
from fleetgym.baselines.vm_rescheduling.problem import Moves, Problem
from fleetgym.envs.core.jit import kernel

Int32 = NDArray[np.int32]

WIDEST = 4  # moves for one slot


def plan(problem: Problem, seconds: float, seed: int) -> Moves:
    """Gains slots until no four moves gain one; needs neither the time nor the seed.

    Raises:
        PolicyError: the objective has other terms than fragments.
    """
    fragments_only(problem, "slot_greedy")
    kinds = grouped_kinds_of(problem)
    now = placement_of(problem, kinds)
    movable = np.zeros((len(kinds.need), len(now.free)), np.int64)
    free_to_go = ~now.vm_fixed & ~kinds.double[kinds.of_vm]
    np.add.at(movable, (now.vm_type[free_to_go], now.vm_slot[free_to_go]), 1)
    moves = np.empty((problem.moves_left, 2), np.int32)
    made = gain_slots(
        now, movable, kinds.group, problem.objective.fragment_cores,
        np.empty((4, WIDEST), np.int64), np.empty(len(kinds.need), np.int64), moves,
    )  # fmt: skip
    return moves[:made]


@kernel
def shift_vm(now: Placement, group: Int64, kind: int, slot: int, vms: int) -> None:
    """Adds VMs of a kind to a slot (or takes them off), and to the count of their group."""
    for r in range(3):
        now.free[slot, r] -= vms * now.need[kind, r]
    if group[kind] >= 0:
        now.load[group[kind], slot // 2] += vms


@kernel
def best_hole(now: Placement, group: Int64, kind: int, origin: int, chunk: int) -> int:
    """The slot whose hole a VM of the kind, now nowhere, fills best, or -1."""
    best, least = -1, chunk
    for slot in range(len(now.free)):
        rest = now.free[slot, 0] % chunk - now.need[kind, 0]
        if rest < 0 or rest >= least or slot == origin or not has_room(now, kind, slot):
            continue
        g = group[kind]
        if g >= 0 and slot // 2 != origin // 2 and now.load[g, slot // 2] >= now.most[g]:
            continue
        best, least = slot, rest
    return best


@kernel
def place(
    now: Placement, group: Int64, origin: int, chunk: int, kinds: Int64, targets: Int64, count: int
) -> bool:
    """Whether VMs of a node fit into holes, the last kind first; writes where to."""
    placed = count
    for i in range(count - 1, -1, -1):
        shift_vm(now, group, kinds[i], origin, -1)
        targets[i] = best_hole(now, group, kinds[i], origin, chunk)
        if targets[i] < 0:
            shift_vm(now, group, kinds[i], origin, 1)
            break
        shift_vm(now, group, kinds[i], targets[i], 1)
        placed = i
    for i in range(placed, count):
        shift_vm(now, group, kinds[i], targets[i], -1)
        shift_vm(now, group, kinds[i], origin, 1)
    return placed == 0


@kernel
def next_choice(pick: Int64, count: int, options: int) -> bool:
    """The next non-decreasing choice of ``count`` options, with repetition; False at the end."""
    i = count - 1
    while i >= 0 and pick[i] == options - 1:
        i -= 1
    if i < 0:
        return False
    pick[i:count] = pick[i] + 1
    return True


@kernel
def best_leavers(
    now: Placement, movable: Int64, group: Int64, chunk: int, count: int, scratch: Int64,
    options: Int64,
) -> int:  # fmt: skip
    """The node that gains a slot by ``count`` moves at the least excess, or -1.

    Writes the kinds of the VMs that leave it into ``scratch[0]``, their targets into
    ``scratch[1]``.
    """
    best, least = -1, chunk
    pick, kinds, targets = scratch[2], scratch[3], scratch[1]
    for origin in range(len(now.free)):
        lacking = chunk - now.free[origin, 0] % chunk
        number = 0
        for kind in range(len(now.need)):
            if movable[kind, origin] > 0 and 0 < now.need[kind, 0] < chunk:
                options[number] = kind
                number += 1
        if number == 0:
            continue
        pick[:count] = 0
        more = True
        while more:
            cores, enough, run = 0, True, 0
            for i in range(count):
                kinds[i] = options[pick[i]]
                cores += now.need[kinds[i], 0]
                run = run + 1 if i > 0 and pick[i] == pick[i - 1] else 1
                enough = enough and run <= movable[kinds[i], origin]
            excess = cores - lacking
            enough = enough and 0 <= excess < least
            if enough and place(now, group, origin, chunk, kinds, targets, count):
                best, least = origin, excess
                for i in range(count):
                    scratch[0, i] = kinds[i]
            more = next_choice(pick, count, number)
    if best >= 0:
        place(now, group, best, chunk, scratch[0], targets, count)
    return best


@kernel
def gain_slots(
    now: Placement, movable: Int64, group: Int64, chunk: int, scratch: Int64, options: Int64,
    moves: Int32,
) -> int:  # fmt: skip
    """Gains slots one after the other while moves are left.

    Args:
        now: changed by every move.
        movable: (K, S) single-NUMA VMs of each kind that may leave the slot; changed likewise.
        group: (K,) of each kind.
        chunk: X.
        scratch: (4, WIDEST) overwritten.
        options: (K,) overwritten.
        moves: (limit, 2) overwritten.

    Returns:
        The number of moves made.
    """
    made, count = 0, 1
    while count <= min(scratch.shape[1], len(moves) - made):
        origin = best_leavers(now, movable, group, chunk, count, scratch, options)
        if origin < 0:
            count += 1
            continue
        for i in range(count):
            kind, target = scratch[0, i], scratch[1, i]
            vm = 0
            while now.vm_type[vm] != kind or now.vm_slot[vm] != origin or now.vm_fixed[vm]:
                vm += 1
            moves[made, 0], moves[made, 1] = vm, target
            made += 1
            shift_vm(now, group, kind, origin, -1)
            shift_vm(now, group, kind, target, 1)
            now.vm_slot[vm] = target
            movable[kind, origin] -= 1
            movable[kind, target] += 1
        count = 1
    return made
