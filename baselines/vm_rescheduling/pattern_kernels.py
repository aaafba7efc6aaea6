"""Pricing: the best pattern of every class for given prices, by dynamic programmes over cores.

Memory and GPU are not seen here: where they are scarce the patterns are checked afterwards, and
the bound stays a bound because the programme relaxes them.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fleetgym.envs.core.jit import kernel

Int16 = NDArray[np.int16]
Int64 = NDArray[np.int64]
Float64 = NDArray[np.float64]

NEVER = -1e18


class Tables(NamedTuple):
    """Room for the dynamic programmes of one machine: M = levels, L bands; 0, 1 nodes, 2 both."""

    enter: Float64  # (2, M + 1) best value of VMs that fill exactly d units; 0 single, 1 double
    last: Int64  # (2, M + 1) type of one of them
    leave: Float64  # (3, M + 1) best value of freeing exactly d units
    taken: Int64  # (3, max(T, U), M + 1) how many of a type leave
    change: Float64  # (3, 2M + 1) best value of a net change of e freed units, at e + M
    freed: Int64  # (3, 2M + 1) units that leave for it
    band: Float64  # (2, L) best value of ending in a band
    at: Int64  # (2, L) by which net change
    value: Float64  # (L, L) best value of the machine by the bands of its nodes
    chosen: Int64  # (L, L, 3) by which net changes


def tables(most: int, bands: int, kinds: int) -> Tables:
    """Room for nodes of so many units, bands of the objective, and single or double types."""
    return Tables(
        enter=np.empty((2, most + 1)),
        last=np.empty((2, most + 1), np.int64),
        leave=np.empty((3, most + 1)),
        taken=np.empty((3, kinds, most + 1), np.int64),
        change=np.empty((3, 2 * most + 1)),
        freed=np.empty((3, 2 * most + 1), np.int64),
        band=np.empty((2, bands)),
        at=np.empty((2, bands), np.int64),
        value=np.empty((bands, bands)),
        chosen=np.empty((bands, bands, 3), np.int64),
    )


@kernel
def entering(size: Int64, price: Float64, value: Float64, last: Int64) -> None:
    """Best value of VMs that fill exactly d units, and the type of one of them, for every d."""
    value[:] = NEVER
    last[:] = -1
    value[0] = 0.0
    for d in range(1, len(value)):
        for t in range(len(size)):
            if 0 < size[t] <= d:
                worth = value[d - size[t]] + price[t]
                if worth > value[d] and worth > NEVER / 2:
                    value[d] = worth
                    last[d] = t


@kernel
def leaving(
    size: Int64, price: Float64, fee: Float64, count: Int64, value: Float64, taken: Int64
) -> None:
    """Best value of freeing exactly d units with at most ``count`` VMs a type, and how many."""
    value[:] = NEVER
    value[0] = 0.0
    taken[:] = 0
    for t in range(len(size)):
        if count[t] == 0 or size[t] == 0:
            continue
        for d in range(len(value) - 1, -1, -1):  # downwards: smaller d hold the types before t
            for k in range(1, min(count[t], d // size[t]) + 1):
                worth = value[d - k * size[t]] - k * (price[t] + fee[t])
                if worth > value[d] and worth > NEVER / 2:
                    value[d] = worth
                    taken[t, d] = k


@kernel
def exchange(out: Float64, into: Float64, value: Float64, freed: Int64) -> None:
    """Best value of a net change of e freed units, and the units that leave, for every e."""
    most = len(out) - 1
    value[:] = NEVER
    freed[:] = 0
    for a in range(most + 1):
        if out[a] < NEVER / 2:
            continue
        for b in range(most + 1):
            worth = out[a] + into[b]
            if worth > value[a - b + most] and worth > NEVER / 2:
                value[a - b + most] = worth
                freed[a - b + most] = a


@kernel
def best_by_band(free: int, change: Float64, level: Int64, best: Float64, at: Int64) -> None:
    """Best change for every band that a node with ``free`` units can end in."""
    most = (len(change) - 1) // 2
    best[:] = NEVER
    for e in range(max(-most, -free), min(most, len(level) - 1 - free) + 1):
        into = level[free + e]
        if change[e + most] > best[into]:
            best[into] = change[e + most]
            at[into] = e


@kernel
def combine(free: Int64, worth: Float64, level: Int64, t: Tables) -> float:
    """Best value of a machine by the bands its nodes end in; returns the best of all, or 0."""
    most, bands = len(level) - 1, len(worth)
    now = worth[level[free[0]], level[free[1]]]
    t.value[:] = NEVER
    best = 0.0
    for both in range(-most, most + 1):
        if t.change[2, both + most] < NEVER / 2:
            continue
        for node in (0, 1):
            best_by_band(free[node] + both, t.change[node], level, t.band[node], t.at[node])
        for i in range(bands):
            for j in range(bands):
                value = t.change[2, both + most] + t.band[0, i] + t.band[1, j] + worth[i, j] - now
                if value > t.value[i, j]:
                    t.value[i, j] = value
                    t.chosen[i, j, 0] = t.at[0, i]
                    t.chosen[i, j, 1] = t.at[1, j]
                    t.chosen[i, j, 2] = both
                    best = max(best, value)
    return best


@kernel
def write_vms(
    pattern: Int16, offset: int, net: int, freed: Int64, taken: Int64, last: Int64, size: Int64
) -> None:
    """Writes the VMs behind a net change into a pattern (2, width): row 0 leaves, 1 enters."""
    out = freed[net + len(last) - 1]
    into = out - net
    for t in range(len(size) - 1, -1, -1):
        k = taken[t, out]
        pattern[0, offset + t] = k
        out -= k * size[t]
    while into > 0:
        t = last[into]
        pattern[1, offset + t] += 1
        into -= size[t]


@kernel
def price_patterns(
    free: Int64,
    leave_single: Int64,
    leave_double: Int64,
    single: Int64,
    double: Int64,
    price: Float64,
    fee: Float64,
    worth: Float64,
    level: Int64,
    slack: float,
    t: Tables,
    best: Float64,
    owner: Int64,
    pattern: Int16,
) -> int:
    """Best patterns of each class: one for each pair of bands its nodes may end in.

    Args:
        free: (C, 2) units.
        leave_single: (C, 2, T) VMs that may leave.
        leave_double: (C, U) likewise.
        single: (T,) units.
        double: (U,) units on each node.
        price: (T + U,) what a VM that enters brings, and one that leaves costs.
        fee: (T + U,) what a move costs beside.
        worth: (L, L) objective of a machine by the bands of its two nodes.
        level: (M + 1,) band of a number of free units.
        slack: patterns are returned down to this much below the class's best.
        t: room to work in.
        best: (C,) written: best value of each class, at least 0.
        owner: (C L L,) written: class of each pattern.
        pattern: (C L L, 2, width) written.

    Returns:
        K, the number of patterns.
    """
    kinds, bands, found = len(single), len(worth), 0
    entering(single, price[:kinds], t.enter[0], t.last[0])
    entering(double, price[kinds:], t.enter[1], t.last[1])
    for c in range(len(free)):
        for node in (0, 1):
            leaving(
                single, price[:kinds], fee[:kinds], leave_single[c, node], t.leave[node],
                t.taken[node],
            )  # fmt: skip
            exchange(t.leave[node], t.enter[0], t.change[node], t.freed[node])
        leaving(double, price[kinds:], fee[kinds:], leave_double[c], t.leave[2], t.taken[2])
        exchange(t.leave[2], t.enter[1], t.change[2], t.freed[2])
        best[c] = combine(free[c], worth, level, t)
        for i in range(bands):
            for j in range(bands):
                if t.value[i, j] < best[c] - slack:
                    continue
                row = pattern[found]
                row[:] = 0
                for w in range(3):
                    write_vms(
                        row, w * kinds, t.chosen[i, j, w], t.freed[w], t.taken[w], t.last[w // 2],
                        double if w == 2 else single,
                    )  # fmt: skip
                owner[found] = c
                found += 1
    return found
