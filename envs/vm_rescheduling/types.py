"""The arrays of the VM rescheduling machine: each field with its shape and unit, said once.

B worlds, P machines, S = 2P slots (slot ``2 * pm + numa`` is a NUMA node), V virtual machines
(an index is never reused within an episode), T types, C classes, G groups, E events. A *type*
is a distinct (cores, memory, gpu, double); a *class* is a distinct (type, group), the unit by
which legality is counted. Entities are contiguous, worlds first.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int8 = NDArray[np.int8]
Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]

# Features of a machine, for NUMA node n at offset NODE_FEATURES * n, then those of the machine.
NODE_FEATURES = 7
PM_FEATURES = (
    *(
        f"{feature}_{node}"
        for node in (0, 1)
        for feature in (
            "free_cores",  # / largest node
            "used_cores",  # / largest node
            "free_memory",  # / largest node
            "used_memory",  # / largest node
            "free_gpu",  # / largest node
            "used_gpu",  # / largest node
            "fragment",  # (free cores mod X) / X
        )
    ),
    "active",  # 1 where the machine holds a VM
    "group_full",  # 1 where the chosen VM's anti-affinity group has no room left
)
VM_FEATURES = (
    "cores",  # on each node it uses, / largest node
    "memory",  # / largest node
    "gpu",  # / largest node
    "double",  # 1 for a double-NUMA VM
    "numa",  # its node, 0 or 1
    "present",  # 1 while it is placed
    "movable",  # 1 where it may be migrated
    "gain",  # fragment cores its leaving would free on its host, (gain + 2X) / 4X
    "group_load",  # VMs of its group on its host / the most allowed, 0 without a group
    "chosen",  # 1 for the VM whose target is being asked for
)
PROGRESS = (
    "moves_left",  # / mnl
    "time",  # / horizon, 1 beyond it
    "choosing_target",  # 1 in the second phase
    "fragment_rate",
    "objective",  # squashed to [0, 1]
)


class State(NamedTuple):
    """What a policy may see of B worlds: the fleet as it stands."""

    slot_cores: Int32  # (B, S) cores of the node
    slot_memory: Int32  # (B, S) MiB
    slot_gpu: Int32  # (B, S) milli-GPU
    pm_rack: Int32  # (B, P) rack index
    free_cores: Int32  # (B, S) cores
    free_memory: Int32  # (B, S) MiB
    free_gpu: Int32  # (B, S) milli-GPU
    pm_vms: Int32  # (B, P) number of VMs on the machine
    pm_head: Int32  # (B, P) first VM of the machine's list, or -1
    vm_next: Int32  # (B, V) next VM on the same machine, or -1
    vm_prev: Int32  # (B, V) previous VM on the same machine, or -1
    vm_pm: Int32  # (B, V) host, or -1 where absent
    vm_numa: Int32  # (B, V) node, 0 for a double-NUMA VM
    vm_type: Int32  # (B, V) type, or -1 for padding and VMs that have not arrived
    vm_class: Int32  # (B, V) class, or -1 likewise
    vm_movable: Int8  # (B, V) 1 where it may be migrated
    type_cores: Int32  # (B, T) cores on each node used; padding types fit nowhere
    type_memory: Int32  # (B, T) MiB on each node used
    type_gpu: Int32  # (B, T) milli-GPU on each node used
    type_double: Int8  # (B, T)
    class_type: Int32  # (B, C) type of the class, or -1 for padding
    class_group: Int32  # (B, C) group of the class, or -1
    group_max: Int32  # (B, G) VMs of the group a machine may hold
    group_count: Int32  # (B, G, P) VMs of the group on the machine
    chosen: Int32  # (B,) VM chosen in the first phase, or -1
    moves_left: Int32  # (B,) of the migration number limit
    clock: Int64  # (B,) ns since the start
    sums: Int64  # (B, len(SUMS)) running sums of the objective, below


# Columns of State.sums: the objective is a function of these integers, so it never drifts.
SUMS = (
    "fragment_cores",  # sum over slots of (free cores mod X)
    "free_cores",  # sum over slots
    "pair_fragment_cores",  # sum over machines of free cores that no double-NUMA target can use
    "fragment_memory",  # MiB, sum over slots of (free memory mod memory_chunk)
    "free_memory",  # MiB
    "fragment_gpu",  # milli-GPU, sum over slots of (free GPU mod 1000)
    "free_gpu",  # milli-GPU
    "active_pms",  # machines that hold a VM
    "traffic",  # MiB sent by pre-copy migration
    "downtime",  # ns of pre-copy migration
    "moved",  # MiB of the VMs migrated
    "migrations",  # made
    "dropped",  # stale: legal when seen, not when applied
    "illegal",  # refused by the mask the policy saw
    "rejected",  # arrivals that fitted nowhere
    "arrivals",  # placed
    "departures",
)


class Events(NamedTuple):
    """What the outside world will do: the future, hidden from online policies."""

    time: Int64  # (B, E) ns, ascending; the largest int64 for padding
    vm: Int32  # (B, E) VM that arrives or departs
    arrives: Int8  # (B, E) 1 arrival, 0 departure
    cursor: Int32  # (B,) next event
    type: Int32  # (B, V) type each VM has when it arrives
    vm_class: Int32  # (B, V) class each VM has when it arrives
