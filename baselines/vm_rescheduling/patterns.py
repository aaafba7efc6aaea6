"""Machines that look alike, and what may happen to one of them: the view behind column generation.

A *type* is a distinct (cores, memory, GPU) of single-NUMA or double-NUMA VMs. Machines with the
same free resources and the same movable VMs by type form a *class*. A *pattern* says how many VMs
of each type leave and enter each node of one machine of a class; its width is
``2 * singles + doubles``: node 0, node 1, then both nodes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fleetgym.baselines.vm_rescheduling.placement import Kinds, kinds_of
from fleetgym.baselines.vm_rescheduling.problem import Problem

Int16 = NDArray[np.int16]
Int64 = NDArray[np.int64]
Float64 = NDArray[np.float64]

MOST_LEVELS = 256  # units of a node: the time of pricing grows with their square
MOST_BANDS = 12  # levels of the objective of a node: the patterns grow with their square


@dataclass(frozen=True, eq=False)
class Classes:
    """The fleet by classes: C classes of machines, T single and U double types."""

    unit: int  # cores in one unit of the sizes below
    single: Int64  # (T,) units
    double: Int64  # (U,) units on each of the two nodes
    free: Int64  # (C, 2) units
    free_other: Int64  # (C, 2, 2) MiB, milli-GPU of the node
    leave_single: Int64  # (C, 2, T) movable VMs
    leave_double: Int64  # (C, U) movable VMs
    machines: Int64  # (C,) how many there are
    class_of: Int64  # (P,) class of each machine
    kinds: Kinds  # the types: T single-NUMA ones, then U double-NUMA ones
    scarce: bool  # memory or GPU can run out before the cores do
    levels: int  # units of the largest node, or the most that can move on it

    @property
    def width(self) -> int:
        """Entries of one direction of a pattern."""
        return 2 * len(self.single) + len(self.double)


def _other_can_run_out(problem: Problem) -> bool:
    """Whether a set of VMs that fits a node's cores could exceed its memory or GPU."""
    cores = problem.vm_cores.astype(np.float64)
    span = np.concatenate([problem.vm_slot, problem.vm_slot[problem.vm_double] + 1])

    def total(free: NDArray[np.int32], need: NDArray[np.int32]) -> Float64:
        used = np.concatenate([need, need[problem.vm_double]])
        return (free + np.bincount(span, used, minlength=len(free))).astype(np.float64)

    room = total(problem.free_cores, problem.vm_cores)
    for free, need in (
        (problem.free_memory, problem.vm_memory),
        (problem.free_gpu, problem.vm_gpu),
    ):
        worst = np.max(np.divide(need, cores, out=np.full(len(cores), np.inf), where=cores > 0))
        if need.any() and (room * worst > total(free, need)).any():
            return True
    return False


def machine_classes(problem: Problem) -> Classes:
    """Groups the machines of a problem; anti-affinity is left to whoever makes the moves."""
    kinds = kinds_of(problem)
    sizes = np.concatenate(
        [problem.vm_cores, problem.free_cores, [problem.objective.fragment_cores]]
    )
    unit = int(np.gcd.reduce(sizes))
    size = kinds.need[:, 0] // unit
    singles = kinds.singles
    pms = problem.num_pms
    by_slot = np.zeros((2 * pms, len(size)), np.int64)
    movable = problem.vm_movable
    np.add.at(by_slot, (problem.vm_slot[movable], kinds.of_vm[movable]), 1)
    leaving = np.minimum(by_slot, problem.moves_left).reshape(pms, 2, -1)
    free = problem.free_cores.reshape(pms, 2).astype(np.int64) // unit
    other = np.stack([problem.free_memory, problem.free_gpu], axis=1).reshape(pms, 2, 2)
    scarce = _other_can_run_out(problem)
    key = [free, leaving.reshape(pms, -1)] + ([other.reshape(pms, -1)] if scarce else [])
    _, first, class_of, machines = np.unique(
        np.concatenate(key, axis=1), axis=0, return_index=True, return_inverse=True,
        return_counts=True,
    )  # fmt: skip
    levels = free + leaving @ size + leaving[:, :1, singles:] @ size[singles:]
    return Classes(
        unit=unit,
        single=size[:singles],
        double=size[singles:],
        free=free[first],
        free_other=other[first].astype(np.int64),
        leave_single=np.ascontiguousarray(leaving[first][:, :, :singles]),
        leave_double=np.ascontiguousarray(leaving[first][:, 0, singles:]),
        machines=machines.astype(np.int64),
        class_of=class_of.reshape(-1).astype(np.int64),
        kinds=kinds,
        scarce=scarce,
        levels=int(levels.max(initial=0)),
    )
