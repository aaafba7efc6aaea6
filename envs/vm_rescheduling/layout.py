"""Allocating the arrays of B worlds, and loading a workload into one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleetgym.envs.core.errors import WorkloadError
from fleetgym.envs.core.simulator import read_only
from fleetgym.envs.vm_rescheduling import kernels
from fleetgym.envs.vm_rescheduling.scenario import VMReschedulingScenario
from fleetgym.envs.vm_rescheduling.types import (
    CHOSEN,
    CLASS,
    CLASS_END,
    CLASS_GROUP,
    CLASS_START,
    CLASS_TYPE,
    CLOCK,
    CORES,
    DOUBLE,
    EVENT_ARRIVES,
    EVENT_TIME,
    EVENT_VM,
    FREE_CORES,
    GPU,
    MEMORY,
    MOVABLE,
    MOVES_LEFT,
    NUM_PMS,
    NUMA,
    PM,
    PM_FEATURES,
    PROGRESS,
    RACK,
    SLOT_ROWS,
    SUMS,
    TERMS,
    TYPE,
    TYPE_DOWNTIME,
    TYPE_TRAFFIC,
    VM_FEATURES,
    VM_MEMORY,
    VMS,
    Int32,
    Rules,
    State,
    World,
)
from fleetgym.envs.vm_rescheduling.workloads import VMWorkload
from fleetgym.traces.generators.churn import NEVER
from fleetgym.traces.schema import Fleet

TOO_LARGE = np.iinfo(np.int32).max  # cores of a padding type, so that it fits nowhere


@dataclass(frozen=True)
class Sizes:
    """Upper sizes of the workloads: P, V, T, C, G and E."""

    pms: int
    vms: int
    types: int
    classes: int
    groups: int
    events: int

    @classmethod
    def of(cls, capacity: Mapping[str, int]) -> "Sizes":
        """From a workload source's ``capacity``."""
        try:
            return cls(**{field: int(capacity[field]) for field in cls.__dataclass_fields__})
        except KeyError as error:
            raise WorkloadError(
                f"the workload source's capacity lacks {error}; it needs "
                f"{', '.join(cls.__dataclass_fields__)}"
            ) from error


def allocate(sizes: Sizes, b: int) -> World:
    """Arrays of B empty worlds: padding machines are full, padding VMs absent."""
    p, v, s = sizes.pms, sizes.vms, 2 * sizes.pms
    i8, i32, i64, f32, f64 = np.int8, np.int32, np.int64, np.float32, np.float64
    world = World(
        slots=np.zeros((b, 6, s), i32),
        machines=np.zeros((b, p, 2), i32),
        vms=np.full((b, v, 5), -1, i32),
        types=np.zeros((b, 6, sizes.types), i32),
        classes=np.zeros((b, 6, sizes.classes), i32),
        members=np.zeros((b, v), i32),
        group_max=np.zeros((b, sizes.groups), i32),
        group_count=np.zeros((b, sizes.groups, p), i32),
        last_move=np.full((b, 3), -1, i32),
        scalars=np.zeros((b, 8), i64),
        sums=np.zeros((b, len(SUMS)), i64),
        events=np.zeros((b, 3, sizes.events), i64),
        newcomers=np.full((b, 3, v), -1, i32),
        legal=np.zeros((b, v), i8),
        scale=np.ones((b, 3), f32),
        obs_pms=np.zeros((b, p, len(PM_FEATURES)), f32),
        obs_vms=np.zeros((b, v, len(VM_FEATURES)), f32),
        progress=np.zeros((b, len(PROGRESS)), f32),
        mask=np.zeros((b, v + 1 + s), i8),
        reward=np.zeros((b, len(TERMS) + 1), f64),
        outside=np.zeros(b, f64),
        flags=np.zeros((b, 3), i8),
    )
    world.vms[:, :, NUMA] = world.vms[:, :, MOVABLE] = 0
    world.types[:, CORES] = TOO_LARGE
    world.classes[:, :CLASS_START] = -1
    world.scalars[:, CHOSEN] = -1
    world.events[:, EVENT_TIME] = NEVER
    return world


def view(world: World) -> State:
    """What a policy may see: read-only views of the rows, by name."""
    named: dict[str, NDArray[Any]] = {
        name: world.slots[:, row] for row, name in enumerate(SLOT_ROWS)
    }
    named |= {"pm_rack": world.machines[:, :, RACK], "pm_vms": world.machines[:, :, VMS]}
    rows = {"pm": PM, "numa": NUMA, "type": TYPE, "class": CLASS, "movable": MOVABLE}
    named |= {f"vm_{name}": world.vms[:, :, row] for name, row in rows.items()}
    rows = {"cores": CORES, "memory": MEMORY, "gpu": GPU, "double": DOUBLE}
    named |= {f"type_{name}": world.types[:, row] for name, row in rows.items()}
    rows = {"chosen": CHOSEN, "moves_left": MOVES_LEFT, "clock": CLOCK}
    named |= {name: world.scalars[:, row] for name, row in rows.items()}
    named |= {
        "class_group": world.classes[:, CLASS_GROUP],
        "group_max": world.group_max,
        "group_count": world.group_count,
        "last_move": world.last_move,
    }
    return State(**{name: read_only(array) for name, array in named.items()})


def classify(fleet: Fleet) -> tuple[Int32, Int32, Int32, Int32]:
    """Types and classes of a fleet.

    Returns:
        types ``(T, 4)`` (cores, memory, gpu, double), classes ``(C, 2)`` (type, group), the type
        of each VM ``(V,)``, and its class ``(V,)``.
    """
    asks = (fleet.vm_cores, fleet.vm_memory, fleet.vm_gpu, fleet.vm_double.astype(np.int32))
    types, vm_type = _distinct_rows(*asks)
    classes, vm_class = _distinct_rows(vm_type, fleet.vm_group)
    return types, classes, vm_type, vm_class


def _distinct_rows(*columns: Int32) -> tuple[Int32, Int32]:
    """The distinct rows of a table given by columns, and which of them each row is."""
    rows, inverse = np.unique(np.stack(columns, axis=1), axis=0, return_inverse=True)
    return rows, inverse.reshape(-1).astype(np.int32)


def load(
    world: World, workload: VMWorkload, scenario: VMReschedulingScenario, rules: Rules
) -> None:
    """Loads a workload into the one world of freshly allocated arrays.

    Raises:
        WorkloadError: the workload is larger than the arrays.
    """
    fleet = workload.fleet
    types, classes, vm_type, vm_class = classify(fleet)
    p, v, t, c = fleet.num_pms, fleet.num_vms, len(types), len(classes)
    _check_fits(world, workload, t, c)
    for row, name in enumerate(SLOT_ROWS[:3]):
        size = getattr(fleet, name)
        world.slots[0, row, : 2 * p] = world.slots[0, FREE_CORES + row, : 2 * p] = size
        world.scale[0, row] = max(1, int(size.max(initial=0)))
    world.machines[0, :p, RACK] = fleet.pm_rack
    world.types[0, CORES : DOUBLE + 1, :t] = types.T
    placed = fleet.vm_pm >= 0
    world.vms[0, :v, TYPE] = np.where(placed, vm_type, -1)
    world.vms[0, :v, CLASS] = np.where(placed, vm_class, -1)
    world.vms[0, :v, MOVABLE] = fleet.vm_movable & placed
    world.newcomers[0, :, :v] = vm_type, vm_class, fleet.vm_movable
    world.group_max[0, : len(fleet.group_max_per_pm)] = fleet.group_max_per_pm
    ends = np.cumsum(np.bincount(vm_class, minlength=c))
    world.classes[0, CLASS_TYPE : CLASS_GROUP + 1, :c] = classes.T
    world.classes[0, CLASS_END, :c] = ends
    world.classes[0, CLASS_START, 1:c] = ends[:-1]
    world.classes[0, CLASS_START, :1] = 0
    world.members[0, :v] = np.argsort(vm_class, kind="stable")
    memory = fleet.vm_memory.astype(np.int64) * (1 + fleet.vm_double)
    world.scalars[0, MOVES_LEFT] = scenario.mnl
    world.scalars[0, NUM_PMS] = p
    world.scalars[0, VM_MEMORY] = max(1, int(memory[placed].sum()))
    for i, (_, mib, _, double) in enumerate(types.tolist()):
        world.types[0, TYPE_TRAFFIC : TYPE_DOWNTIME + 1, i] = scenario.cost(mib * (1 + double))
    n = len(workload.event_time)
    world.events[0, EVENT_TIME, :n] = workload.event_time
    world.events[0, EVENT_VM, :n] = workload.event_vm
    world.events[0, EVENT_ARRIVES, :n] = workload.event_arrives
    place = np.where(placed, 2 * fleet.vm_pm + fleet.vm_numa, -1).astype(np.int32)
    kernels.prepare(world, 0, place, rules)


def _check_fits(world: World, workload: VMWorkload, types: int, classes: int) -> None:
    fleet = workload.fleet
    for what, size, room in (
        ("PMs", fleet.num_pms, world.machines.shape[1]),
        ("VMs", fleet.num_vms, world.vms.shape[1]),
        ("VM types", types, world.types.shape[2]),
        ("classes of VMs", classes, world.classes.shape[2]),
        ("groups", len(fleet.group_max_per_pm), world.group_max.shape[1]),
        ("events", len(workload.event_time), world.events.shape[2]),
    ):
        if size > room:
            raise WorkloadError(
                f"workload {workload.name!r} (seed {workload.seed}) has {size} {what}, its "
                f"source's capacity allows {room}: raise the capacity"
            )
