"""The common shape into which every trace format is read."""

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from fleetgym.traces.errors import TraceError

Int32 = NDArray[np.int32]
Bool = NDArray[np.bool_]

MAX_SIZE = 2**30 - 1  # of anything a slot has or a VM asks for: sums of two stay inside int32
NODES = 2  # NUMA nodes of a machine; a machine with one node has a second of size zero


@dataclass(frozen=True, eq=False)
class Fleet:
    """A snapshot of P physical machines (PMs) of two NUMA nodes, and V virtual machines (VMs).

    A slot is a NUMA node: slot ``2 * pm + numa``. A double-NUMA VM takes its cores, memory and
    GPU share on both nodes of its PM. ``vm_pm`` is -1 for a VM that is not placed yet.
    """

    name: str
    slot_cores: Int32  # (2P,) cores of the node (or millicores, where the trace shares cores)
    slot_memory: Int32  # (2P,) MiB
    slot_gpu: Int32  # (2P,) milli-GPU
    pm_rack: Int32  # (P,) rack (sub-cluster) index, from 0
    vm_cores: Int32  # (V,) cores on each node it uses
    vm_memory: Int32  # (V,) MiB on each node it uses
    vm_gpu: Int32  # (V,) milli-GPU on each node it uses
    vm_double: Bool  # (V,) uses both nodes of its PM
    vm_pm: Int32  # (V,) host, or -1
    vm_numa: Int32  # (V,) 0 or 1; 0 for a double-NUMA VM
    vm_movable: Bool  # (V,) may be migrated
    vm_group: Int32  # (V,) anti-affinity group, or -1
    group_max_per_pm: Int32  # (G,) VMs of the group one PM may hold
    pm_ids: tuple[str, ...] = ()
    vm_ids: tuple[str, ...] = ()

    @property
    def num_pms(self) -> int:
        """P, the number of physical machines."""
        return len(self.pm_rack)

    @property
    def num_vms(self) -> int:
        """V, the number of virtual machines."""
        return len(self.vm_cores)

    def renamed(self, name: str) -> "Fleet":
        """The same fleet under another name."""
        return replace(self, name=name)

    def free(self) -> tuple[Int32, Int32, Int32]:
        """Free cores, memory (MiB) and GPU (milli-GPU) of each slot: three ``(2P,)`` arrays.

        Recomputed from the VMs: the free figures declared by public traces contradict them.
        """
        cores, memory, gpu = (left.astype(np.int32) for left in self._left())
        return cores, memory, gpu

    def _left(self) -> list[NDArray[np.int64]]:
        """What `free` returns, before it is known to fit an int32."""
        placed = self.vm_pm >= 0
        first = 2 * self.vm_pm + np.where(self.vm_double, 0, self.vm_numa)
        free = []
        for total, need in (
            (self.slot_cores, self.vm_cores),
            (self.slot_memory, self.vm_memory),
            (self.slot_gpu, self.vm_gpu),
        ):
            left = total.astype(np.int64)
            np.subtract.at(left, first[placed], need[placed])
            both = placed & self.vm_double
            np.subtract.at(left, first[both] + 1, need[both])
            free.append(left)
        return free

    def validate(self) -> "Fleet":
        """Returns the fleet itself.

        Raises:
            TraceError: a size is negative, a host or group unknown, or a node overfull.
        """
        self._check_shapes()
        for field in ("slot_cores", "slot_memory", "slot_gpu", "vm_cores", "vm_memory", "vm_gpu"):
            values = getattr(self, field)
            bad = (values < 0) | (values > MAX_SIZE)
            if bad.any():
                index = int(np.argmax(bad))
                raise TraceError(
                    f"{self.name}: {field}[{index}] is {values[index]}; "
                    f"sizes must be from 0 to {MAX_SIZE}"
                )
        nothing = (self.vm_cores == 0) & (self.vm_memory == 0) & (self.vm_gpu == 0)
        if nothing.any():
            index = int(np.argmax(nothing))
            raise TraceError(f"{self.name}: VM {self._vm(index)} asks for nothing")
        self._check_range("vm_pm", self.vm_pm, self.num_pms, "is on an unknown PM")
        self._check_range("vm_numa", self.vm_numa, NODES, "is on an unknown NUMA node", low=0)
        if (self.vm_double & (self.vm_numa != 0)).any():
            index = int(np.argmax(self.vm_double & (self.vm_numa != 0)))
            raise TraceError(f"{self.name}: double-NUMA VM {self._vm(index)} must have vm_numa 0")
        if (self.group_max_per_pm < 1).any():
            index = int(np.argmax(self.group_max_per_pm < 1))
            raise TraceError(f"{self.name}: group {index} allows no VM on a PM")
        groups = len(self.group_max_per_pm)
        self._check_range("vm_group", self.vm_group, groups, "is in an unknown group")
        for what, left in zip(("cores", "memory (MiB)", "milli-GPU"), self._left(), strict=True):
            if (left < 0).any():
                slot = int(np.argmin(left))
                pm, numa = divmod(slot, NODES)
                name = self.pm_ids[pm] if self.pm_ids else str(pm)
                raise TraceError(
                    f"{self.name}: NUMA node {numa} of PM {name} is overfull "
                    f"by {-left[slot]} {what}"
                )
        return self

    def _vm(self, index: int) -> str:
        return self.vm_ids[index] if self.vm_ids else str(index)

    def _check_range(self, field: str, values: Int32, high: int, what: str, low: int = -1) -> None:
        bad = (values < low) | (values >= high)
        if bad.any():
            index = int(np.argmax(bad))
            raise TraceError(
                f"{self.name}: VM {self._vm(index)} {what}: {field} is {values[index]}, "
                f"of {high} known"
            )

    def _check_shapes(self) -> None:
        sizes = {"slot": NODES * self.num_pms, "pm": self.num_pms, "vm": self.num_vms}
        for field in fields(self):
            prefix = field.name.split("_")[0]
            value = getattr(self, field.name)
            wrong = prefix in sizes and len(value) != sizes[prefix]
            if isinstance(value, tuple):
                wrong = prefix in sizes and len(value) not in (0, sizes[prefix])
            if wrong:
                raise TraceError(
                    f"{self.name}: {field.name} has {len(value)} entries, not {sizes[prefix]}"
                )
