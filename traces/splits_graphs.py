"""Train, validation and test sets of task graphs that share no graph, however its tasks are named.

Each graph goes where a hash of its content says, alone: so the same job met again, in another file
or under another name, is in the same set, and adding graphs moves none.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fleetgym.traces.errors import TraceError, nearest
from fleetgym.traces.schema_mec import TaskGraph

SHARES = {"train": 0.6, "validation": 0.2, "test": 0.2}
ROUNDS = 8  # of looking at neighbours' neighbours
UInt64 = NDArray[np.uint64]


def keys(graphs: Sequence[TaskGraph], *, cycles: bool = True) -> UInt64:
    """``(G,)`` hashes of graphs: equal for graphs that differ in names and numbering only.

    Weisfeiler and Lehman's colours: each task hashes its cycles, then again and again with the
    colours of its parents and of its children. Memory and bytes are left out, so that what differs
    in them alone shares a set; so do graphs that the colours do not tell apart.

    Args:
        graphs: any.
        cycles: whether cycles count; without, only which task reads from which.
    """
    if not graphs:
        return np.zeros(0, np.uint64)
    count = np.array([graph.num_tasks for graph in graphs])
    offset = np.cumsum(count) - count
    edges = np.concatenate([graph.edges + at for graph, at in zip(graphs, offset, strict=True)])
    parent, child = edges[:, 0], edges[:, 1]
    colour = np.ones(int(count.sum()), np.uint64)
    if cycles:
        colour = _mix(np.concatenate([graph.cycles for graph in graphs]).astype(np.uint64), 1)
    for _ in range(ROUNDS):
        above, below = np.zeros_like(colour), np.zeros_like(colour)
        np.add.at(above, child, _mix(colour[parent], 2))
        np.add.at(below, parent, _mix(colour[child], 3))
        colour = _mix(colour, 4) ^ _mix(above, 5) ^ _mix(below, 6)
    total = np.zeros(len(graphs), np.uint64)
    np.add.at(total, np.repeat(np.arange(len(graphs)), count), _mix(colour, 7))
    return _mix(total, 8) ^ _mix(count.astype(np.uint64), 9)


def split_of(graphs: Sequence[TaskGraph], *, cycles: bool = True) -> tuple[str, ...]:
    """The set of each graph, a name of ``SHARES``.

    Args:
        graphs: any.
        cycles: as for `keys`; without, not even two graphs of one shape are in different sets, but
            the sets are less alike, as all chains of three, say, are in one.
    """
    names = tuple(SHARES)
    limits = np.cumsum(list(SHARES.values()))[:-1]
    at = np.searchsorted(limits, keys(graphs, cycles=cycles) / 2.0**64, side="right")
    return tuple(names[k] for k in at)


def split_graphs(
    graphs: Sequence[TaskGraph], split: str, *, cycles: bool = True
) -> tuple[TaskGraph, ...]:
    """The graphs of one set, in the order given.

    Raises:
        TraceError: an unknown set, or none of the graphs is in it.
    """
    if split not in SHARES:
        raise TraceError(f"unknown split {split!r}; {nearest(split, SHARES)}")
    chosen = tuple(
        graph
        for graph, where in zip(graphs, split_of(graphs, cycles=cycles), strict=True)
        if where == split
    )
    if not chosen:
        raise TraceError(f"none of {len(graphs)} graphs is in {split}; take more graphs")
    return chosen


def _mix(values: UInt64, salt: int) -> UInt64:
    """A hash of each value (the finaliser of SplitMix64), one function for each salt."""
    z = values + np.uint64(salt * 0x9E3779B97F4A7C15 % 2**64)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
