"""The provider's placement of an arriving VM: best fit.

The rule: among the targets where the VM fits (a slot for a single-NUMA VM; a machine, that is both
its slots, for a double-NUMA one) and whose machine has room for its anti-affinity group, the one
with the fewest free cores on the slot(s) used; ties go to the least free memory on them, then to
the lowest index.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fleetgym.traces.schema import NODES, Bool, Fleet

Int64 = NDArray[np.int64]

_CORE = 1 << 32  # a core outweighs any memory: one int64 key orders by cores, then memory
_NEVER = np.iinfo(np.int64).max


class Need(NamedTuple):
    """What a VM takes on each node it uses."""

    cores: int
    memory: int  # MiB
    gpu: int  # milli-GPU
    double: bool  # on both nodes of its machine
    group: int = -1  # anti-affinity group, or -1


class Packing:
    """The free resources of a fleet while VMs come and go."""

    def __init__(self, fleet: Fleet) -> None:
        """Starts from the fleet as it stands, its placed VMs included."""
        cores, memory, gpu = fleet.free()
        self.free_cores = cores.astype(np.int64)  # (2P,)
        self.free_memory = memory.astype(np.int64)  # (2P,) MiB
        self.free_gpu = gpu.astype(np.int64)  # (2P,) milli-GPU
        self.used_cores = int(fleet.slot_cores.sum(dtype=np.int64) - cores.sum(dtype=np.int64))
        self._slot_key = self.free_cores * _CORE + self.free_memory
        self._pm_key = self._slot_key[0::2] + self._slot_key[1::2]
        self._group_max = fleet.group_max_per_pm
        self._group_count = np.zeros((len(self._group_max), fleet.num_pms), np.int64)
        member = (fleet.vm_group >= 0) & (fleet.vm_pm >= 0)
        np.add.at(self._group_count, (fleet.vm_group[member], fleet.vm_pm[member]), 1)

    def best_fit(self, need: Need) -> int:
        """The slot best fit takes (the first of its machine for a double-NUMA VM), or -1."""
        if not self.free_cores.size:
            return -1
        return self._best_pm(need) if need.double else self._best_slot(need)

    def _best_slot(self, need: Need) -> int:
        cores, memory, gpu, _, group = need
        # Slots with too few cores wrap around to the greatest keys; memory seldom binds.
        best = int((self._slot_key - cores * _CORE).view(np.uint64).argmin())
        if (
            self.free_cores[best] >= cores
            and self.free_memory[best] >= memory
            and self.free_gpu[best] >= gpu
            and (group < 0 or self._group_count[group, best // NODES] < self._group_max[group])
        ):
            return best
        fits = self._fits(need)
        if group >= 0:
            fits &= np.repeat(self._group_count[group] < self._group_max[group], NODES)
        return _least(self._slot_key, fits)

    def _best_pm(self, need: Need) -> int:
        fits = self._fits(need)
        fits = fits[0::2] & fits[1::2]
        if need.group >= 0:
            fits &= self._group_count[need.group] < self._group_max[need.group]
        best = _least(self._pm_key, fits)
        return best if best < 0 else NODES * best

    def _fits(self, need: Need) -> Bool:
        fits: Bool = (self.free_cores >= need.cores) & (self.free_memory >= need.memory)
        if need.gpu:
            fits &= self.free_gpu >= need.gpu
        return fits

    def take(self, slot: int, need: Need, vms: int = 1) -> None:
        """Puts a VM on a slot (double: on the machine that begins there).

        Args:
            slot: as `best_fit` returns it.
            need: of the VM.
            vms: -1 to take it off again.
        """
        cores, memory, gpu, double, group = need
        nodes = NODES if double else 1
        slots = slice(slot, slot + NODES) if double else slot
        self.free_cores[slots] -= vms * cores
        self.free_memory[slots] -= vms * memory
        self.free_gpu[slots] -= vms * gpu
        key = vms * (cores * _CORE + memory)
        self._slot_key[slots] -= key
        self._pm_key[slot // NODES] -= key * nodes
        self.used_cores += vms * cores * nodes
        if group >= 0:
            self._group_count[group, slot // NODES] += vms


def _least(key: Int64, fits: Bool) -> int:
    """The index of the least key among those that fit, the first of equals, or -1."""
    keys = np.where(fits, key, _NEVER)
    best = int(keys.argmin())
    return best if fits[best] else -1


def best_fit(fleet: Fleet, need: Need) -> int:
    """Where best fit would put one more VM in a fleet.

    Args:
        fleet: P machines and their VMs.
        need: of the VM that arrives.

    Returns:
        The slot ``2 * pm + numa`` (numa 0 for a double-NUMA VM), or -1 where it fits nowhere.
    """
    return Packing(fleet).best_fit(need)
