"""The machine: routing seen, slots overwritten, copies queued on PCIe, on plain arrays.

Innermost functions take rows of arrays, not the world: passing a world costs more than they do.
"""

from fleetgym.envs.core.jit import folded, inner
from fleetgym.envs.expert_cache.types import (
    AGED,
    AGEING,
    ASKED,
    BUSY,
    COUNT,
    END,
    EVENT,
    EXPERT,
    FETCHED,
    FREQUENCY,
    FREQUENCY_SHIFT,
    HEAD,
    IDLE,
    LANES,
    LAST,
    LAYER,
    LENGTH,
    LOADED,
    LOG_SCORE,
    MISSED,
    MRS,
    MRS_SHIFT,
    PCIE,
    PLACE,
    READY,
    SCORE_SHIFT,
    START,
    STEP,
    SUM_HITS,
    SUM_LOADS,
    SUM_MISSES,
    SUM_PCIE,
    SUM_PREFETCHES,
    SUM_REQUESTS,
    SUM_WASTED,
    TOKENS,
    TRAIL,
    UNIT,
    WHAT,
    WHO,
    WRITTEN,
    Int16,
    Int64,
    Rules,
    World,
)


@inner
def note_routing(route: Int16, table: Int16, k_max: int, step: int) -> None:
    """Takes the routing of an event into the table of its layer.

    Args:
        route: row of `World.routes`.
        table: ``(ROWS, E)`` of the layer.
        k_max: K.
        step: of the event.
    """
    frequency, score, mrs = table[FREQUENCY], table[LOG_SCORE], table[MRS]
    count, aged, last = table[COUNT], table[AGED], table[LAST]
    logs = route[len(route) - len(score) :]
    for e in range(len(score)):
        frequency[e] -= frequency[e] >> FREQUENCY_SHIFT
        mrs[e] -= mrs[e] >> MRS_SHIFT
        score[e] += (logs[e] - score[e]) >> SCORE_SHIFT
    p_max = (len(route) - 2 * k_max - len(score)) // 2
    for i in range(2 * k_max, 2 * k_max + p_max):
        mrs[route[i]] += route[i + p_max] >> MRS_SHIFT
    if step & (AGEING - 1) == 0:
        for e in range(len(aged)):
            aged[e] >>= 1
    for k in range(k_max):
        e = route[k]
        if e < 0:
            break
        frequency[e] += UNIT >> FREQUENCY_SHIFT
        count[e] += 1
        aged[e] += 1
        last[e] = step


@inner
def remember(route: Int16, seen: Int16) -> None:
    """Shows policies the log scores of an event; ``seen``: row of `State.history`."""
    logs = route[len(route) - len(seen) :]
    for e in range(len(seen)):
        seen[e] = logs[e]


@folded
def begin_event(w: World, b: int) -> None:
    """Routes the event: its hits and misses are judged on the cache as it stands."""
    s, request = w.scalars[b], w.request[b]
    route, table = w.routes[b, s[EVENT]], w.table[b, s[LAYER]]
    idle = w.tenants[b, s[LAYER], IDLE]
    k_max, length, misses = request.shape[1], 0, 0
    note_routing(route, table, k_max, s[STEP])
    remember(route, w.history[b, s[EVENT]])
    for k in range(k_max):
        e = route[k]
        request[ASKED, k] = e
        request[TOKENS, k] = route[k_max + k]
        request[MISSED, k] = 0
        if e < 0:
            continue
        length += 1
        slot = table[PLACE, e]
        if slot < 0:
            request[MISSED, k] = 1
            misses += 1
        else:
            idle[slot] = 0
    s[LENGTH] = length
    s[SUM_REQUESTS] += length
    s[SUM_MISSES] += misses
    s[SUM_HITS] += length - misses


@inner
def note_task(trail: Int64, s: Int64, start: int, end: int, lane: int, what: int, who: int) -> None:
    """Writes a task to the trail ``(H, 4)``, over the oldest; ``s``: scalars."""
    at = s[HEAD] & (TRAIL - 1)
    trail[at, START] = start
    trail[at, END] = end
    trail[at, WHAT] = what
    trail[at, WHO] = who * LANES + lane
    s[HEAD] += 1


@inner
def queue_copy(trail: Int64, s: Int64, earliest: int, move: int, what: int, who: int) -> int:
    """Queues the copy of an expert on PCIe; returns the ns when it has arrived."""
    start = max(s[BUSY], earliest)
    s[BUSY] = start + move
    s[SUM_PCIE] += move
    note_task(trail, s, start, start + move, PCIE, what, who)
    return int(start + move)


@folded
def overwrite(
    w: World, b: int, layer: int, slot: int, expert: int, earliest: int, ahead: bool, rules: Rules
) -> None:
    """Copies an expert into a slot, whose tenant is lost; ``ahead``: before it is asked for."""
    s, table, tenants = w.scalars[b], w.table[b, layer], w.tenants[b, layer]
    table[PLACE, tenants[EXPERT, slot]] = -1
    s[SUM_WASTED] += tenants[IDLE, slot]
    tenants[EXPERT, slot] = expert
    tenants[IDLE, slot] = ahead
    table[PLACE, expert] = slot
    what = FETCHED if ahead else LOADED
    who = layer * table.shape[1] + expert
    ready = queue_copy(w.trail[b], s, earliest, rules.move, what, who)
    w.copies[b, layer, READY, slot] = ready
    w.copies[b, layer, WRITTEN, slot] = s[EVENT]
    s[SUM_PREFETCHES if ahead else SUM_LOADS] += 1
