"""What a VM rescheduling episode is drawn from: traces, churned traces, and generated fleets."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleetgym.envs.core.errors import WorkloadError
from fleetgym.envs.core.workload import Workload, WorkloadSource
from fleetgym.envs.vm_rescheduling.scenario import VMReschedulingScenario
from fleetgym.traces import catalog
from fleetgym.traces.errors import nearest
from fleetgym.traces.generators import vm_fleet
from fleetgym.traces.generators.churn import NEVER, draw_churn
from fleetgym.traces.generators.subset import subset
from fleetgym.traces.schema import Fleet

KEPT = 512  # workloads a source keeps, since training draws them again
REAL = ("bytedance-medium", "bytedance-large")
TRACES = (*REAL, "alibaba-gpu2023")
SUFFIX = "-churned"
TOY = "toy"
MATCHED = "matched"


@dataclass(frozen=True, eq=False)
class VMWorkload(Workload):
    """A fleet, and the arrivals and departures to come.

    VMs that are yet to arrive are at the end of the fleet's VM arrays with ``vm_pm`` -1.
    """

    fleet: Fleet
    event_time: NDArray[np.int64]  # (E,) ns, ascending
    event_vm: NDArray[np.int32]  # (E,)
    event_arrives: NDArray[np.int8]  # (E,) 1 arrival, 0 departure


class FleetSource:
    """Workloads made by a function from a seed to a fleet, with the scenario's churn on top.

    Args:
        name: of the source.
        draw_fleet: the fleet of a seed.
        scenario: whose churn, split and screened seeds are used.
        capacity: upper sizes of the fleets: pms, vms, types, classes, groups, racks.
        fixed: the fleet does not depend on the seed.
    """

    def __init__(
        self,
        name: str,
        draw_fleet: Callable[[int], Fleet],
        scenario: VMReschedulingScenario,
        *,
        capacity: Mapping[str, int],
        fixed: bool = False,
    ) -> None:
        self.name = name
        self._draw_fleet = draw_fleet
        self._churn = scenario.churn_per_min
        self._horizon_s = scenario.horizon_s
        split = scenario.split
        self._seeds = scenario.train_seeds if split == "train" else scenario.test_seeds
        self._test = split == "test"
        self._single = fixed and self._churn == 0
        self._kept: OrderedDict[int, VMWorkload] = OrderedDict()
        arrivals = capacity["vms"] * self._churn / 60 * self._horizon_s
        arrivals = int(np.ceil(arrivals + 6 * np.sqrt(arrivals)))
        self.capacity: Mapping[str, int] = dict(capacity) | {
            "vms": capacity["vms"] + arrivals,
            "events": (capacity["vms"] + 2 * arrivals) if arrivals else 0,
        }

    def draw(self, seed: int) -> VMWorkload:
        """The workload of a seed; screened seeds are taken from the scenario's list in turn.

        Where nothing is random there is one workload, that of seed 0.
        """
        seed = 0 if self._single else seed
        workload = self._kept.get(seed)
        if workload is None:
            workload = self._draw(seed)
            self._kept[seed] = workload
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return workload

    def _draw(self, seed: int) -> VMWorkload:
        rng = np.random.default_rng([self._generator_seed(seed), 0xF1EE7])
        fleet = self._draw_fleet(self._generator_seed(seed))
        if self._churn == 0:
            none = np.empty(0, np.int64)
            none32, none8 = none.astype(np.int32), none.astype(np.int8)
            return VMWorkload(self.name, seed, fleet, none, none32, none8)
        arrivals = self.capacity["vms"] - fleet.num_vms
        return with_churn(fleet, self.name, seed, self._churn, self._horizon_s, arrivals, rng)

    def _generator_seed(self, seed: int) -> int:
        """Screened seeds by position; else train and test seeds are even and odd numbers."""
        if self._seeds:
            return self._seeds[seed % len(self._seeds)]
        return 2 * seed + self._test


def with_churn(
    fleet: Fleet,
    name: str,
    seed: int,
    churn_per_min: float,
    horizon_s: float,
    max_arrivals: int,
    rng: np.random.Generator,
) -> VMWorkload:
    """A workload in which the fleet's VMs leave and VMs like them arrive.

    Args:
        fleet: at the start; what arrives is drawn from its own VMs.
        name: of the source.
        seed: of the workload.
        churn_per_min: departures per VM and minute, and arrivals likewise.
        horizon_s: seconds; nothing happens later.
        max_arrivals: room for arrivals; the latest ones beyond it are left out.
        rng: draws everything.
    """
    v = fleet.num_vms
    churn = draw_churn(v, horizon_s, churn_per_min, np.ones(v), rng)
    kind = churn.kind[:max_arrivals]
    arrival, departure = churn.arrival_time_ns[v:][:max_arrivals], churn.departure_time_ns
    departure = departure[: v + len(kind)]
    leaving = np.flatnonzero(departure < NEVER)
    time = np.concatenate((arrival, departure[leaving]))
    vm = np.concatenate((np.arange(v, v + len(kind)), leaving))
    arrives = np.concatenate((np.ones(len(kind)), np.zeros(len(leaving))))
    order = np.lexsort((vm, arrives, time))
    fields: dict[str, Any] = {
        field: np.concatenate((getattr(fleet, field), getattr(fleet, field)[kind]))
        for field in ("vm_cores", "vm_memory", "vm_gpu", "vm_double", "vm_numa", "vm_movable")
    }
    nowhere = np.full(len(kind), -1, np.int32)
    grown = replace(
        fleet,
        **fields,
        vm_pm=np.concatenate((fleet.vm_pm, nowhere)),
        vm_group=np.concatenate((fleet.vm_group, nowhere)),
        vm_ids=(),
    )
    return VMWorkload(
        name,
        seed,
        grown,
        time[order].astype(np.int64),
        vm[order].astype(np.int32),
        arrives[order].astype(np.int8),
    )


def source_of(scenario: VMReschedulingScenario) -> WorkloadSource:
    """The source a scenario's ``workload`` names: a generator, a trace, or a trace file.

    Raises:
        WorkloadError: the name is unknown.
        TraceError: the trace is not here (names ``fleetgym traces fetch``) or is malformed.
    """
    name = scenario.workload
    if name == TOY:
        return FleetSource(
            name, lambda seed: toy_fleet(), scenario, capacity=_capacity(toy_fleet())
        )
    if name == MATCHED:
        return _matched(scenario)
    if name.endswith(SUFFIX) and name.removesuffix(SUFFIX) in REAL:
        return _churned(scenario, name.removesuffix(SUFFIX))
    if name in TRACES or Path(name).suffix in {".json", ".gz", ".npz"}:
        fleet = _load(name)
        capacity = _capacity(fleet)
        return FleetSource(fleet.name, lambda seed: fleet, scenario, capacity=capacity, fixed=True)
    known = [TOY, MATCHED, *TRACES, *(real + SUFFIX for real in REAL)]
    raise WorkloadError(
        f"unknown workload {name!r}: {nearest(name, known)} (or a path to a .json, .json.gz or "
        ".npz trace)"
    )


@cache
def _load(name: str) -> Fleet:
    return catalog.load(name)


def _capacity(fleet: Fleet) -> dict[str, int]:
    asks = np.stack((fleet.vm_cores, fleet.vm_memory, fleet.vm_gpu, fleet.vm_double), axis=1)
    types = len(np.unique(asks, axis=0))
    classes = len(np.unique(np.column_stack((asks, fleet.vm_group)), axis=0))
    return {
        "pms": fleet.num_pms,
        "vms": fleet.num_vms,
        "types": types,
        "classes": classes,
        "groups": len(fleet.group_max_per_pm),
        "racks": int(fleet.pm_rack.max(initial=0)) + 1,
    }


def _churned(scenario: VMReschedulingScenario, trace: str) -> FleetSource:
    base = _load(trace)
    name = trace + SUFFIX
    size = min(scenario.num_pms, base.num_pms)

    def draw(seed: int) -> Fleet:
        fleet = vm_fleet.churned_range(
            base, seed=seed, low=scenario.fragment_low, high=scenario.fragment_high
        )
        if size == fleet.num_pms:
            return fleet
        chosen = np.random.default_rng([seed, size]).choice(fleet.num_pms, size, replace=False)
        return subset(fleet, np.sort(chosen))

    spare = 1.25 if size == base.num_pms else 1.6  # few machines vary more
    capacity = _capacity(base) | {
        "pms": size,
        "vms": int(spare * base.num_vms * size / base.num_pms) + 32,
    }
    return FleetSource(name, draw, scenario, capacity=capacity)


def _matched(scenario: VMReschedulingScenario) -> FleetSource:
    def draw(seed: int) -> Fleet:
        return vm_fleet.matched(
            num_pms=scenario.num_pms,
            racks=scenario.num_racks,
            utilisation=(scenario.utilisation_low, scenario.utilisation_high),
            groups=scenario.groups,
            group_size=scenario.group_size,
            group_max=scenario.group_max_per_pm,
            seed=seed,
        )

    types = len(vm_fleet.TYPES)
    capacity = {
        "pms": scenario.num_pms,
        "vms": 9 * scenario.num_pms + 80,  # seen: at most 8.3 a machine, 11.6 on 20 machines
        "types": types,
        "classes": types * (1 + scenario.groups),
        "groups": scenario.groups,
        "racks": scenario.num_racks,
    }
    return FleetSource(MATCHED, draw, scenario, capacity=capacity)


def toy_fleet() -> Fleet:
    """Three machines of two 16-core nodes whose optimum is known by hand.

    PM 0 holds 4 + 12 | 12, PM 1 holds 12 | 4, PM 2 holds 8 | 8. Free cores 0 4 | 4 12 | 8 8, all
    of them fragments of X = 16. Two moves win two slots: the 4-core VM of PM 1 node 1 to PM 1
    node 0 (frees 16, fills a hole of 4), then one of the 8-core VMs of PM 2 next to the other.
    """
    vm_cores = np.array([4, 12, 12, 12, 4, 8, 8], np.int32)
    size = 3
    return Fleet(
        name=TOY,
        slot_cores=np.full(2 * size, 16, np.int32),
        slot_memory=np.full(2 * size, 65_536, np.int32),
        slot_gpu=np.zeros(2 * size, np.int32),
        pm_rack=np.zeros(size, np.int32),
        vm_cores=vm_cores,
        vm_memory=vm_cores * 2_048,
        vm_gpu=np.zeros(len(vm_cores), np.int32),
        vm_double=np.zeros(len(vm_cores), np.bool_),
        vm_pm=np.array([0, 0, 0, 1, 1, 2, 2], np.int32),
        vm_numa=np.array([0, 0, 1, 0, 1, 0, 1], np.int32),
        vm_movable=np.ones(len(vm_cores), np.bool_),
        vm_group=np.full(len(vm_cores), -1, np.int32),
        group_max_per_pm=np.empty(0, np.int32),
    ).validate()
