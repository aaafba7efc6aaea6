"""Task graphs as one compressed file of arrays, as `fleetgym.traces.npz` keeps fleets."""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fleetgym.traces.errors import TraceError
from fleetgym.traces.npz import Layout, read_arrays, write_arrays
from fleetgym.traces.schema_mec import MAX_BYTES, MAX_CYCLES, OUTSIDE, TaskGraph

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]

_LAYOUT: Layout = {
    "names": (np.str_, 1),
    "tasks": (np.int32, 1),
    "data": (np.int32, 1),
    "uses": (np.int32, 1),
    "cycles": (np.int64, 1),
    "memory": (np.int64, 1),
    "data_bytes": (np.int64, 1),
    "data_producer": (np.int32, 1),
    "data_result": (np.bool_, 1),
    "use_data": (np.int32, 1),
    "use_task": (np.int32, 1),
}
# Of which of the three counts each array of a graph is long.
_OWNER = {"cycles": "tasks", "memory": "tasks", "use_data": "uses", "use_task": "uses"}


@dataclass(frozen=True, eq=False)
class _Packed:
    """The arrays of G graphs one behind the other; numbers of tasks and data stay their own."""

    names: tuple[str, ...]
    tasks: Int32  # (G,) of each graph
    data: Int32  # (G,)
    uses: Int32  # (G,)
    cycles: Int64
    memory: Int64
    data_bytes: Int64
    data_producer: Int32
    data_result: NDArray[np.bool_]
    use_data: Int32
    use_task: Int32


_COLUMNS = tuple(field.name for field in fields(TaskGraph) if field.name != "name")


def graphs_to_npz(graphs: Sequence[TaskGraph], path: str | Path) -> Path:
    """Writes task graphs, to a temporary file that is then renamed.

    Args:
        graphs: at least one.
        path: of the file; its folder must exist.

    Raises:
        TraceError: there is none, one is not valid, or the file cannot be written.
    """
    if not graphs:
        raise TraceError(f"{path}: there is no task graph to write")
    for graph in graphs:
        graph.validate()
    packed = _Packed(
        names=tuple(graph.name for graph in graphs),
        tasks=np.array([graph.num_tasks for graph in graphs], np.int32),
        data=np.array([len(graph.data_bytes) for graph in graphs], np.int32),
        uses=np.array([len(graph.use_data) for graph in graphs], np.int32),
        **{name: np.concatenate([getattr(graph, name) for graph in graphs]) for name in _COLUMNS},
    )
    return write_arrays(packed, path, _LAYOUT)


def graphs_from_npz(path: str | Path) -> tuple[TaskGraph, ...]:
    """Reads and validates what `graphs_to_npz` wrote.

    Raises:
        TraceError: not found, not such a file, of another version, or not valid graphs.
    """
    packed = _Packed(**read_arrays(path, _LAYOUT, "task graphs"))
    for what in ("tasks", "data", "uses"):
        counts = getattr(packed, what)
        if counts.shape != (len(packed.names),) or (counts < 0).any() or not len(counts):
            raise TraceError(f"{path}: {what} must be 0 or more of each of at least one graph")
    columns = {}
    for name in _COLUMNS:
        counts = getattr(packed, _OWNER.get(name, "data"))
        values = getattr(packed, name)
        if len(values) != counts.sum():
            raise TraceError(f"{path}: {name} has {len(values)} entries, not {counts.sum()}")
        columns[name] = np.split(values, np.cumsum(counts)[:-1])
    graphs = tuple(
        TaskGraph(name, *parts)
        for name, *parts in zip(packed.names, *(columns[name] for name in _COLUMNS), strict=True)
    )
    if not _sound(packed):
        for graph in graphs:
            graph.validate()
    return graphs


def holds_graphs(path: str | Path) -> bool:
    """Whether a file is an archive of task graphs, as `graphs_to_npz` writes them."""
    try:
        with zipfile.ZipFile(path) as archive:
            return "use_task.npy" in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def _sound(packed: _Packed) -> bool:
    """Whether all graphs are valid: what `TaskGraph.validate` checks of one, of all at once."""
    n, d = np.repeat(packed.tasks, packed.data), np.repeat(packed.data, packed.uses)
    readers = np.repeat(packed.tasks, packed.uses)
    in_range = (
        (packed.tasks > 0).all()
        and ((packed.cycles >= 1) & (packed.cycles <= MAX_CYCLES)).all()
        and ((packed.memory >= 0) & (packed.memory <= MAX_BYTES)).all()
        and ((packed.data_bytes >= 0) & (packed.data_bytes <= MAX_BYTES)).all()
        and ((packed.data_producer >= OUTSIDE) & (packed.data_producer < n)).all()
        and ((packed.use_data >= 0) & (packed.use_data < d)).all()
        and ((packed.use_task >= 0) & (packed.use_task < readers)).all()
    )
    if not in_range:
        return False
    first_task, first_data = (np.cumsum(c) - c for c in (packed.tasks, packed.data))
    data = packed.use_data + np.repeat(first_data, packed.uses)
    child = packed.use_task + np.repeat(first_task, packed.uses)
    if len(np.unique(data.astype(np.int64) * len(packed.cycles) + child)) < len(data):
        return False
    producer = packed.data_producer[data]
    inside = producer != OUTSIDE
    parent = (producer + np.repeat(first_task, packed.uses))[inside]
    return _acyclic(len(packed.cycles), parent, child[inside])


def _acyclic(n: int, parent: NDArray[np.int64], child: NDArray[np.int64]) -> bool:
    """Whether taking away tasks without parents, all of them at a time, takes all away."""
    order = np.argsort(parent, kind="stable")
    child = child[order]
    first = np.searchsorted(parent[order], np.arange(n + 1))
    waiting = np.bincount(child, minlength=n)
    free, gone = np.flatnonzero(waiting == 0), 0
    while len(free):
        gone += len(free)
        counts = first[free + 1] - first[free]
        ends = np.cumsum(counts)
        rows = np.arange(counts.sum()) + np.repeat(first[free] - (ends - counts), counts)
        reached, times = np.unique(child[rows], return_counts=True)
        waiting[reached] -= times
        free = reached[waiting[reached] == 0]
    return gone == n
