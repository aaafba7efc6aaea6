"""Seeded VM fleets: real snapshots under churn, and fleets matched to the real VM types.

Arrivals are placed by best fit, never at random: on randomly placed fleets a greedy policy is near
the optimum and nothing can be learned.
"""

from collections import Counter
from dataclasses import replace

import numpy as np

from fleetgym.traces.errors import TraceError
from fleetgym.traces.generators.best_fit import Need
from fleetgym.traces.generators.population import Population, needs_of
from fleetgym.traces.schema import NODES, Fleet
from fleetgym.traces.stats import fragment_rate

NODE_CORES = 44  # of a machine of the ByteDance snapshots
NODE_MEMORY = 184_388  # MiB
# bytedance-medium's VM types: (share in percent, cores, GiB, NUMA nodes). Cores and GiB are totals
# of the VM over its nodes; the 1% of rarer types is left out.
TYPES = (
    (43, 4, 8, 1),
    (17, 2, 4, 1),
    (16, 8, 16, 1),
    (8, 16, 32, 1),
    (5, 64, 128, 2),
    (3, 32, 64, 1),
    (3, 8, 16, 2),
    (2, 16, 32, 2),
    (2, 32, 64, 2),
)


def churned(
    fleet: Fleet, *, departures: int, utilisation: float, seed: int, name: str | None = None
) -> Fleet:
    """The fleet after a time of churn.

    ``departures`` times a random movable VM leaves and a VM arrives, drawn from the fleet's own
    VMs (so of its type histogram; it inherits the group) and placed by best fit, or turned away
    where it fits nowhere. Then VMs arrive, or leave, until the CPU utilisation is reached. An
    arrived VM can leave again: ``departures`` may exceed the number of VMs.

    Args:
        fleet: at least one VM.
        departures: of the churn, at least 0.
        utilisation: used cores / all cores at the end, from 0 to 1.
        seed: of everything drawn.
        name: of the new fleet; made from the arguments where it is None.

    Raises:
        TraceError: an argument is out of range.
    """
    if departures < 0 or not 0 <= utilisation <= 1 or not fleet.num_vms:
        raise TraceError(
            f"{fleet.name}: cannot churn {fleet.num_vms} VMs with departures={departures}, "
            f"utilisation={utilisation}; it takes at least one VM, departures >= 0 and a "
            "utilisation from 0 to 1"
        )
    population = Population(fleet, np.random.default_rng(seed))
    kinds = needs_of(fleet)
    population.turn_over(departures, kinds)
    population.settle(utilisation, kinds)
    return population.fleet(name or f"{fleet.name}-churned-{departures}-{utilisation:g}-{seed}")


def churned_range(
    fleet: Fleet,
    *,
    seed: int,
    low: float = 0.4,
    high: float = 0.6,
    turnover: tuple[float, float] = (0.2, 0.8),
    utilisation: tuple[float, float] = (0.82, 0.92),
    attempts: int = 100,
) -> Fleet:
    """A churned fleet whose fragment rate FR_16 lies in a range.

    VMR2L's 4,400 mappings were made so: churn until the fragment rate is in a range.

    Args:
        fleet: to churn.
        seed: of everything drawn; attempt ``i`` uses ``[seed, i]``.
        low: least FR_16 accepted.
        high: greatest FR_16 accepted.
        turnover: range of the departures, in multiples of the number of VMs.
        utilisation: range of the CPU utilisation at the end.
        attempts: before giving up.

    Raises:
        TraceError: an argument is out of range, or no attempt fell into the FR_16 range.
    """
    seen = []
    for attempt in range(attempts):
        rng = np.random.default_rng([seed, attempt])
        candidate = churned(
            fleet,
            departures=round(rng.uniform(*turnover) * fleet.num_vms),
            utilisation=rng.uniform(*utilisation),
            seed=int(rng.integers(2**63)),
            name=f"{fleet.name}-churned-{seed}",
        )
        seen.append(fragment_rate(candidate))
        if low <= seen[-1] <= high:
            return candidate
    raise TraceError(
        f"{fleet.name}: no FR16 in [{low}, {high}] in {attempts} attempts (seed {seed}); "
        f"seen {min(seen, default=0):.3f} to {max(seen, default=0):.3f}: widen the range"
    )


def matched(
    *,
    num_pms: int,
    racks: int,
    seed: int,
    utilisation: tuple[float, float] = (0.82, 0.94),
    peak: float = 0.99,
    churn_turnovers: float = 1.0,
    groups: int = 0,
    group_size: int = 8,
    group_max: int = 1,
) -> Fleet:
    """A fleet of the real VM types on machines of the real shape, filled by best fit and churned.

    Best fit alone leaves few fragments (FR_16 near 0.28 whatever the churn), because VMs leave
    only where others follow. Real fleets are fullest at their peak and emptier when they are
    rescheduled: so this one is filled up to ``peak``, churned there, and only then do VMs leave,
    at random, down to the utilisation drawn (FR_16 near 0.4).

    Args:
        num_pms: machines of two nodes of ``NODE_CORES`` cores and ``NODE_MEMORY`` MiB.
        racks: of about equal size, in blocks.
        seed: of everything drawn.
        utilisation: range from which the CPU utilisation is drawn.
        peak: CPU utilisation of the churn, not below ``utilisation``.
        churn_turnovers: how often the whole population is replaced, in multiples of its number.
        groups: anti-affinity groups, of random VMs, as many of the ``group_size`` as can be
            chosen without breaking the group's limit.
        group_size: VMs a group has at most.
        group_max: VMs of a group one machine may hold.

    Raises:
        TraceError: an argument is out of range.
    """
    low, high = utilisation
    if not (
        1 <= racks <= num_pms
        and 0 <= low <= high <= peak <= 1
        and churn_turnovers >= 0
        and groups >= 0
        and min(group_size, group_max) >= 1
    ):
        raise TraceError(
            f"matched: num_pms={num_pms}, racks={racks}, utilisation={utilisation}, "
            f"peak={peak}, churn_turnovers={churn_turnovers}, groups={groups}, "
            f"group_size={group_size}, group_max={group_max}: it takes "
            "1 <= racks <= num_pms, 0 <= low <= high <= peak <= 1, no negative "
            "number, and groups of at least one VM"
        )
    rng = np.random.default_rng(seed)
    kinds = matched_kinds()
    population = Population(empty(num_pms, racks), rng)
    population.settle(peak, kinds)
    population.turn_over(round(churn_turnovers * len(population.needs)), kinds)
    population.settle(peak, kinds)
    population.settle(rng.uniform(low, high), kinds)
    fleet = population.fleet(f"matched-{num_pms}-{seed}")
    return with_groups(fleet, groups, group_size, group_max, rng) if groups else fleet


def matched_kinds() -> list[Need]:
    """The real VM types, each as often as its share: draw from it uniformly."""
    kinds = []
    for share, cores, gib, nodes in TYPES:
        need = Need(cores // nodes, gib * 1024 // nodes, 0, nodes == NODES)
        kinds += [need] * share
    return kinds


def empty(num_pms: int, racks: int, cores: int = NODE_CORES, memory: int = NODE_MEMORY) -> Fleet:
    """Machines without VMs: two nodes of ``cores`` and ``memory`` (MiB), in blocks of racks."""
    none = np.empty(0, np.int32)
    return Fleet(
        name=f"empty-{num_pms}",
        slot_cores=np.full(NODES * num_pms, cores, np.int32),
        slot_memory=np.full(NODES * num_pms, memory, np.int32),
        slot_gpu=np.zeros(NODES * num_pms, np.int32),
        pm_rack=(np.arange(num_pms) * racks // num_pms).astype(np.int32),
        vm_cores=none,
        vm_memory=none,
        vm_gpu=none,
        vm_double=np.empty(0, np.bool_),
        vm_pm=none,
        vm_numa=none,
        vm_movable=np.empty(0, np.bool_),
        vm_group=none,
        group_max_per_pm=none,
    )


def with_groups(
    fleet: Fleet, groups: int, size: int, max_per_pm: int, rng: np.random.Generator
) -> Fleet:
    """The fleet with random anti-affinity groups that hold where its VMs are now.

    Args:
        fleet: without groups.
        groups: how many.
        size: VMs of a group; fewer where no more VMs can join without breaking ``max_per_pm``.
        max_per_pm: VMs of the group one machine may hold.
        rng: draws the members.
    """
    group = np.full(fleet.num_vms, -1, np.int32)
    for label in range(groups):
        on_pm: Counter[int] = Counter()
        candidates = np.flatnonzero((group < 0) & (fleet.vm_pm >= 0))
        for vm in rng.permutation(candidates).tolist():
            pm = int(fleet.vm_pm[vm])
            if on_pm[pm] < max_per_pm:
                group[vm] = label
                on_pm[pm] += 1
            if on_pm.total() == size:
                break
    limits = np.full(groups, max_per_pm, np.int32)
    return replace(fleet, vm_group=group, group_max_per_pm=limits)
