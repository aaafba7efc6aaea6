"""Figures of task graphs and of edge networks."""

from collections.abc import Sequence

import numpy as np

from fleetgym.traces.schema_mec import OUTSIDE, EdgeNetwork, Int32, Int64, TaskGraph
from fleetgym.traces.splits_graphs import SHARES, keys, split_of


def levels(graph: TaskGraph) -> Int32:
    """``(N,)`` edges on the longest path to each task from a task without parents."""
    level = np.zeros(graph.num_tasks, np.int32)
    first = np.searchsorted(graph.edges[:, 0], np.arange(graph.num_tasks + 1))
    for task in graph.order:
        children = graph.edges[first[task] : first[task + 1], 1]
        level[children] = np.maximum(level[children], level[task] + 1)
    return level


def stats(name: str, graphs: Sequence[TaskGraph]) -> dict[str, object]:
    """How many graphs there are, how large, deep and wide, and what they compute and send.

    Args:
        name: of the trace.
        graphs: at least one.

    Returns:
        By name. Depth is the tasks on the longest path, width the most tasks of one level;
        bytes of an edge are those of the data that a task makes and another reads.
    """
    tasks = np.array([graph.num_tasks for graph in graphs])
    level = [levels(graph) for graph in graphs]
    depth = np.array([int(of.max()) + 1 for of in level])
    width = np.array([int(np.bincount(of).max()) for of in level])
    cycles = np.concatenate([graph.cycles for graph in graphs])
    sent = np.concatenate([_edge_bytes(graph) for graph in graphs])
    sets = split_of(graphs)
    return {
        "name": name,
        "graphs": len(graphs),
        "distinct_graphs": len(np.unique(keys(graphs))),
        "distinct_shapes": len(np.unique(keys(graphs, cycles=False))),
        "tasks": int(tasks.sum()),
        "tasks_mean": float(tasks.mean()),
        "tasks_max": int(tasks.max()),
        "edges": int(sum(len(graph.edges) for graph in graphs)),
        "depth_mean": float(depth.mean()),
        "depth_max": int(depth.max()),
        "width_mean": float(width.mean()),
        "width_max": int(width.max()),
        "cycles_median": float(np.median(cycles)),
        "cycles_mean": float(cycles.mean()),
        "edge_bytes_median": float(np.median(sent)) if len(sent) else 0.0,
        "edge_bytes_mean": float(sent.mean()) if len(sent) else 0.0,
        **{f"{split}_graphs": sets.count(split) for split in SHARES},
    }


def network_stats(network: EdgeNetwork) -> dict[str, object]:
    """How many servers a network has, how fast, and how they are joined."""
    m = network.num_servers
    wired = network.link_rate[:m, :m] > 0
    hops = np.where(np.eye(m, dtype=np.bool_), 0.0, np.where(wired, 1.0, np.inf))
    for node in range(m):
        hops = np.minimum(hops, hops[:, node : node + 1] + hops[node : node + 1])
    return {
        "name": network.name,
        "servers": m,
        "links": int(wired.sum()),
        "hops_max": int(hops.max()),
        "core_hz_min": float(network.speed.min()),
        "core_hz_mean": float(network.speed.mean()),
        "core_hz_max": float(network.speed.max()),
        "cores": int(network.cores.sum()),
        "memory_bytes": int(network.memory.sum()),
    }


def _edge_bytes(graph: TaskGraph) -> Int64:
    read = np.unique(graph.use_data)
    return np.asarray(graph.data_bytes[read[graph.data_producer[read] != OUTSIDE]], np.int64)
