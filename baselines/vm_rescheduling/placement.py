"""Who is where, as plain arrays that kernels change move by move."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fleetgym.baselines.vm_rescheduling.problem import Problem
from fleetgym.envs.core.jit import kernel

Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Kinds:
    """The distinct (cores, memory, GPU, double) of a problem's VMs, the single-NUMA ones first."""

    need: Int64  # (K, 3) cores, MiB, milli-GPU on each node used
    double: Bool  # (K,)
    of_vm: Int64  # (V,)

    @property
    def singles(self) -> int:
        """T, the number of single-NUMA types."""
        return int((~self.double).sum())


def kinds_of(problem: Problem) -> Kinds:
    """The types of a problem's VMs."""
    columns = [problem.vm_double, problem.vm_cores, problem.vm_memory, problem.vm_gpu]
    rows, of_vm = np.unique(np.stack(columns, axis=1).astype(np.int64), axis=0, return_inverse=True)
    return Kinds(rows[:, 1:].copy(), rows[:, 0] > 0, of_vm.reshape(-1).astype(np.int64))


class Placement(NamedTuple):
    """Who is where: changed by every move."""

    vm_slot: Int64  # (V,)
    vm_type: Int64  # (V,)
    vm_group: Int64  # (V,) or -1
    vm_fixed: Bool  # (V,) immovable, or settled for good
    need: Int64  # (types, 3) cores, MiB, milli-GPU on each node used
    double: Bool  # (types,)
    free: Int64  # (S, 3)
    load: Int64  # (G, P) VMs of the group on the machine
    most: Int64  # (G,) the most allowed


@kernel
def has_room(now: Placement, kind: int, slot: int) -> bool:
    """Whether a VM of the type fits a slot now (a double one, a machine)."""
    for node in range(2 if now.double[kind] else 1):
        for r in range(3):
            if now.free[slot + node, r] < now.need[kind, r]:
                return False
    return True


@kernel
def can_move(now: Placement, vm: int, to: int) -> bool:
    """Whether a VM fits another slot now and anti-affinity allows it."""
    group, origin = now.vm_group[vm], now.vm_slot[vm]
    if to == origin or not has_room(now, now.vm_type[vm], to):
        return False
    same = group < 0 or origin // 2 == to // 2
    return bool(same or now.load[group, to // 2] < now.most[group])


@kernel
def move(now: Placement, vm: int, to: int) -> None:
    """Moves a VM, legal or not: frees its nodes, fills the target's, counts its group."""
    kind, group, origin = now.vm_type[vm], now.vm_group[vm], now.vm_slot[vm]
    for node in range(2 if now.double[kind] else 1):
        for r in range(3):
            now.free[origin + node, r] += now.need[kind, r]
            now.free[to + node, r] -= now.need[kind, r]
    if group >= 0:
        now.load[group, origin // 2] -= 1
        now.load[group, to // 2] += 1
    now.vm_slot[vm] = to


def placement_of(problem: Problem, kinds: Kinds) -> Placement:
    """A fresh, changeable copy of who is where."""
    load = np.zeros((len(problem.group_max), problem.num_pms), np.int64)
    grouped = problem.vm_group >= 0
    np.add.at(load, (problem.vm_group[grouped], problem.vm_slot[grouped] // 2), 1)
    free = np.stack([problem.free_cores, problem.free_memory, problem.free_gpu], axis=1)
    return Placement(
        vm_slot=problem.vm_slot.astype(np.int64),
        vm_type=kinds.of_vm,
        vm_group=problem.vm_group.astype(np.int64),
        vm_fixed=~problem.vm_movable,
        need=kinds.need,
        double=kinds.double,
        free=free.astype(np.int64),
        load=load,
        most=problem.group_max.astype(np.int64),
    )
