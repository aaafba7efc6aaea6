"""The arrays of the VM rescheduling machine: each field with its shape and unit, said once.

Arrays of one type and one entity are packed into one (`World`): Numba compiles and dispatches by
the number of arrays. `State` names their rows again for policies.

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
UInt64 = NDArray[np.uint64]
Bool = NDArray[np.bool_]
Terms = tuple[float, float, float, float, float, float]

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
    "remainder",  # (cores mod X) / X: what it adds to or takes from a node's fragment
    "chosen",  # 1 for the VM whose target is being asked for
)
ACTIVE, GROUP_FULL = 2 * NODE_FEATURES, 2 * NODE_FEATURES + 1
VM_NUMA, VM_CHOSEN = 4, len(VM_FEATURES) - 1
PROGRESS = (
    "moves_left",  # / mnl
    "time",  # / horizon, 1 beyond it
    "choosing_target",  # 1 in the second phase
    "fragment_rate",
    "objective",  # squashed to [0, 1]
)


class State(NamedTuple):
    """What a policy may see of B worlds: read-only views of the fleet as it stands."""

    slot_cores: Int32  # (B, S) cores of the node
    slot_memory: Int32  # (B, S) MiB
    slot_gpu: Int32  # (B, S) milli-GPU
    free_cores: Int32  # (B, S) cores
    free_memory: Int32  # (B, S) MiB
    free_gpu: Int32  # (B, S) milli-GPU
    pm_rack: Int32  # (B, P) rack index
    pm_vms: Int32  # (B, P) number of VMs on the machine
    vm_pm: Int32  # (B, V) host, or -1 where absent
    vm_numa: Int32  # (B, V) node, 0 for a double-NUMA VM
    vm_type: Int32  # (B, V) type, or -1 for padding and VMs that have not arrived
    vm_class: Int32  # (B, V) class, or -1 likewise
    vm_movable: Int32  # (B, V) 1 where it may be migrated
    type_cores: Int32  # (B, T) cores on each node used; padding types fit nowhere
    type_memory: Int32  # (B, T) MiB on each node used
    type_gpu: Int32  # (B, T) milli-GPU on each node used
    type_double: Int32  # (B, T) 1 for a double-NUMA type
    class_group: Int32  # (B, C) anti-affinity group of the class, or -1
    group_max: Int32  # (B, G) VMs of the group a machine may hold
    group_count: Int32  # (B, G, P) VMs of the group on the machine
    chosen: Int64  # (B,) VM chosen in the first phase, or -1
    moves_left: Int64  # (B,) of the migration number limit
    clock: Int64  # (B,) ns since the start
    last_move: Int32  # (B, 3) VM, source slot, target slot of the last migration, or -1


class World(NamedTuple):
    """All arrays of B worlds; rows of the packed ones are named by the constants below."""

    slots: Int32  # (B, 6, S)
    machines: Int32  # (B, P, 2)
    vms: Int32  # (B, V, 5) entity first: a VM is visited alone
    types: Int32  # (B, 6, T)
    classes: Int32  # (B, 6, C)
    members: Int32  # (B, V) VMs ordered by class, those yet to arrive included
    group_max: Int32  # (B, G)
    group_count: Int32  # (B, G, P)
    last_move: Int32  # (B, 3)
    scalars: Int64  # (B, 8)
    sums: Int64  # (B, len(SUMS)) running sums of the objective: integers never drift
    events: Int64  # (B, 3, E) what the outside world will do, hidden from online policies
    newcomers: Int32  # (B, 3, V) type, class, movable of each VM once it is there, hidden likewise
    legal: Int8  # (B, V) 1 where the VM has a legal target now
    scale: Float32  # (B, 3) largest node: cores, MiB, milli-GPU, each at least 1
    obs_pms: Float32  # (B, P, len(PM_FEATURES)) one cache line a machine
    obs_vms: Float32  # (B, V, len(VM_FEATURES))
    progress: Float32  # (B, len(PROGRESS))
    mask: Int8  # (B, V + 1 + S) the mask the policy sees
    reward: Float64  # (B, len(TERMS) + 1) by terms, and their sum
    outside: Float64  # (B,) minus the objective's change by the outside world, not handed out yet
    flags: Int8  # (B, 3)


SLOT_ROWS = ("slot_cores", "slot_memory", "slot_gpu", "free_cores", "free_memory", "free_gpu")
SLOT_CORES, SLOT_MEMORY, SLOT_GPU, FREE_CORES, FREE_MEMORY, FREE_GPU = range(6)
RACK, VMS = range(2)  # of machines: rack, number of VMs
PM, NUMA, TYPE, CLASS, MOVABLE = range(5)  # of VMs
CORES, MEMORY, GPU, DOUBLE, TYPE_TRAFFIC, TYPE_DOWNTIME = range(6)  # of types; MiB and us
# Of classes: the range of its members, the targets that take a VM of it (its own place not left
# out), and that number when ``legal`` was last brought up to date. Padding, type -1, is last.
CLASS_TYPE, CLASS_GROUP, CLASS_START, CLASS_END, CLASS_SLOTS, CLASS_SEEN = range(6)
# CURSOR: next event. STEPS: of the environment. ELAPSED: 1 if time has passed since the mask was
# written. NUM_PMS: machines that exist. VM_MEMORY: MiB of all VMs at the start, at least 1.
CHOSEN, MOVES_LEFT, CLOCK, CURSOR, STEPS, ELAPSED, NUM_PMS, VM_MEMORY = range(8)
EVENT_TIME, EVENT_VM, EVENT_ARRIVES = range(3)  # ns, ascending, largest int64 for padding
NEW_TYPE, NEW_CLASS, NEW_MOVABLE = range(3)
TERMINATED, TRUNCATED, STATUS = range(3)

# Columns of World.sums.
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
    "downtime",  # us of pre-copy migration
    "moved",  # MiB of the VMs migrated
    "migrations",  # made
    "dropped",  # stale: legal when seen, not when applied
    "illegal",  # refused by the mask the policy saw
    "rejected",  # arrivals that fitted nowhere
    "arrivals",  # placed
    "departures",
)
(
    SUM_FRAGMENT_CORES,
    SUM_FREE_CORES,
    SUM_PAIR_FRAGMENT_CORES,
    SUM_FRAGMENT_MEMORY,
    SUM_FREE_MEMORY,
    SUM_FRAGMENT_GPU,
    SUM_FREE_GPU,
    SUM_ACTIVE_PMS,
    SUM_TRAFFIC,
    SUM_DOWNTIME,
    SUM_MOVED,
    SUM_MIGRATIONS,
    SUM_DROPPED,
    SUM_ILLEGALS,
    SUM_REJECTED,
    SUM_ARRIVALS,
    SUM_DEPARTURES,
) = range(len(SUMS))
GPU_CHUNK = 1000  # milli-GPU: a whole GPU

TERMS = ("fragment", "pair", "memory", "gpu", "active", "traffic", "outside", "illegal")


class Rules(NamedTuple):
    """The scalars of a scenario that the kernels need."""

    fragment_cores: int  # X
    pair_half: int  # cores of a double-NUMA target on each node
    memory_chunk: int  # MiB
    weights: Float64  # (6,) of the objective's terms, in the order of TERMS
    vmr2l_reward: bool  # the paper's reward, fragment cores / 128, in place of the objective's
    pair_action: bool  # VM and target at once
    mnl: int  # migration number limit
    max_steps: int  # steps of the environment before truncation
    horizon: int  # ns before truncation
    illegal_penalty: float
