"""In which order ready tasks are asked about: a number for each task, the greatest first.

Numbers depend on the application alone, never on what arrives later, and are integers.
"""

from typing import NamedTuple

import numpy as np

from fleetgym.envs.mec_offloading.types import Float64, Int64
from fleetgym.traces.schema_mec import TaskGraph


class Costs(NamedTuple):
    """What an application's tasks take, without contention.

    Attributes:
        run: ``(N, P)`` ns at each place.
        edges: ``(edges, 2)`` parent and child.
        talk: ``(edges,)`` ns of an edge's data between two different places, on the mean.
    """

    run: Float64
    edges: Int64
    talk: Float64


def costs_of(graph: TaskGraph, speeds: Float64, bits_per_ns: float) -> Costs:
    """The costs of a graph at places of given speeds ``(P,)`` Hz, first the device's."""
    parent = graph.data_producer[graph.use_data].astype(np.int64)
    inner = parent >= 0
    pairs = parent[inner] * graph.num_tasks + graph.use_task[inner]
    keys, place = np.unique(pairs, return_inverse=True)
    sizes = np.bincount(
        place, weights=graph.data_bytes[graph.use_data][inner].astype(np.float64),
        minlength=len(keys),
    )  # fmt: skip
    return Costs(
        run=graph.cycles[:, None] * 1e9 / speeds,
        edges=np.stack([keys // graph.num_tasks, keys % graph.num_tasks], axis=1),
        talk=sizes * 8 / bits_per_ns,
    )


def ranks(priority: str, graph: TaskGraph, costs: Costs, deadline: int) -> Int64:
    """``(N,)`` the ranks of a graph's tasks under a priority of `MECOffloadingScenario`."""
    order: Int64 = graph.order.astype(np.int64)
    if priority == "topological":
        place = np.empty(graph.num_tasks)
        place[order] = np.arange(graph.num_tasks)
        return _whole(-place)
    if priority == "edf":
        # A task's own deadline leaves what follows it its mean time.
        after = upward(order, costs) - costs.run.mean(axis=1)
        return _whole(after - deadline)
    if priority == "peft":
        return _whole(optimistic(order, costs).mean(axis=1))
    if priority == "ahp":
        return _whole(hierarchy(graph, order, costs) * 1e9)
    return _whole(upward(order, costs))


def _whole(numbers: Float64) -> Int64:
    rounded: Int64 = np.rint(numbers).astype(np.int64)
    return rounded


def upward(order: Int64, costs: Costs) -> Float64:
    """rank_u(i) = w_i + max_j (c_ij + rank_u(j)) (Topcuoglu et al. 2002, equation 8)."""
    mean = costs.run.mean(axis=1)
    rank: Float64 = mean.copy()
    for at in _by_parent(order, costs):
        parent, child = costs.edges[at]
        rank[parent] = max(rank[parent], mean[parent] + costs.talk[at] + rank[child])
    return rank


def optimistic(order: Int64, costs: Costs) -> Float64:
    """``(N, P)`` PEFT's cost table (Arabnejad and Barbosa 2014, equation 5).

    OCT(i, p) = max_j min_q (OCT(j, q) + w(j, q) + c_ij where q differs from p).
    """
    table = np.zeros_like(costs.run)
    apart = 1.0 - np.eye(costs.run.shape[1])
    for at in _by_parent(order, costs):
        parent, child = costs.edges[at]
        best = (table[child] + costs.run[child] + costs.talk[at] * apart).min(axis=1)
        table[parent] = np.maximum(table[parent], best)
    return table


# How much more one criterion counts than another (Saaty's scale): the path that follows, the task's
# cycles, the data it reads, and the tasks that wait for it. Ours: the sources give no matrix.
PAIRWISE = np.array(
    [[1.0, 3.0, 5.0, 3.0], [1 / 3, 1.0, 3.0, 1.0], [1 / 5, 1 / 3, 1.0, 1 / 3], [1 / 3, 1.0, 3.0, 1]]
)


def hierarchy(graph: TaskGraph, order: Int64, costs: Costs) -> Float64:
    """Analytic hierarchy process: criteria, each over its maximum, with AHP's weights.

    The weights are the geometric means of the matrix's rows, which stand for its eigenvector.
    """
    read = np.zeros(graph.num_tasks)
    np.add.at(read, graph.use_task, graph.data_bytes[graph.use_data].astype(np.float64))
    children = np.bincount(costs.edges[:, 0], minlength=graph.num_tasks)
    criteria = np.stack([upward(order, costs), graph.cycles, read, children], axis=1)
    weights = np.prod(PAIRWISE, axis=1) ** 0.25
    score: Float64 = criteria / np.maximum(criteria.max(axis=0), 1e-12) @ weights
    score /= weights.sum()
    return score


def critical_path(order: Int64, edges: Int64, length: Float64) -> float:
    """The longest path, of tasks of given lengths ``(N,)``, edges for nothing."""
    costs = Costs(length[:, None], edges, np.zeros(len(edges)))
    return float(upward(order, costs).max())


def _by_parent(order: Int64, costs: Costs) -> list[int]:
    """The edges, those of the last parents first: a child's number is there when it is read."""
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    parents = costs.edges[:, 0] if len(costs.edges) else np.zeros(0, np.int64)
    return [int(at) for at in np.argsort(-place[parents], kind="stable")]
