"""Reader of scientific workflows in WfCommons' WfFormat 1.5 (WfInstances), JSON.

``workflow.specification`` has tasks with their parents, children and files, and the files' bytes;
``workflow.execution`` what each task took. Cycles = ``runtimeInSeconds`` x ``avgCPU`` / 100 x
``cycles_per_s``; bytes of files and of memory are the recorded ones, shrunk by `SCALE` as the work
is. A runtime of 0 counts as a millisecond, the resolution of the logs; a CPU that was not measured
as a whole core, memory that was not as none. A file that a task writes and nobody reads is a
result.
"""

from pathlib import Path

import numpy as np

from fleetgym.traces.formats.graph_rule import DEFAULT_RULE, SCALE, GraphRule
from fleetgym.traces.reading import Place, read_json
from fleetgym.traces.report import ReadReport
from fleetgym.traces.schema_mec import OUTSIDE, TaskGraph

VERSION = "1.5"
SHORTEST_S = 0.001


def read(path: str | Path, rule: GraphRule = DEFAULT_RULE) -> tuple[TaskGraph, ReadReport]:
    """The task graph of a workflow, its tasks in the file's order, and what was repaired.

    Args:
        path: ``.json`` or ``.json.gz``.
        rule: how cycles come about.

    Raises:
        TraceError: not found, not WfFormat 1.5, or no DAG: a cycle, a parent, child or file that is
            not there, a file of negative size or that two tasks write.
    """
    document = Place(read_json(path), str(path))
    version = document["schemaVersion"].text()
    if version != VERSION:
        raise document["schemaVersion"].wrong(
            f"is {version}; WfFormat {VERSION} is read: convert the file with WfCommons"
        )
    specification = document["workflow"]["specification"]
    tasks = specification["tasks"].items()
    ids = _numbered(tasks)
    files = _Files(specification, tasks, ids)
    execution = _execution(document["workflow"]["execution"], ids)
    parent, child = files.dependences(_declared(tasks, ids))
    short = sum(execution[i][0] < SHORTEST_S for i in range(len(ids)))
    graph = TaskGraph(
        name=Path(path).name.split(".")[0],
        cycles=np.array(
            [rule.cycles(max(s, SHORTEST_S) * cpu) for s, cpu, _ in execution], np.int64
        ),
        memory=np.array([held for _, _, held in execution], np.int64),
        data_bytes=np.array(files.bytes + [0] * len(parent), np.int64),
        data_producer=np.array(files.producer + parent, np.int32),
        data_result=np.array(files.results() + [False] * len(parent), np.bool_),
        use_data=np.array(
            [data for data, _ in files.uses] + [len(files.bytes) + k for k in range(len(parent))],
            np.int32,
        ),
        use_task=np.array([task for _, task in files.uses] + child, np.int32),
    ).validate()
    kept = (f"{len(ids)} tasks, {len(files.bytes)} files",)
    repaired = (
        *([f"{short} tasks of less than a millisecond: {SHORTEST_S} s"] if short else []),
        *([f"{len(parent)} dependences without a file: 0 bytes"] if parent else []),
    )
    return graph, ReadReport(str(path), kept, repaired=repaired)


def _numbered(tasks: list[Place]) -> dict[str, int]:
    ids: dict[str, int] = {}
    for i, task in enumerate(tasks):
        if ids.setdefault(task["id"].text(), i) != i:
            raise task.wrong(f"the id {task['id'].text()!r} is there twice")
    return ids


def _named(place: Place, known: dict[str, int], what: str) -> int:
    name = place.text()
    if name not in known:
        raise place.wrong(f"{what} {name!r} is not in the workflow")
    return known[name]


def _listed(task: Place, key: str) -> list[Place]:
    return task[key].items() if task.has(key) else []


def _declared(tasks: list[Place], ids: dict[str, int]) -> set[tuple[int, int]]:
    """Parent and child, as either of the two says."""
    pairs = set()
    for i, task in enumerate(tasks):
        pairs |= {(_named(p, ids, "the parent"), i) for p in _listed(task, "parents")}
        pairs |= {(i, _named(c, ids, "the child")) for c in _listed(task, "children")}
    return pairs


class _Files:
    """The files of a workflow as pieces of data."""

    def __init__(self, specification: Place, tasks: list[Place], ids: dict[str, int]) -> None:
        entries = _listed(specification, "files")
        known = _numbered(entries)
        self.bytes = [round(_number(entry["sizeInBytes"]) * SCALE) for entry in entries]
        self.producer = [OUTSIDE] * len(known)
        self.uses: list[tuple[int, int]] = []
        for i, task in enumerate(tasks):
            for place in _listed(task, "outputFiles"):
                data = _named(place, known, "the file")
                if self.producer[data] not in (OUTSIDE, i):
                    raise place.wrong(f"the file {place.text()!r} is written by two tasks")
                self.producer[data] = i
        for i, task in enumerate(tasks):
            read = {_named(place, known, "the file") for place in _listed(task, "inputFiles")}
            self.uses += [(data, i) for data in sorted(read) if self.producer[data] != i]

    def results(self) -> list[bool]:
        """Whether each file is written and read by nobody."""
        read = {data for data, _ in self.uses}
        return [
            producer != OUTSIDE and data not in read for data, producer in enumerate(self.producer)
        ]

    def dependences(self, declared: set[tuple[int, int]]) -> tuple[list[int], list[int]]:
        """Parents and children of declared dependences that no file carries."""
        carried = {(self.producer[data], task) for data, task in self.uses}
        bare = sorted(declared - carried)
        return [parent for parent, _ in bare], [child for _, child in bare]


def _execution(execution: Place, ids: dict[str, int]) -> list[tuple[float, float, int]]:
    """Seconds, cores and bytes of memory of each task."""
    found: dict[int, tuple[float, float, int]] = {}
    for task in execution["tasks"].items():
        i = _named(task["id"], ids, "the task")
        seconds = _number(task["runtimeInSeconds"])
        cores = _number(task["avgCPU"]) / 100 if task.has("avgCPU") else 1.0
        held = round(_number(task["memoryInBytes"]) * SCALE) if task.has("memoryInBytes") else 0
        found[i] = (seconds, cores or 1.0, held)
    missing = [name for name, i in ids.items() if i not in found]
    if missing:
        raise execution.wrong(f"task {missing[0]!r} was never executed")
    return [found[i] for i in range(len(ids))]


def _number(place: Place) -> float:
    value = place.value
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise place.wrong(f"expected a number, 0 or more, got {str(value)[:60]!r}")
    return float(value)
