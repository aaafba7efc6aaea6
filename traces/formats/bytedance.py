"""Reader of ByteDance's VM rescheduling snapshots (VMR2L, EuroSys'25), JSON or JSON.gz.

Schema: ``cluster_list[].{cluster_name, host_info[], vm_instance[], other_requirement}``;
``host_info = {node_id, numa[{node, total_cpu, free_cpu, memory_huge_total_mb,
memory_huge_free_mb}], rack_id}``; ``vm_instance = {instance_id, host_id, numa[{node, cpu,
mem_mb}], allow_migration}``. Other keys are not read.

The declared free figures contradict the VMs on many NUMA nodes: they are compared, counted and
never used. A VM with two ``numa`` entries is double-NUMA, whatever its type's name says. The
published files' ``other_requirement.deployment_set`` (anti-affinity) is empty, so the shape of an
entry is ours: ``{"instance_ids": [...], "max_per_host": 1}``.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from fleetgym.traces.reading import Place, read_json
from fleetgym.traces.report import ReadReport
from fleetgym.traces.schema import NODES, Fleet


class _Host(NamedTuple):
    name: str
    rack: tuple[str, str]  # cluster, rack
    cores: list[int]  # of each node
    memory: list[int]  # MiB
    free_cores: list[int]  # declared
    free_memory: list[int]  # declared, MiB


class _VM(NamedTuple):
    name: str
    pm: int
    numa: int
    double: bool
    cores: int  # on each node it uses
    memory: int  # MiB on each node it uses
    movable: bool


def read(path: str | Path) -> Fleet:
    """The fleet of a file.

    Args:
        path: ``.json`` or ``.json.gz``.

    Raises:
        TraceError: the file is not found, cut off, malformed, or an overfull fleet.
    """
    return read_with_report(path)[0]


def read_with_report(path: str | Path) -> tuple[Fleet, ReadReport]:
    """The fleet of a file, and what was repaired in it. Raises as `read`."""
    clusters = Place(read_json(path), str(path))["cluster_list"].items()
    hosts: list[_Host] = []
    pms: dict[str, int] = {}
    for cluster in clusters:
        label = cluster["cluster_name"].text()
        for place in cluster["host_info"].items():
            host = _host(place, label)
            if host.name in pms:
                raise place.wrong(f"node_id {host.name!r} is there twice")
            pms[host.name] = len(hosts)
            hosts.append(host)
    vms: list[_VM] = []
    index: dict[str, int] = {}
    for cluster in clusters:
        for place in cluster["vm_instance"].items():
            vm = _vm(place, pms)
            if vm.name in index:
                raise place.wrong(f"instance_id {vm.name!r} is there twice")
            index[vm.name] = len(vms)
            vms.append(vm)
    group, group_max = _groups(clusters, index)
    fleet = _fleet(Path(path).name.split(".")[0], hosts, vms, group, group_max)
    return fleet.validate(), _report(str(path), hosts, fleet)


def _nodes(place: Place) -> list[tuple[int, Place]]:
    """The (node number, entry) pairs of a ``numa`` list, in order of the number."""
    entries = [(entry["node"].size(), entry) for entry in place["numa"].items()]
    numbers = [number for number, _ in entries]
    if not entries or len(set(numbers)) != len(numbers) or max(numbers) >= NODES:
        raise place["numa"].wrong(f"expected one or two of the nodes 0 and 1, got {numbers}")
    return sorted(entries, key=lambda pair: pair[0])


def _host(place: Place, cluster: str) -> _Host:
    sizes = {
        key: [0] * NODES
        for key in ("total_cpu", "memory_huge_total_mb", "free_cpu", "memory_huge_free_mb")
    }
    for number, entry in _nodes(place):
        for key, values in sizes.items():
            values[number] = entry[key].size()
    rack = (cluster, place["rack_id"].text())
    return _Host(place["node_id"].text(), rack, *sizes.values())


def _vm(place: Place, pms: dict[str, int]) -> _VM:
    name, host = place["instance_id"].text(), place["host_id"].text()
    if host not in pms:
        raise place["host_id"].wrong(f"VM {name!r} is on the unknown PM {host!r}")
    nodes = _nodes(place)
    needs = {(entry["cpu"].size(), entry["mem_mb"].size()) for _, entry in nodes}
    if len(needs) > 1:
        raise place["numa"].wrong(
            f"the halves of double-NUMA VM {name!r} differ: (cores, MiB) {sorted(needs)}"
        )
    cores, memory = needs.pop()
    if cores == 0 and memory == 0:
        raise place["numa"].wrong(f"VM {name!r} asks for nothing")
    movable = place["allow_migration"].flag()
    return _VM(name, pms[host], nodes[0][0], len(nodes) == NODES, cores, memory, movable)


def _groups(clusters: list[Place], index: dict[str, int]) -> tuple[list[int], list[int]]:
    """The group of each VM (-1: none), and the most VMs of each group a PM may hold."""
    group = [-1] * len(index)
    group_max: list[int] = []
    for cluster in clusters:
        if not cluster.has("other_requirement"):
            continue
        requirement = cluster["other_requirement"]
        if not requirement.has("deployment_set"):
            continue
        for entry in requirement["deployment_set"].items():
            for member in entry["instance_ids"].items():
                vm = index.get(member.text())
                if vm is None:
                    raise member.wrong(f"{member.text()!r} is no VM of the file")
                if group[vm] >= 0:
                    raise member.wrong(f"VM {member.text()!r} is in two deployment sets")
                group[vm] = len(group_max)
            most = entry["max_per_host"].size() if entry.has("max_per_host") else 1
            if most < 1:
                raise entry["max_per_host"].wrong("expected at least 1")
            group_max.append(most)
    return group, group_max


def _fleet(
    name: str, hosts: list[_Host], vms: list[_VM], group: list[int], group_max: list[int]
) -> Fleet:
    racks: dict[tuple[str, str], int] = {}
    for host in hosts:
        racks.setdefault(host.rack, len(racks))
    return Fleet(
        name=name,
        slot_cores=np.array([size for host in hosts for size in host.cores], np.int32),
        slot_memory=np.array([size for host in hosts for size in host.memory], np.int32),
        slot_gpu=np.zeros(NODES * len(hosts), np.int32),
        pm_rack=np.array([racks[host.rack] for host in hosts], np.int32),
        vm_cores=np.array([vm.cores for vm in vms], np.int32),
        vm_memory=np.array([vm.memory for vm in vms], np.int32),
        vm_gpu=np.zeros(len(vms), np.int32),
        vm_double=np.array([vm.double for vm in vms], np.bool_),
        vm_pm=np.array([vm.pm for vm in vms], np.int32),
        vm_numa=np.array([vm.numa for vm in vms], np.int32),
        vm_movable=np.array([vm.movable for vm in vms], np.bool_),
        vm_group=np.array(group, np.int32),
        group_max_per_pm=np.array(group_max, np.int32),
        pm_ids=tuple(host.name for host in hosts),
        vm_ids=tuple(vm.name for vm in vms),
    )


def _report(source: str, hosts: list[_Host], fleet: Fleet) -> ReadReport:
    free_cores, free_memory, _ = fleet.free()
    repaired = []
    for what, declared, free in (
        ("cores", [size for host in hosts for size in host.free_cores], free_cores),
        ("memory", [size for host in hosts for size in host.free_memory], free_memory),
    ):
        wrong = int((np.array(declared, np.int64) != free).sum())
        if wrong:
            repaired.append(
                f"declared free {what} of {wrong} of {len(free)} NUMA nodes contradict the VMs: "
                "recomputed from the VMs"
            )
    kept = (f"{fleet.num_pms} PMs", f"{fleet.num_vms} VMs", f"{len(set(fleet.pm_rack))} racks")
    return ReadReport(source, kept, repaired=tuple(repaired))
