"""Scores as actions: a priority for each slot; the longest fitting prefix of the ranking runs."""

from fleetgym.envs.core.jit import inner
from fleetgym.envs.request_preemption import blocks as kv
from fleetgym.envs.request_preemption.dynamics import go
from fleetgym.envs.request_preemption.edits import (
    admit,
    fits,
    has_seat,
    may_change,
    preempt,
    resume,
)
from fleetgym.envs.request_preemption.iteration import compose, lacking, short
from fleetgym.envs.request_preemption.types import (
    BLOCKS,
    COMPUTED,
    LISTS,
    MIXED,
    QUEUED_N,
    R_MAX_NUM_SEQS,
    R_TOKEN_BUDGET,
    RANK,
    ROW,
    RUN,
    RUNNING,
    RUNNING_N,
    SEATS,
    SEEN,
    SEEN_ROW,
    STATE,
    WAITING,
    Int64,
    Rules,
    World,
)


@inner
def apply_scores(w: World, r: Rules, b: int, i: int, scores: Int64) -> None:
    """Runs the first of the ranking that fit together, preempts the others, and goes on."""
    slots, registers = w.slots[b, i], w.instances[b, i]
    count = _rank(w, b, i, scores)
    taken = _prefix(w, r, b, i, count)
    for n in range(count - 1, taken - 1, -1):
        s = w.slots[b, i, RANK, n]
        if w.slots[b, i, STATE, s] == RUNNING:
            preempt(w, r, b, i, s, False)
    for n in range(taken):
        s = w.slots[b, i, RANK, n]
        if w.slots[b, i, STATE, s] != RUNNING:
            need, budget = compose(slots, registers, r.of[R_TOKEN_BUDGET], MIXED)
            if fits(w, r, b, i, s, need, budget):
                if w.slots[b, i, STATE, s] == WAITING:
                    admit(w, r, b, i, s)
                else:
                    resume(w, r, b, i, s)
    n = count - 1
    while short(w, r, b, i, MIXED) and n >= 0:
        s = w.slots[b, i, RANK, n]
        if w.slots[b, i, STATE, s] == RUNNING and may_change(slots, registers, s):
            preempt(w, r, b, i, s, False)
        n -= 1
    _fill(w, r, b, i, count)
    go(w, r, b, i, MIXED)


@inner
def _rank(w: World, b: int, i: int, scores: Int64) -> int:
    """Writes running and queued slots by falling score, ties in the table's order."""
    rank, registers = w.slots[b, i, RANK], w.instances[b, i]
    total = registers[RUNNING_N] + registers[QUEUED_N]
    count = 0
    for position in range(total):
        s = w.slots[b, i, SEEN, position]
        if s < 0 or w.slots[b, i, ROW, s] != w.slots[b, i, SEEN_ROW, position]:
            continue
        n = count
        while n > 0 and scores[_position(w, b, i, rank[n - 1])] < scores[position]:
            rank[n] = rank[n - 1]
            n -= 1
        rank[n] = s
        count += 1
    return count


@inner
def _position(w: World, b: int, i: int, s: int) -> int:
    n = 0
    while w.slots[b, i, SEEN, n] != s:
        n += 1
    return n


@inner
def _prefix(w: World, r: Rules, b: int, i: int, count: int) -> int:
    """How many of the ranking fit: blocks held, and those of the next chunk, within the pool."""
    slots, registers = w.slots[b, i], w.instances[b, i]
    room, seats = kv.obtainable(registers), r.of[R_MAX_NUM_SEQS] - registers[SEATS]
    for n in range(registers[RUNNING_N]):
        room += slots[BLOCKS, slots[LISTS + RUN, n]]
    for n in range(count):
        s = w.slots[b, i, RANK, n]
        chunk = min(lacking(slots, s), r.of[R_TOKEN_BUDGET])
        room -= max(slots[BLOCKS, s], kv.blocks_of(slots[COMPUTED, s] + chunk))
        if room < 0 or n >= seats:
            return n
    return count


@inner
def _fill(w: World, r: Rules, b: int, i: int, count: int) -> None:
    """Nothing would run though something fits: the first of the ranking that does is admitted."""
    slots, registers = w.slots[b, i], w.instances[b, i]
    if w.instances[b, i, RUNNING_N] > 0 or not has_seat(registers, r.of[R_MAX_NUM_SEQS]):
        return
    for n in range(count):
        s = w.slots[b, i, RANK, n]
        need, budget = compose(slots, registers, r.of[R_TOKEN_BUDGET], MIXED)
        if w.slots[b, i, STATE, s] != RUNNING and fits(w, r, b, i, s, need, budget):
            if w.slots[b, i, STATE, s] == WAITING:
                admit(w, r, b, i, s)
            else:
                resume(w, r, b, i, s)
            return
