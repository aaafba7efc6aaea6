"""A problem on which moves are made one after the other, in place."""

from dataclasses import replace

import numpy as np

from fleetgym.baselines.vm_rescheduling.goal import goal_of, hosted_of, placement_cost
from fleetgym.baselines.vm_rescheduling.placement import Int64, kinds_of, placement_of
from fleetgym.baselines.vm_rescheduling.problem import Moves, Problem

NOWHERE = -1


class Board:
    """The mutable twin of a `Problem`: the rules of ``Problem.moved`` without its copies."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.free: Int64 = np.stack(
            [problem.free_cores, problem.free_memory, problem.free_gpu], axis=1
        ).astype(np.int64)  # (S, 3) cores, MiB, milli-GPU
        self.need: Int64 = np.stack(
            [problem.vm_cores, problem.vm_memory, problem.vm_gpu], axis=1
        ).astype(np.int64)  # (V, 3) on each node used
        self.slot: Int64 = problem.vm_slot.astype(np.int64)  # (V,) or NOWHERE
        self.members = group_members(problem)  # (G, P) VMs of the group on the machine
        self.moves_left = problem.moves_left

    def nodes(self, vm: int, slot: int) -> slice:
        """The slots the VM takes when it is put on ``slot``."""
        return slice(slot, slot + 1 + int(self.problem.vm_double[vm]))

    def legal(self, vm: int, slot: int) -> bool:
        """Whether the VM may move to the slot now, were a move left."""
        problem, here = self.problem, int(self.slot[vm])
        if not problem.vm_movable[vm] or slot == here or not 0 <= slot < len(self.free):
            return False
        if problem.vm_double[vm] and slot % 2:
            return False
        group, pm = int(problem.vm_group[vm]), slot // 2
        if group >= 0 and pm != here // 2 and self.members[group, pm] >= problem.group_max[group]:
            return False
        return bool((self.free[self.nodes(vm, slot)] >= self.need[vm]).all())

    def move(self, vm: int, slot: int) -> None:
        """Makes a move that is legal."""
        self.take_off(vm)
        self.put(vm, slot)
        self.moves_left -= 1

    def take_off(self, vm: int) -> None:
        """Frees what the VM takes; it is nowhere until it is put back."""
        here = int(self.slot[vm])
        self.free[self.nodes(vm, here)] += self.need[vm]
        if self.problem.vm_group[vm] >= 0:
            self.members[self.problem.vm_group[vm], here // 2] -= 1
        self.slot[vm] = NOWHERE

    def put(self, vm: int, slot: int) -> None:
        """Puts a VM that is nowhere on a slot with room."""
        self.free[self.nodes(vm, slot)] -= self.need[vm]
        if self.problem.vm_group[vm] >= 0:
            self.members[self.problem.vm_group[vm], slot // 2] += 1
        self.slot[vm] = slot

    def as_problem(self) -> Problem:
        """The problem as it stands after the moves made."""
        cores, memory, gpu = self.free.T.astype(np.int32)
        return replace(
            self.problem,
            free_cores=cores,
            free_memory=memory,
            free_gpu=gpu,
            vm_slot=self.slot.astype(np.int32),
            moves_left=self.moves_left,
        )


def group_members(problem: Problem) -> Int64:
    """(G, P) VMs of each anti-affinity group on each machine."""
    members = np.zeros((len(problem.group_max), problem.num_pms), np.int64)
    grouped = problem.vm_group >= 0
    np.add.at(members, (problem.vm_group[grouped], problem.vm_slot[grouped] // 2), 1)
    return members


def replay(problem: Problem, moves: Moves) -> Problem:
    """The problem after all moves, each checked when it is made.

    Raises:
        ValueError: a move is not legal when made, or there are more than ``moves_left``.
    """
    board = Board(problem)
    for step, (vm, slot) in enumerate(moves.tolist()):
        if board.moves_left < 1 or not board.legal(vm, slot):
            raise ValueError(
                f"move {step}: VM {vm} cannot go from slot {board.slot[vm]} to slot {slot}, "
                f"{board.moves_left} moves left"
            )
        board.move(vm, slot)
    return board.as_problem()


def objective_of(problem: Problem) -> float:
    """The weighted objective as the problem stands, traffic left out."""
    kinds = kinds_of(problem)
    free = placement_of(problem, kinds).free
    return placement_cost(free, hosted_of(problem), goal_of(problem, kinds))
