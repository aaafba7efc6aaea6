"""Reader of Alibaba's cluster-trace-gpu-v2023 (FGD, ATC'23): nodes and pods with shared GPUs, CSV.

Nodes ``sn,cpu_milli,memory_mib,gpu,model``; pods ``name,cpu_milli,memory_mib,num_gpu,gpu_milli,
gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time`` in seconds. The trace does not
say which node a pod ran on: `snapshot` places the pods alive at an instant by best fit.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from fleetgym.traces.errors import TraceError
from fleetgym.traces.formats.tables import check_range, read_csv, refuse
from fleetgym.traces.generators.best_fit import Need
from fleetgym.traces.generators.population import Population
from fleetgym.traces.generators.vm_fleet import empty
from fleetgym.traces.report import ReadReport
from fleetgym.traces.schema import MAX_SIZE, NODES, Fleet, Int32

GPU = 1000  # milli-GPU
_NODES = {
    "sn": pl.String,
    "cpu_milli": pl.Int64,
    "memory_mib": pl.Int64,
    "gpu": pl.Int64,
    "model": pl.String,
}
_PODS = {
    "name": pl.String,
    "cpu_milli": pl.Int64,
    "memory_mib": pl.Int64,
    "num_gpu": pl.Int64,
    "gpu_milli": pl.Int64,
    "gpu_spec": pl.String,
    "qos": pl.String,
    "pod_phase": pl.String,
    "creation_time": pl.Int64,
    "deletion_time": pl.Int64,
    "scheduled_time": pl.Int64,
}


def read_nodes(path: str | Path) -> pl.DataFrame:
    """The nodes, in the file's columns.

    Raises:
        TraceError: the file is not found, cut off or malformed, or a node is there twice.
    """
    table = read_csv(path, _NODES)
    _check_sizes(path, table, "sn", {"gpu": MAX_SIZE // GPU})
    return table


def read_pods(path: str | Path) -> pl.DataFrame:
    """The pods, in the file's columns; ``scheduled_time`` is null where one never ran.

    Raises:
        TraceError: the file is not found, cut off or malformed, or a pod is there twice.
    """
    table = read_csv(path, _PODS)
    _check_sizes(path, table, "name", {"num_gpu": MAX_SIZE // GPU, "gpu_milli": GPU})
    check_range(path, table, "creation_time", 0, 2**53)
    check_range(path, table, "deletion_time", 0, 2**53, null=True)
    check_range(path, table, "scheduled_time", 0, 2**53, null=True)
    return table


def _check_sizes(path: str | Path, table: pl.DataFrame, key: str, most: dict[str, int]) -> None:
    for column, high in {"cpu_milli": MAX_SIZE, "memory_mib": MAX_SIZE, **most}.items():
        check_range(path, table, column, 0, high)
    refuse(path, table, table[key].is_null().to_numpy(), f"{key} is missing")
    refuse(path, table, table[key].is_duplicated().to_numpy(), f"{key} is there twice")


def snapshot(
    nodes_path: str | Path,
    pods_path: str | Path,
    *,
    seed: int,
    time_s: int | None = None,
    num_nodes: int | None = None,
    gpu_utilisation: float = 0.0,
) -> Fleet:
    """The fleet at an instant: the pods alive then, placed by best fit in the order they started.

    Cores are millicores; GPU is milli-GPU, ``num_gpu * gpu_milli`` of a pod and 1000 of each GPU
    of a node, so that a pod is never refused because its share is spread over several GPUs. A node
    is a machine with one NUMA node (the second has size zero); its rack is its GPU model.
    ``gpu_spec`` (empty in the published default pods) is not enforced.

    The published sample has few pods at a time: the 1,523 nodes stay almost empty. FGD fills them
    by drawing pods of the trace until the GPUs are used up; ``gpu_utilisation`` does so.

    Args:
        nodes_path: CSV of the nodes.
        pods_path: CSV of the pods.
        seed: of everything drawn.
        time_s: seconds of the trace; None draws it uniformly while pods were running.
        num_nodes: as many random nodes; None takes all.
        gpu_utilisation: pods of the trace, drawn uniformly, are added until this share of the
            GPUs is used or 100 in a row fit nowhere.

    Raises:
        TraceError: as `read_nodes` and `read_pods`, an argument is out of range, or no pod ran.
    """
    return snapshot_with_report(
        nodes_path,
        pods_path,
        seed=seed,
        time_s=time_s,
        num_nodes=num_nodes,
        gpu_utilisation=gpu_utilisation,
    )[0]


def snapshot_with_report(
    nodes_path: str | Path,
    pods_path: str | Path,
    *,
    seed: int,
    time_s: int | None = None,
    num_nodes: int | None = None,
    gpu_utilisation: float = 0.0,
) -> tuple[Fleet, ReadReport]:
    """The fleet, and what was dropped. Arguments and errors as `snapshot`."""
    rng = np.random.default_rng(seed)
    nodes, pods = read_nodes(nodes_path), read_pods(pods_path)
    if not 0 <= gpu_utilisation <= 1 or not 1 <= (num_nodes or 1) <= len(nodes):
        raise TraceError(
            f"gpu_utilisation={gpu_utilisation}, num_nodes={num_nodes}: expected a share from "
            f"0 to 1, and 1 to {len(nodes)} nodes"
        )
    if num_nodes is not None:
        nodes = nodes[np.sort(rng.choice(len(nodes), num_nodes, replace=False))]
    gpu = pl.col("num_gpu") * pl.col("gpu_milli")
    asking = pods.filter((pl.col("cpu_milli") > 0) | (pl.col("memory_mib") > 0) | (gpu > 0))
    start, end = pl.col("scheduled_time"), pl.col("deletion_time").fill_null(2**53)
    if time_s is None:
        time_s = _instant(pods_path, asking, rng)
    alive = asking.filter((start <= time_s) & (end > time_s)).sort(start, maintain_order=True)
    population = Population(_machines(nodes), rng)
    ids = [name for name, need in _needs(alive) if population.arrive(need)]
    misfits = len(alive) - len(ids)
    ids += _inflate(population, _needs(asking), gpu_utilisation, rng)
    fleet = replace(population.fleet(f"alibaba-gpu2023-{time_s}s"), vm_ids=tuple(ids))
    dropped = [
        f"{count} {what}"
        for count, what in (
            (len(pods) - len(asking), "pods that ask for nothing"),
            (misfits, f"of {len(alive)} pods alive at {time_s} s, which fit nowhere"),
            (int((alive["gpu_spec"].fill_null("") != "").sum()), "gpu_spec, not enforced"),
        )
        if count
    ]
    kept = (f"{fleet.num_pms} nodes", f"{fleet.num_vms} pods")
    return fleet.validate(), ReadReport(f"{nodes_path} and {pods_path}", kept, tuple(dropped))


def _instant(path: str | Path, pods: pl.DataFrame, rng: np.random.Generator) -> int:
    ran = pods.filter(pl.col("scheduled_time").is_not_null())
    if not len(ran):
        raise TraceError(f"{path}: no pod was ever scheduled")
    start = ran["scheduled_time"].to_numpy()
    end = ran["deletion_time"].fill_null(0).to_numpy()
    return int(rng.integers(start.min(), max(int(end.max()), int(start.max()) + 1)))


def _needs(pods: pl.DataFrame) -> list[tuple[str, Need]]:
    gpu = pods["num_gpu"] * pods["gpu_milli"]
    rows = zip(pods["name"], pods["cpu_milli"], pods["memory_mib"], gpu, strict=True)
    return [(name, Need(cores, memory, share, False)) for name, cores, memory, share in rows]


def _inflate(
    population: Population,
    kinds: list[tuple[str, Need]],
    utilisation: float,
    rng: np.random.Generator,
    misfits: int = 100,
) -> list[str]:
    """Adds pods until a share of the GPUs is used; returns their ids."""
    free = int(population.packing.free_gpu.sum())
    used = sum(need.gpu for need in population.needs)
    goal = utilisation * (free + used)
    ids: list[str] = []
    missed = 0
    while used < goal and missed < misfits:
        name, need = kinds[int(rng.integers(len(kinds)))]
        if population.arrive(need):
            ids.append(f"{name}-copy-{len(ids)}")
            used += need.gpu
            missed = 0
        else:
            missed += 1
    return ids


def _machines(nodes: pl.DataFrame) -> Fleet:
    models = nodes["model"].fill_null("").to_list()
    racks = {model: rack for rack, model in enumerate(dict.fromkeys(models))}
    return replace(
        empty(len(nodes), 1),
        slot_cores=_first_node(nodes["cpu_milli"]),
        slot_memory=_first_node(nodes["memory_mib"]),
        slot_gpu=_first_node(nodes["gpu"] * GPU),
        pm_rack=np.array([racks[model] for model in models], np.int32),
        pm_ids=tuple(nodes["sn"]),
    )


def _first_node(sizes: Iterable[int]) -> Int32:
    """All of a machine on its NUMA node 0."""
    first = np.array(list(sizes), np.int32)
    return np.stack([first, np.zeros_like(first)], axis=1).reshape(NODES * len(first))
