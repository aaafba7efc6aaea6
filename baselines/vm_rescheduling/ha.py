"""HA, ByteDance's filter and score, as VMR2L (EuroSys'25) compares with it.

Filter: the VM whose leaving lowers the fragments of its host most. Score: the target, on another
machine, whose fragments its coming raises least. Stop when the two together gain nothing. As
published, VMs larger than X cores stay; unlike as published, memory, GPU and anti-affinity are
checked (the original checks cores alone), and so is whether the VM may move.
"""

import numpy as np

from fleetgym.baselines.vm_rescheduling.board import NOWHERE, Board
from fleetgym.baselines.vm_rescheduling.guards import fragments_only
from fleetgym.baselines.vm_rescheduling.placement import Int64
from fleetgym.baselines.vm_rescheduling.problem import Moves, Problem


def plan(problem: Problem, seconds: float, seed: int) -> Moves:
    """Moves until the filtered VM gains nothing; needs neither the time nor the seed.

    Raises:
        PolicyError: the objective has other terms than fragments.
    """
    fragments_only(problem, "ha")
    chunk = problem.objective.fragment_cores
    small = problem.vm_cores * (1 + problem.vm_double) <= chunk
    candidates = np.flatnonzero(small & problem.vm_movable)
    board = Board(problem)
    moves = []
    while board.moves_left and len(candidates):
        leaving = leaving_gains(board, candidates, chunk)
        vm = int(candidates[np.argmax(leaving)])
        targets, entering = entering_gains(board, vm, chunk)
        if not len(targets) or leaving.max() + entering.max() <= 0:
            break
        moves.append((vm, int(targets[np.argmax(entering)])))
        board.move(*moves[-1])
    return np.array(moves, np.int32).reshape(-1, 2)


def leaving_gains(board: Board, vms: Int64, chunk: int) -> Int64:
    """(N,) fragment cores that each VM's leaving takes from its host."""
    free, slot, cores = board.free[:, 0], board.slot[vms], board.need[vms, 0]
    gains: Int64 = free[slot] % chunk - (free[slot] + cores) % chunk
    double = board.problem.vm_double[vms]
    other = slot[double] + 1
    gains[double] += free[other] % chunk - (free[other] + cores[double]) % chunk
    return gains


def entering_gains(board: Board, vm: int, chunk: int) -> tuple[Int64, Int64]:
    """Legal targets on other machines, and fragment cores that the VM's coming takes from them."""
    problem, double = board.problem, bool(board.problem.vm_double[vm])
    fits = (board.free >= board.need[vm]).all(axis=1)
    if double:
        fits[0::2] &= fits[1::2]
        fits[1::2] = False
    group = int(problem.vm_group[vm])
    if group >= 0:
        fits &= np.repeat(board.members[group] < problem.group_max[group], 2)
    if board.slot[vm] != NOWHERE:
        host = int(board.slot[vm]) // 2
        fits[2 * host : 2 * host + 2] = False
    targets = np.flatnonzero(fits)
    gains: Int64 = np.zeros(len(targets), np.int64)
    for node in range(1 + double):
        free = board.free[targets + node, 0]
        gains += free % chunk - (free - board.need[vm, 0]) % chunk
    return targets, gains
