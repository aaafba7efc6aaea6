"""Figures of a fleet: how large, how full, how fragmented."""

from collections import Counter

import numpy as np

from fleetgym.traces.schema import NODES, Fleet


def fragment_rate(fleet: Fleet, cores: int = 16) -> float:
    """FR_X of VMR2L (EuroSys'25, eq. 1): sum of (free cores mod X) / sum of free cores.

    Args:
        fleet: as it stands.
        cores: X, in the fleet's unit of cores.

    Returns:
        0 where no core is free.
    """
    free = fleet.free()[0].astype(np.int64)
    return _share(int((free % cores).sum()), int(free.sum()))


def pair_fragment_rate(fleet: Fleet, cores: int = 64) -> float:
    """As `fragment_rate`, of machines, for a double-NUMA VM with half of ``cores`` on each node."""
    free = fleet.free()[0].astype(np.int64)
    usable = (free.reshape(-1, NODES) // (cores // NODES)).min(axis=1) * cores
    return _share(int(free.sum() - usable.sum()), int(free.sum()))


def stats(fleet: Fleet, *, core: int = 1) -> dict[str, object]:
    """Counts, utilisation, fragmentation and the VM types of a fleet.

    Args:
        fleet: as it stands.
        core: units of the fleet's ``cores`` that make one core: 1000 where it has millicores.

    Returns:
        ``vm_types`` maps "cores/GiBxNODES", totals of the VM over its nodes, to the number of
        VMs, most frequent first; rates are shares from 0 to 1.
    """
    utilisation = {}
    for what, total, free in zip(
        ("cpu", "memory", "gpu"),
        (fleet.slot_cores, fleet.slot_memory, fleet.slot_gpu),
        fleet.free(),
        strict=True,
    ):
        all_of_it = int(total.sum(dtype=np.int64))
        used = all_of_it - int(free.sum(dtype=np.int64))
        utilisation[f"{what}_utilisation"] = _share(used, all_of_it)
    nodes = np.where(fleet.vm_double, NODES, 1)
    rows = zip(
        (fleet.vm_cores * nodes / core).tolist(),
        (fleet.vm_memory * nodes / 1024).tolist(),
        nodes.tolist(),
        strict=True,
    )
    types = Counter(f"{cores:g}/{gib:g}x{count}" for cores, gib, count in rows)
    return {
        "name": fleet.name,
        "pms": fleet.num_pms,
        "vms": fleet.num_vms,
        "placed_vms": int((fleet.vm_pm >= 0).sum()),
        "double_vms": int(fleet.vm_double.sum()),
        "movable_vms": int(fleet.vm_movable.sum()),
        "racks": len(np.unique(fleet.pm_rack)),
        "groups": len(fleet.group_max_per_pm),
        **utilisation,
        "FR16": fragment_rate(fleet, 16 * core),
        "FR32": fragment_rate(fleet, 32 * core),
        "FR64_pair": pair_fragment_rate(fleet, 64 * core),
        "vm_types": dict(types.most_common()),
    }


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
