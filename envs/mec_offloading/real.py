"""Workloads whose applications are real task graphs, in the units of the scenario."""

from functools import cache

import numpy as np

from fleetgym.envs.core.errors import WorkloadError
from fleetgym.envs.mec_offloading.scenario import MECOffloadingScenario
from fleetgym.envs.mec_offloading.workloads import MECSource, source_of_graphs
from fleetgym.traces import catalog_mec
from fleetgym.traces.generators.rescaled import rescaled
from fleetgym.traces.schema_mec import TaskGraph
from fleetgym.traces.splits_graphs import split_graphs

FEWEST = 2  # tasks: with one there is nothing that depends on anything


def real_source(scenario: MECOffloadingScenario, split: str | None = None) -> MECSource:
    """A source that gives each application a graph of a trace, drawn at random.

    Graphs of 2 to ``tasks`` tasks are taken, those of one split: no graph of the test workloads, in
    whatever numbering, is among those of training. Their cycles, bytes and memory are scaled, by
    three factors for all of them, to the means that ``mcycles``, ``ccr`` and ``task_mb`` say.

    Args:
        scenario: whose ``workload`` is a name or file for `catalog_mec.load_graphs`.
        split: "train", "validation" or "test"; the scenario's if left out.

    Raises:
        WorkloadError: no graph of the split has so few tasks.
        TraceError: the trace is not here (names ``fleetgym traces fetch``) or is malformed.
    """
    chosen = split or scenario.split
    graphs = _graphs(scenario.workload, chosen, scenario.tasks)
    if not graphs:
        raise WorkloadError(
            f"workload {scenario.workload!r} has no {chosen} graph of {FEWEST} to "
            f"{scenario.tasks} tasks; raise tasks"
        )
    scaled = rescaled(graphs, scenario.mcycles * 1e6, scenario.ccr, scenario.task_mb * 1e6)

    def draw(rng: np.random.Generator) -> TaskGraph:
        return scaled[int(rng.integers(len(scaled)))]

    return source_of_graphs(
        scenario,
        draw,
        max(graph.num_tasks for graph in scaled),
        max(len(graph.data_bytes) for graph in scaled),
        max(len(graph.use_data) + int(graph.data_result.sum()) for graph in scaled),
    )


@cache
def _graphs(name: str, split: str, most: int) -> tuple[TaskGraph, ...]:
    part = split_graphs(catalog_mec.load_graphs(name), split)
    return tuple(graph for graph in part if FEWEST <= graph.num_tasks <= most)
