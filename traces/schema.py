"""The common shape into which every trace format is read."""

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from fleetgym.traces.errors import TraceError

Int32 = NDArray[np.int32]
Bool = NDArray[np.bool_]

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
            free.append(left.astype(np.int32))
        return free[0], free[1], free[2]

    def validate(self) -> "Fleet":
        """Returns the fleet itself.

        Raises:
            TraceError: a size is negative, a host or group unknown, or a node overfull.
        """
        self._check_shapes()
        for field in ("slot_cores", "slot_memory", "slot_gpu", "vm_cores", "vm_memory", "vm_gpu"):
            values = getattr(self, field)
            if (values < 0).any():
                index = int(np.argmax(values < 0))
                raise TraceError(
                    f"{self.name}: {field}[{index}] is {values[index]}; sizes must be >= 0"
                )
        if (self.vm_cores + self.vm_memory + self.vm_gpu == 0).any():
            index = int(np.argmax(self.vm_cores + self.vm_memory + self.vm_gpu == 0))
            raise TraceError(f"{self.name}: VM {self._vm(index)} asks for nothing")
        self._check_range("vm_pm", self.vm_pm, self.num_pms, "is on an unknown PM")
        self._check_range("vm_numa", self.vm_numa, NODES, "is on an unknown NUMA node", low=0)
        groups = len(self.group_max_per_pm)
        self._check_range("vm_group", self.vm_group, groups, "is in an unknown group")
        for what, left in zip(("cores", "memory (MiB)", "milli-GPU"), self.free(), strict=True):
            if (left < 0).any():
                slot = int(np.argmin(left))
                pm, numa = divmod(slot, NODES)
                name = self.pm_ids[pm] if self.pm_ids else str(pm)
                raise TraceError(
                    f"{self.name}: NUMA node {numa} of PM {name} is overfull by {-left[slot]} {what}"
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
