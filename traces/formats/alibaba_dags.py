"""Reader of the DAG jobs of Alibaba's cluster-trace-v2018: rows of ``batch_task``, CSV.

``task_name,instance_num,job_name,task_type,status,start_time,end_time,plan_cpu,plan_mem``: task
``R5_1_3`` is number 5 of its job and reads what 1 and 3 wrote; times are seconds, ``plan_cpu`` 100
is a core, ``plan_mem`` a hundredth of a machine. There are no cycles and no sizes of data:

- cycles = seconds x cores x ``cycles_per_s``; the instances of a task run side by side and count as
  one. A task that ended in the second it began counts half a second. The time of one that did not
  end well (not ``Terminated``, or an end before the start) counts as the median of its job's.
- each edge is a piece of data of its own, its bytes drawn by `GraphRule.draws`; a task without
  parents reads as much from its device, one without children returns ``result_share`` of as much.
- names are cut off after 50 characters, a parent's number perhaps in the middle: of such a name the
  last number is left out unless a ``_`` shows that it is whole, and the parents after it are lost.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from fleetgym.traces.errors import TraceError
from fleetgym.traces.formats.graph_rule import DEFAULT_RULE, GraphRule
from fleetgym.traces.formats.tables import read_csv
from fleetgym.traces.report import ReadReport
from fleetgym.traces.schema_mec import TaskGraph, from_edges

NAME_WIDTH = 50  # characters after which the trace cuts a name off
SHORT_S = 0.5  # of a task that ended in the second it began
_NAME = re.compile(r"[A-Za-z]+(\d+)((?:_\d+)*)(_?)")
_COLUMNS = {
    "task_name": pl.String,
    "job_name": pl.String,
    "status": pl.String,
    "start_time": pl.Int64,
    "end_time": pl.Int64,
    "plan_cpu": pl.Float64,
    "plan_mem": pl.Float64,
}
_CORES, _MEMORY = 1.0, 0.35  # where the plan is missing: the trace's medians


@dataclass
class _Task:
    number: int
    parents: list[int]
    seconds: float | None  # None where it was not measured
    cores: float
    memory: float


@dataclass
class _Counts:
    """Repairs made on the way."""

    short: int = 0
    unmeasured: int = 0
    cut: int = 0
    unplanned: int = 0
    repeated: int = 0
    independent: int = 0
    dropped: list[str] = field(default_factory=list)

    def repairs(self) -> tuple[str, ...]:
        said = (
            (self.short, "tasks ended in the second they began: 0.5 s"),
            (self.unmeasured, "tasks did not end well: the median of their job"),
            (self.cut, "names of tasks cut off: parents lost"),
            (self.unplanned, "tasks without a plan of cores or memory: the trace's medians"),
            (self.repeated, "tasks name a parent twice: once"),
            (self.independent, "names of tasks say nothing of parents: none"),
        )
        return tuple(f"{count} {what}" for count, what in said if count)


def read(
    path: str | Path,
    rule: GraphRule = DEFAULT_RULE,
    *,
    bad_jobs: Literal["raise", "drop"] = "raise",
) -> tuple[tuple[TaskGraph, ...], ReadReport]:
    """The jobs of a file as task graphs, in the file's order, and what was repaired.

    Args:
        path: ``.csv`` or ``.csv.gz`` with a header line.
        rule: how cycles and bytes come about.
        bad_jobs: whether a job that is no DAG is an error, or is left out and reported.

    Raises:
        TraceError: the file is not found, cut off, without the columns, or empty; or a job has a
            cycle, a parent that is not there, a number twice, or no sizes above 0.
    """
    table = read_csv(path, _COLUMNS)
    if not len(table):
        raise TraceError(f"{path}: holds no task")
    counts = _Counts()
    graphs = []
    for name, rows in _jobs(table).items():
        try:
            graphs.append(_graph(name, [_task(row, counts) for row in rows], rule, counts))
        except TraceError as error:
            if bad_jobs == "raise":
                raise TraceError(f"{path}: {error}") from error
            counts.dropped.append(str(error))
    if not graphs:
        raise TraceError(f"{path}: none of its jobs is a DAG; the first: {counts.dropped[0]}")
    tasks = sum(graph.num_tasks for graph in graphs)
    kept = (f"{len(graphs)} jobs, {tasks} tasks",)
    return tuple(graphs), ReadReport(str(path), kept, tuple(counts.dropped), counts.repairs())


_Row = tuple[str, str, int, int, float | None, float | None]


def _jobs(table: pl.DataFrame) -> dict[str, list[_Row]]:
    jobs: dict[str, list[_Row]] = {}
    names = table["job_name"].to_list()
    for job, *row in zip(names, *(table[column] for column in _row_columns()), strict=True):
        jobs.setdefault(str(job), []).append(tuple(row))
    return jobs


def _row_columns() -> list[str]:
    return [column for column in _COLUMNS if column != "job_name"]


def _task(row: _Row, counts: _Counts) -> _Task:
    name, status, start, end, cpu, memory = row
    number, parents = _numbers(str(name), counts)
    seconds: float | None = None
    if status != "Terminated" or start is None or end is None or end < start:
        counts.unmeasured += 1
    elif end == start:
        counts.short += 1
        seconds = SHORT_S
    else:
        seconds = float(end - start)
    counts.unplanned += cpu is None or memory is None
    cores = _CORES if cpu is None else cpu / 100
    memory = _MEMORY if memory is None else memory
    if cores <= 0 or memory < 0:
        raise TraceError(f"task {name} plans {cores:g} cores and {memory:g} of memory")
    return _Task(number, parents, seconds, cores, memory)


def _numbers(name: str, counts: _Counts) -> tuple[int, list[int]]:
    """A task's own number and its parents'; -1 where the name has none."""
    match = _NAME.fullmatch(name)
    if match is None:
        counts.independent += 1
        return -1, []
    parents = [int(number) for number in match[2].split("_")[1:]]
    if len(name) >= NAME_WIDTH:
        counts.cut += 1
        if not match[3] and parents:
            parents.pop()
    distinct = list(dict.fromkeys(parents))
    counts.repeated += len(distinct) < len(parents)
    return int(match[1]), distinct


def _graph(name: str, tasks: list[_Task], rule: GraphRule, counts: _Counts) -> TaskGraph:
    """The graph of a job, its tasks by number."""
    tasks.sort(key=lambda task: (task.number < 0, task.number))
    index = {task.number: i for i, task in enumerate(tasks) if task.number >= 0}
    if len(index) < sum(task.number >= 0 for task in tasks):
        raise TraceError(f"job {name} has two tasks of one number")
    measured = [task.seconds for task in tasks if task.seconds is not None]
    usual = float(np.median(measured)) if measured else SHORT_S
    edges = []
    for child, task in enumerate(tasks):
        for parent in task.parents:
            if parent not in index:
                raise TraceError(
                    f"job {name}: task {task.number} reads from {parent}, which the job does not "
                    "have"
                )
            edges.append((index[parent], child))
    n, children = len(tasks), {parent for parent, _ in edges}
    content = repr([(t.number, sorted(t.parents), t.seconds, t.cores, t.memory) for t in tasks])
    drawn = rule.draws(content, len(edges) + 2 * n).tolist()
    between, given, owed = drawn[: len(edges)], drawn[len(edges) : -n], drawn[-n:]
    return from_edges(
        name,
        [rule.cycles((usual if t.seconds is None else t.seconds) * t.cores) for t in tasks],
        [(parent, child, size) for (parent, child), size in zip(edges, between, strict=True)],
        memory=[round(task.memory * rule.memory_bytes) for task in tasks],
        inputs=[0 if task.parents else given[i] for i, task in enumerate(tasks)],
        outputs=[0 if i in children else round(owed[i] * rule.result_share) for i in range(n)],
    )
