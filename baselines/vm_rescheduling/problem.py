"""One world of VM rescheduling as plain arrays: what a planner is given, and what it answers.

Every planner of this folder is a function
``plan(problem: Problem, seconds: float, seed: int) -> Moves``.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fleetgym.envs.vm_rescheduling.objective import Objective

Int32 = NDArray[np.int32]
Bool = NDArray[np.bool_]
Moves = NDArray[np.int32]  # (K, 2): VM and target slot, each legal when made in this order

NO_MOVES: Moves = np.empty((0, 2), np.int32)


@dataclass(frozen=True, eq=False)
class Problem:
    """A fleet at one instant. Slot ``2 * pm + numa`` is a NUMA node; only placed VMs are listed."""

    free_cores: Int32  # (S,) cores
    free_memory: Int32  # (S,) MiB
    free_gpu: Int32  # (S,) milli-GPU
    vm_slot: Int32  # (V,) slot; the first of its machine for a double-NUMA VM
    vm_cores: Int32  # (V,) on each node it uses
    vm_memory: Int32  # (V,) MiB on each node it uses
    vm_gpu: Int32  # (V,) milli-GPU on each node it uses
    vm_double: Bool  # (V,)
    vm_movable: Bool  # (V,)
    vm_group: Int32  # (V,) anti-affinity group, or -1
    group_max: Int32  # (G,) VMs of the group a machine may hold
    moves_left: int
    objective: Objective

    @property
    def num_pms(self) -> int:
        """P, the number of machines."""
        return len(self.free_cores) // 2

    def legal_targets(self, vm: int) -> Int32:
        """Slots the VM may move to now (first slots of machines for a double-NUMA VM)."""
        cores, memory, gpu = self.vm_cores[vm], self.vm_memory[vm], self.vm_gpu[vm]
        fits = (self.free_cores >= cores) & (self.free_memory >= memory) & (self.free_gpu >= gpu)
        own = int(self.vm_slot[vm])
        group = self.vm_group[vm]
        if group >= 0:
            members = self.vm_slot[self.vm_group == group] // 2
            full = np.bincount(members, minlength=self.num_pms) >= self.group_max[group]
            full[own // 2] = False
            fits &= ~np.repeat(full, 2)
        if self.vm_double[vm]:
            fits[0::2] &= fits[1::2]
            fits[1::2] = False
        fits[own] = False
        return np.flatnonzero(fits & bool(self.vm_movable[vm])).astype(np.int32)

    def moved(self, vm: int, slot: int) -> "Problem":
        """The problem after one move, which must be legal.

        Raises:
            ValueError: the move is not legal here.
        """
        if self.moves_left < 1 or slot not in self.legal_targets(vm):
            raise ValueError(f"VM {vm} cannot move to slot {slot}, {self.moves_left} moves left")
        nodes = np.array([0, 1] if self.vm_double[vm] else [0])
        free = []
        for left, need in (
            (self.free_cores, self.vm_cores),
            (self.free_memory, self.vm_memory),
            (self.free_gpu, self.vm_gpu),
        ):
            changed = left.copy()
            changed[self.vm_slot[vm] + nodes] += need[vm]
            changed[slot + nodes] -= need[vm]
            free.append(changed)
        place = self.vm_slot.copy()
        place[vm] = slot
        return replace(
            self,
            free_cores=free[0],
            free_memory=free[1],
            free_gpu=free[2],
            vm_slot=place,
            moves_left=self.moves_left - 1,
        )

    def fragment_rate(self) -> float:
        """FR_X of VMR2L (EuroSys'25, eq. 1): unusable free cores over free cores, 0 if none."""
        total = int(self.free_cores.sum())
        wasted = int((self.free_cores % self.objective.fragment_cores).sum())
        return wasted / total if total else 0.0
