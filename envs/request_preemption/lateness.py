"""Times between tokens, what is late, and the histograms that quantiles come from."""

import numpy as np

from fleetgym.envs.core.jit import inner
from fleetgym.envs.request_preemption.types import (
    ARRIVAL,
    CHARGED,
    FIRST,
    INCOMING,
    LAST,
    LATE,
    LATE_TBT,
    LATE_TTFT,
    PAUSED,
    PRIORITY,
    R_TBT_SLO,
    R_TTFT_SLO,
    STATE,
    TBT,
    WAKE,
    Int64,
    Rules,
    World,
)

SMALLEST, LARGEST = 10**7, 10**17  # ps: 10 us and 10^5 s


def histogram_edges() -> Int64:
    """Edges of bins 0.1% wide, in ps: the first holds all that is less, the last all that is more.

    Made by integers alone, so that they are the same on every machine.
    """
    edges = [0, SMALLEST]
    while edges[-1] < LARGEST:
        edges.append(edges[-1] + edges[-1] // 1000)
    return np.array([*edges, 2**63 - 1], np.int64)


@inner
def bin_of(edges: Int64, value: int) -> int:
    """The bin of a histogram into which a value falls."""
    low, high = 0, len(edges) - 1
    while high - low > 1:
        middle = (low + high) // 2
        if edges[middle] <= value:
            low = middle
        else:
            high = middle
    return low


@inner
def count_late(w: World, b: int, priority: int, excess: int) -> None:
    """Adds time beyond the target between tokens."""
    w.levels[b, LATE_TBT, priority] += excess


@inner
def charge(w: World, r: Rules, b: int, i: int, s: int, now: int) -> None:
    """Charges a request for the time it is beyond its target, up to now."""
    slots = w.slots[b, i]
    state = slots[STATE, s]
    if state in (PAUSED, INCOMING) or w.slots[b, i, WAKE, s] >= 0:
        return
    started = slots[FIRST, s] >= 0
    due = slots[LAST, s] + r.of[R_TBT_SLO] if started else slots[ARRIVAL, s] + r.of[R_TTFT_SLO]
    late = now - max(due, slots[CHARGED, s])
    if late > 0:
        w.levels[b, LATE_TBT if started else LATE_TTFT, slots[PRIORITY, s]] += late
    slots[CHARGED, s] = now


@inner
def note_gap(w: World, r: Rules, b: int, i: int, s: int, now: int) -> None:
    """Counts the time since the request's last token."""
    gap = now - w.slots[b, i, LAST, s]
    w.histograms[b, TBT, bin_of(r.edges, gap)] += 1
    if gap > r.of[R_TBT_SLO]:
        w.slots[b, i, LATE, s] += 1
