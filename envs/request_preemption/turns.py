"""The life of a request: arrival, the turns of its program, and its end."""

from fleetgym.envs.core.jit import inner
from fleetgym.envs.request_preemption import blocks as kv
from fleetgym.envs.request_preemption.chance import level
from fleetgym.envs.request_preemption.queues import append, join_queue, pop, remove
from fleetgym.envs.request_preemption.types import (
    ACCEPTED,
    ADMITTED,
    ARRIVAL,
    ASIDE,
    ASIDE_N,
    ASIDE_NEXT,
    BEGAN,
    BLOCKS,
    CHANGED,
    CHARGED,
    CHUNK,
    CLIENT,
    CLOCK,
    COMING,
    COMPUTED,
    COPY_END,
    DIRTY,
    E2E,
    EMPTY,
    ENTERED,
    FINISHED,
    FIRST,
    FLAG,
    GENERATED,
    GROUP,
    HIT,
    HIT_AT,
    HOST,
    LAST,
    LATE,
    LATE_SHARE,
    LEAVING,
    LISTS,
    LIVE,
    MET,
    MET_LEVEL,
    MISSED_LEVEL,
    MOVING,
    NEVER,
    NO_PIN,
    OUTPUT,
    PAUSED,
    PIN_END,
    PIN_OPEN,
    PREDICTED,
    PREEMPTED,
    PRIORITY,
    PROGRAM,
    PROGRAM_TIME,
    PROGRAMS,
    PROMPT,
    R_KV_BLOCKS,
    R_LEVELS,
    R_MARKOV,
    R_TTFT_SLO,
    REJECTED,
    ROW,
    ROW_ARRIVAL,
    ROW_CLIENT,
    ROW_HASH,
    ROW_HASHES,
    ROW_NEXT,
    ROW_OUTPUT,
    ROW_PAUSE,
    ROW_PREDICTED,
    ROW_PROGRAM,
    ROW_PROMPT,
    RUN,
    SEED,
    SERVED,
    SPARE,
    STATE,
    STRANGE,
    SWAPPED,
    TPOT,
    TPOT_N,
    TURN,
    UPDATE,
    WAITING,
    WAKE,
    Int64,
    Rules,
    World,
)


@inner
def too_large(w: World, r: Rules, b: int, row: int) -> bool:
    """Whether a row can never fit: it is rejected when it arrives."""
    tokens = w.rows[b, ROW_PROMPT, row] + w.rows[b, ROW_OUTPUT, row] - 1
    return bool(kv.blocks_of(tokens) > r.of[R_KV_BLOCKS])


@inner
def reject(w: World, b: int, row: int) -> None:
    """Counts a row that can never fit, and all turns behind it, as rejected."""
    while row >= 0:
        w.scalars[b, REJECTED] += 1
        row = w.rows[b, ROW_NEXT, row]


@inner
def look_again(registers: Int64) -> None:
    """Something has happened on an instance: its next boundary is to be looked at."""
    registers[FLAG] = registers[DIRTY] = 1


@inner
def note_aside(slots: Int64, registers: Int64) -> None:
    """Brings the time of the next event of those aside up to date."""
    soonest = NEVER
    for n in range(registers[ASIDE_N]):
        soonest = min(soonest, aside_time(slots, slots[LISTS + ASIDE, n]))
    registers[ASIDE_NEXT] = soonest


@inner
def aside_time(slots: Int64, s: int) -> int:
    """When something happens next to a request that is aside."""
    state = slots[STATE, s]
    if state in (LEAVING, COMING, MOVING):
        return int(slots[COPY_END, s])
    if state == PAUSED:
        if slots[PIN_END, s] >= 0 and slots[BLOCKS, s] > 0:
            return int(min(slots[WAKE, s], slots[PIN_END, s]))
        return int(slots[WAKE, s])
    return NEVER


@inner
def _load(w: World, r: Rules, b: int, i: int, s: int, row: int, now: int) -> None:
    """Writes a row of the workload into a slot, as a request that arrives now."""
    slots, rows = w.slots[b, i], w.rows[b]
    slots[ROW, s], slots[ARRIVAL, s], slots[CHARGED, s] = row, now, now
    slots[PROMPT, s], slots[CLIENT, s] = rows[ROW_PROMPT, row], rows[ROW_CLIENT, row]
    slots[PREDICTED, s] = rows[ROW_PREDICTED, row]
    slots[PROGRAM, s] = rows[ROW_PROGRAM, row]
    slots[GENERATED, s] = slots[LATE, s] = slots[PREEMPTED, s] = slots[ADMITTED, s] = 0
    slots[FIRST, s] = slots[LAST, s] = w.slots[b, i, WAKE, s] = -1
    slots[SERVED, s] = slots[CHUNK, s] = slots[HIT, s] = 0
    slots[PIN_END, s], slots[CHANGED, s], slots[HIT_AT, s] = NO_PIN, -1, -1
    slots[GROUP, s] = -1
    if rows[ROW_HASHES, row] > 0:
        slots[GROUP, s] = w.hashes[b, rows[ROW_HASH, row]]
    update = 0 if r.of[R_MARKOV] else w.instances[b, i, UPDATE]
    slots[PRIORITY, s] = level(w.scalars[b, SEED], row, update, r.of[R_LEVELS])
    w.slots[b, i, OUTPUT, s] = rows[ROW_OUTPUT, row]


@inner
def enter(w: World, r: Rules, b: int, i: int, row: int) -> None:
    """A first turn joins the queue of an instance that has a spare slot."""
    registers = w.instances[b, i]
    s = pop(w.slots[b, i], w.instances[b, i], SPARE)
    slots, arrival = w.slots[b, i], w.times[b, ROW_ARRIVAL, row]
    _load(w, r, b, i, s, row, arrival)
    slots[COMPUTED, s] = slots[TURN, s] = slots[STRANGE, s] = 0
    slots[STATE, s], slots[BEGAN, s] = WAITING, arrival
    w.scalars[b, ENTERED] += 1
    w.scalars[b, LIVE] += 1
    join_queue(w, b, i, s, False)
    look_again(registers)


@inner
def vacate(w: World, b: int, i: int, s: int) -> None:
    """Frees a slot whose request is on no list any more and holds nothing."""
    slots, registers = w.slots[b, i], w.instances[b, i]
    w.slots[b, i, STATE, s] = EMPTY
    append(slots, registers, SPARE, s)
    w.scalars[b, LIVE] -= 1


@inner
def finish(w: World, r: Rules, b: int, i: int, s: int, now: int) -> None:
    """A running request has emitted its last token."""
    registers = w.instances[b, i]
    slots, sums = w.slots[b, i], w.scalars[b]
    gaps = slots[GENERATED, s] - 1
    met = (
        slots[FIRST, s] - slots[ARRIVAL, s] <= r.of[R_TTFT_SLO]
        and slots[LATE, s] <= gaps // LATE_SHARE
    )
    sums[FINISHED] += 1
    sums[MET] += met
    w.levels[b, MET_LEVEL if met else MISSED_LEVEL, slots[PRIORITY, s]] += 1
    sums[E2E] += now - slots[ARRIVAL, s]
    if gaps > 0:
        sums[TPOT] += (now - slots[FIRST, s]) // gaps
        sums[TPOT_N] += 1
    remove(slots, registers, RUN, s)
    look_again(registers)
    following = w.rows[b, ROW_NEXT, slots[ROW, s]]
    if following >= 0:
        slots[STATE, s], slots[PIN_END, s] = PAUSED, PIN_OPEN
        w.slots[b, i, WAKE, s] = now + w.times[b, ROW_PAUSE, following]
        append(slots, registers, ASIDE, s)
        if len(r.ttls) == 0:
            settle_pin(w, r, b, i, s, 0)
        note_aside(slots, registers)
        return
    kv.release(w, r, b, i, s)
    kv.release_host(w, b, i, s)
    if slots[PROGRAM, s] >= 0:
        sums[PROGRAM_TIME] += now - slots[BEGAN, s]
        sums[PROGRAMS] += 1
    vacate(w, b, i, s)


@inner
def settle_pin(w: World, r: Rules, b: int, i: int, s: int, until: int) -> None:
    """Pins the blocks of a finished turn until a time; not at all where that is now."""
    slots, registers = w.slots[b, i], w.instances[b, i]
    kv.pin(w, b, i, s)
    if until > w.scalars[b, CLOCK]:
        slots[PIN_END, s] = until
    else:
        kv.drop_pin(w, r, b, i, s)
    note_aside(slots, registers)


@inner
def wake(w: World, r: Rules, b: int, i: int, s: int) -> None:
    """The next turn of a paused program arrives; it goes on from what its blocks still hold."""
    slots, registers = w.slots[b, i], w.instances[b, i]
    now = w.slots[b, i, WAKE, s]
    row = w.rows[b, ROW_NEXT, slots[ROW, s]]
    remove(slots, registers, ASIDE, s)
    look_again(registers)
    pinned = slots[BLOCKS, s] > 0
    if pinned and slots[PIN_END, s] != PIN_OPEN:
        kv.unpin(w, b, i, s)
    if too_large(w, r, b, row):
        kv.release(w, r, b, i, s)
        kv.release_host(w, b, i, s)
        reject(w, b, row)
        vacate(w, b, i, s)
        return
    w.scalars[b, ACCEPTED] += 1
    kept = min(slots[COMPUTED, s], w.rows[b, ROW_PROMPT, row] - 1)
    on_host = not pinned and slots[HOST, s] > 0
    if pinned:
        kv.shrink(w, b, i, s, kept)
        kept = slots[COMPUTED, s]
    kv.shrink_host(slots, registers, s, kept)
    on_host = on_host and kept > 0
    _load(w, r, b, i, s, row, now)
    slots[TURN, s] += 1
    slots[COMPUTED, s] = kept if pinned or on_host else 0
    slots[STATE, s] = SWAPPED if on_host else WAITING
    if slots[BLOCKS, s] > 0:
        kv.pin(w, b, i, s)
    join_queue(w, b, i, s, False)
