"""Simulated annealing over placements that displace at most so many VMs."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fleetgym.baselines.vm_rescheduling.draws import UInt64, below, uniform
from fleetgym.baselines.vm_rescheduling.goal import Goal, carry
from fleetgym.baselines.vm_rescheduling.placement import Placement, can_move
from fleetgym.envs.core.jit import kernel

Int64 = NDArray[np.int64]

GO_HOME, GO_ANYWHERE = 0.2, 0.6  # shares of the neighbours drawn; the rest are exchanges


class Search(NamedTuple):
    """A placement under search: changed by every move accepted."""

    now: Placement
    home: Int64  # (V,) slot at the start
    hosted: Int64  # (P,) VMs on the machine
    away: Int64  # (V,) the displaced VMs, first come first
    away_at: Int64  # (V,) where in ``away`` a VM is, or -1
    number: Int64  # (1,) displaced VMs


@kernel
def relocate(search: Search, goal: Goal, vm: int, to: int) -> float:
    """Moves a VM, legal or not, lists it where displaced; returns the change of the objective."""
    origin, home, fee = search.now.vm_slot[vm], search.home[vm], goal.fee[search.now.vm_type[vm]]
    change = carry(search.now, search.hosted, goal, vm, to)
    if origin == home and to != home:
        search.away[search.number[0]] = vm
        search.away_at[vm] = search.number[0]
        search.number[0] += 1
        return float(change + fee)
    if to == home and origin != home:
        search.number[0] -= 1
        last, at = search.away[search.number[0]], search.away_at[vm]
        search.away[at] = last
        search.away_at[last] = at
        search.away_at[vm] = -1
        return float(change - fee)
    return change


@kernel
def propose(search: Search, limit: int, state: UInt64) -> tuple[int, int, int]:
    """Draws a neighbour: a VM to a random slot, home, or in exchange for another VM.

    Returns:
        VM (-1: none was found), its new slot, and the VM that takes its place (-1: none).
    """
    now, vms, count = search.now, len(search.home), search.number[0]
    vm = below(state, vms)
    if count > 0 and (count >= limit or uniform(state) < 0.5):
        vm = search.away[below(state, count)]
    if now.vm_fixed[vm]:
        return -1, -1, -1
    double = now.double[now.vm_type[vm]]
    draw, other = uniform(state), -1
    if draw < GO_HOME:
        to = search.home[vm]
    elif draw < GO_HOME + GO_ANYWHERE:
        to = below(state, len(now.free))
        if double:
            to -= to % 2
    else:
        other = below(state, vms)
        if now.vm_fixed[other] or double != now.double[now.vm_type[other]]:
            return -1, -1, -1
        to = now.vm_slot[other]
    return (vm if to != now.vm_slot[vm] else -1), to, other


@kernel
def swap(search: Search, goal: Goal, vm: int, other: int) -> tuple[bool, float]:
    """Exchanges two VMs if both then fit; returns whether, and the change of the objective."""
    now = search.now
    here, there = now.vm_slot[vm], now.vm_slot[other]
    change = relocate(search, goal, other, here)  # room or not: is there any once vm has gone?
    if can_move(now, vm, there):
        change += relocate(search, goal, vm, there)
        group = now.vm_group[other]
        fits = group < 0 or now.load[group, here // 2] <= now.most[group]
        for node in range(2 if now.double[now.vm_type[other]] else 1):
            for r in range(3):
                fits = fits and now.free[here + node, r] >= 0
        if fits:
            return True, change
        relocate(search, goal, vm, here)
    relocate(search, goal, other, there)
    return False, 0.0


@kernel
def anneal_steps(
    search: Search,
    goal: Goal,
    limit: int,
    steps: int,
    heat: float,
    state: UInt64,
    cost: float,
    best: float,
    best_slot: Int64,
) -> tuple[float, float]:
    """Simulated annealing (Kirkpatrick et al., Science 220, 1983) at one temperature.

    Args:
        search: changed.
        goal: the objective.
        limit: VMs that may be displaced.
        steps: neighbours tried.
        heat: the temperature.
        state: of the draws; moved on.
        cost: of the placement now.
        best: cost of the best placement seen.
        best_slot: (V,) that placement; overwritten by better ones.

    Returns:
        The cost at the end, and the best.
    """
    for _ in range(steps):
        vm, to, other = propose(search, limit, state)
        if vm < 0:
            continue
        origin = search.now.vm_slot[vm]
        if other >= 0:
            made, change = swap(search, goal, vm, other)
        else:
            made, change = can_move(search.now, vm, to), 0.0
            if made:
                change = relocate(search, goal, vm, to)
        if not made:
            continue
        worse = change > 0 and uniform(state) >= np.exp(-change / heat)
        if worse or search.number[0] > limit:
            relocate(search, goal, vm, origin)
            if other >= 0:
                relocate(search, goal, other, to)
            continue
        cost += change
        if cost < best - 1e-12:
            best = cost
            for v in range(len(best_slot)):
                best_slot[v] = search.now.vm_slot[v]
    return cost, best
