"""alpha-VBPP: vector bin packing of the VMs that cause the most fragments (VMR2L, EuroSys'25).

In rounds, alpha VMs are taken off together, each the one whose leaving then lowers the fragments
of its host most; the largest first, they are put back one by one where that leaves the fewest
fragments (of equals, where the fewest cores are free). VMs that land elsewhere are moves, ordered
so that each is legal when made. A round that gains nothing is undone and ends the plan. What VMR2L
leaves open (ties, the order of putting back) is ours.
"""

import time

import numpy as np

from fleetgym.baselines.vm_rescheduling.board import Board, replay
from fleetgym.baselines.vm_rescheduling.goal import best_prefix
from fleetgym.baselines.vm_rescheduling.grouped_kinds import GroupedKinds, grouped_kinds_of
from fleetgym.baselines.vm_rescheduling.guards import fragments_only
from fleetgym.baselines.vm_rescheduling.ha import entering_gains, leaving_gains
from fleetgym.baselines.vm_rescheduling.ordering import order
from fleetgym.baselines.vm_rescheduling.placement import Int64
from fleetgym.baselines.vm_rescheduling.problem import NO_MOVES, Moves, Problem

ALPHA = 10  # VMs a round


def plan(problem: Problem, seconds: float, seed: int, alpha: int = ALPHA) -> Moves:
    """Rounds of ``alpha`` VMs while they gain and moves and time are left.

    Raises:
        PolicyError: the objective has other terms than fragments.
    """
    fragments_only(problem, "alpha_vbpp")
    deadline = time.perf_counter() + seconds
    kinds = grouped_kinds_of(problem)
    made = [NO_MOVES]
    while problem.moves_left and time.perf_counter() < deadline:
        change = repacked(problem, kinds, min(alpha, problem.moves_left))
        moves, gain = best_prefix(problem, kinds, order(problem, kinds, change, seed).moves)
        if gain <= 0:
            break
        problem = replay(problem, moves)
        made.append(moves)
    return np.concatenate(made)


def repacked(problem: Problem, kinds: GroupedKinds, alpha: int) -> Int64:
    """(C, 3) kind, place and VMs gained there by taking off and putting back ``alpha`` VMs."""
    board, chunk = Board(problem), problem.objective.fragment_cores
    stay = ~problem.vm_movable
    off = []
    for _ in range(min(alpha, int((~stay).sum()))):
        vms = np.flatnonzero(~stay)
        vm = int(vms[np.argmax(leaving_gains(board, vms, chunk))])
        board.take_off(vm)
        stay[vm] = True
        off.append(vm)
    off.sort(key=lambda vm: -int(problem.vm_cores[vm]) * (1 + int(problem.vm_double[vm])))
    change = np.zeros((len(kinds.need), len(problem.free_cores)), np.int64)
    for vm in off:
        targets, gains = entering_gains(board, vm, chunk)
        if not len(targets):
            return np.empty((0, 3), np.int64)
        best = targets[np.lexsort((board.free[targets, 0], -gains))[0]]
        board.put(vm, int(best))
        change[kinds.of_vm[vm], best] += 1
        change[kinds.of_vm[vm], problem.vm_slot[vm]] -= 1
    kind, place = np.nonzero(change)
    return np.stack([kind, place, change[kind, place]], axis=1)
