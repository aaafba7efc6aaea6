"""Observations: what a network sees, every number from 0 to 1."""

from fleetgym.envs.core.jit import inner
from fleetgym.envs.request_preemption import blocks as kv
from fleetgym.envs.request_preemption.edits import begins, may_change
from fleetgym.envs.request_preemption.iteration import (
    compose,
    decodes,
    duration,
    lacking,
    squares_of,
)
from fleetgym.envs.request_preemption.queues import table_length, table_slot
from fleetgym.envs.request_preemption.types import (
    ARRIVAL,
    ARRIVED,
    BASE,
    BLOCKS,
    BUSY,
    CHUNK,
    CLIENT,
    CLOCK,
    COMPUTED,
    COPIES,
    DISPATCH,
    ENTERED,
    EVICTABLE,
    FAIR,
    FIRST,
    FIRSTS,
    FOCUS,
    FREE,
    GENERATED,
    HOST_FREE,
    KIND,
    LAST,
    LATE,
    LATE_SHARE,
    LEAVING,
    LISTS,
    MIXED,
    MODE,
    MOVED_SLOT,
    PIN,
    PINNED,
    PREDICTED,
    PREEMPTED,
    PRIORITY,
    PROMPT,
    QUEUE,
    QUEUED,
    QUEUED_N,
    R_CPU_BLOCKS,
    R_KV_BLOCKS,
    R_LEVELS,
    R_MAX_NUM_SEQS,
    R_TBT_SLO,
    R_TOKEN_BUDGET,
    R_TTFT_SLO,
    REBALANCE,
    RUN,
    RUNNING,
    RUNNING_N,
    SCHEDULE,
    SERVED,
    STATE,
    SWAPPED,
    TURN,
    WAITING,
    WAKE,
    Float32,
    Int64,
    Rules,
    Shown,
    World,
)

REQUEST_FEATURES = (
    "present",
    "running",
    "waiting",
    "swapped",
    "aside",
    "may_change",  # 1 where it has not changed state in this instant
    "prompt",  # tokens, squashed at 1024
    "computed",  # tokens, squashed at 1024
    "generated",  # tokens, squashed at 256
    "lacking",  # tokens to the next emission, squashed at 512
    "blocks",  # held, / kv_blocks
    "blocks_next",  # that it takes until its next token, / kv_blocks
    "predicted_left",  # output tokens, squashed at 256; 0 without predictions
    "blocks_full",  # that it takes in the end if the prediction holds, / kv_blocks
    "age",  # since arrival, squashed at the TTFT target
    "slack",  # left of the target that counts now: 1/2 is none, 0 a whole target too late
    "too_late",  # 1 where it cannot meet its targets any more, if the prediction holds
    "late_gaps",  # late gaps, / those allowed and one
    "started",  # 1 once it has emitted a token
    "priority",  # level / levels
    "deficit",  # service the client is ahead of the one served least, squashed at 4096
    "served",  # tokens computed so far, squashed at 1024
    "preempted",  # times, squashed at 2
    "hit",  # cached share of its prompt
    "turn",  # squashed at 4
    "queue_place",  # place in the queue, squashed at 16
    "late_left",  # late gaps that it may yet have, squashed at 1
    "stall",  # of one queued: the next iteration with it, / twice the TBT target, at most 1
)
INSTANCE_FEATURES = (
    "free",  # blocks / kv_blocks
    "evictable",
    "pinned",
    "host_free",  # / cpu_blocks
    "running",  # / max_num_seqs
    "queued",  # squashed at 16
    "queued_blocks",  # of those waiting, until their next token, squashed at kv_blocks
    "running_blocks",  # that those running take in the end as predicted, / kv_blocks, at most 1
    "iteration",  # duration of the last, squashed at the TBT target
    "copies",  # under way, squashed at 4
    "moving",  # 1 while a request migrates from here
    "decode_first",
    "prefill_first",
    "stall",  # the next iteration as things stand, / twice the TBT target, at most 1
)
ARRIVAL_FEATURES = (
    "present",
    "prompt",  # tokens, squashed at 1024
    "predicted",  # tokens, squashed at 256
    "deficit",  # as of requests
)
WORLD_FEATURES = (
    "arrived",  # share of the first turns
    "outside",  # requests that found no slot, squashed at 16
    "schedule",  # 1 for the kind of decision asked for
    "pin",
    "dispatch",
    "rebalance",
)


@inner
def squash(value: float, half: float) -> float:
    """From 0 to 1: a half at ``half``."""
    return value / (value + half) if value > 0 else 0.0


@inner
def observe(w: World, r: Rules, v: Shown, b: int) -> None:
    """Writes the observation of a world."""
    count, shown = w.instances.shape[1], v.requests.shape[1]
    focus = w.scalars[b, FOCUS]
    least = _least_served(w, b)
    if shown == count:
        for i in range(count):
            _requests(w, r, b, i, v.requests[b, i], least)
    else:
        _requests(w, r, b, focus, v.requests[b, 0], least)
    kind = w.scalars[b, KIND]
    for i in range(count):
        _instance(w, r, v, b, i)
        v.focus[b, i] = kind in (SCHEDULE, PIN) and i == focus
    _arrival(w, v, b, least)
    world = v.world[b]
    arrived, firsts = w.scalars[b, ARRIVED], max(1, w.scalars[b, FIRSTS])
    world[0] = arrived / firsts
    world[1] = squash(arrived - w.scalars[b, ENTERED], 16.0)
    world[2], world[3] = kind == SCHEDULE, kind == PIN
    world[4], world[5] = kind == DISPATCH, kind == REBALANCE


@inner
def _least_served(w: World, b: int) -> int:
    """The least fair counter of clients that have requests waiting."""
    least, anybody = 0, False
    for client in range(w.clients.shape[2]):
        if w.clients[b, QUEUED, client] > 0:
            counter = w.clients[b, FAIR, client]
            least = counter if not anybody else min(least, counter)
            anybody = True
    return least


@inner
def observe_edit(w: World, r: Rules, v: Shown, b: int, before: int, s: int) -> None:
    """Brings an observation up to date after one edit of a running set, in the same instant.

    The request in slot ``s`` stood at place ``before`` of the table; of the others, only what
    compares them has changed. Where more may have (prefix cache, pins, clients), all is written.
    """
    i, count = w.scalars[b, FOCUS], w.instances.shape[1]
    slots, registers = w.slots[b, i], w.instances[b, i]
    out = v.requests[b, i if v.requests.shape[1] == count else 0]
    length, after = table_length(registers), 0
    while after < length and table_slot(slots, registers, after) != s:
        after += 1
    if after == length or w.clients.shape[2] > 1 or len(r.ttls) > 0 or kv.caches(w, r, b):
        observe(w, r, v, b)
        return
    step = 1 if after > before else -1
    for n in range(before, after, step):
        for feature in range(out.shape[1]):
            out[n, feature] = out[n + step, feature]
    _request(r, slots, s, out[after], w.scalars[b, CLOCK])
    plan, left = _plan(r, slots, registers)
    ahead = squash(w.clients[b, FAIR, 0] - _least_served(w, b), 4096.0)
    for n in range(length):
        _among(r, slots, registers, n, plan, left, out[n])
        out[n, 20] = ahead
    _instance(w, r, v, b, i)


@inner
def _requests(w: World, r: Rules, b: int, i: int, out: Float32, least: int) -> None:
    slots, registers, now = w.slots[b, i], w.instances[b, i], w.scalars[b, CLOCK]
    length, fair, caches = table_length(registers), w.clients[b, FAIR], kv.caches(w, r, b)
    plan, left = _plan(r, slots, registers)
    for n in range(out.shape[0]):
        row = out[n]
        if n < length:
            s = table_slot(slots, registers, n)
            _request(r, slots, s, row, now)
            row[20] = squash(fair[slots[CLIENT, s]] - least, 4096.0)
            row[23] = 0.0
            if caches and begins(slots, s):
                kv.look_up(w, b, i, s)
                row[23] = min(1.0, kv.after_hit(w, b, i, s)[0] / slots[PROMPT, s])
            _among(r, slots, registers, n, plan, left, row)
        elif row[0] == 0:
            break
        else:
            row[:] = 0


@inner
def _among(
    r: Rules,
    slots: Int64,
    registers: Int64,
    n: int,
    plan: tuple[int, int, int, int, int],
    left: int,
    row: Float32,
) -> None:
    """What the n-th row of the table shows that depends on the other requests and their edits."""
    s = table_slot(slots, registers, n)
    row[5] = slots[STATE, s] < LEAVING and may_change(slots, registers, s)
    row[25] = row[27] = 0.0
    if row[2] + row[3] > 0:
        row[25] = squash(n - registers[RUNNING_N] + 1.0, 16.0)
        if row[9] > 0:
            chunk = min(left, lacking(slots, s))
            row[27] = _stall(r, plan, chunk, squares_of(slots[COMPUTED, s], chunk))


@inner
def _plan(r: Rules, slots: Int64, registers: Int64) -> tuple[tuple[int, int, int, int, int], int]:
    """What the next mixed iteration holds, as `duration` takes it, and the token budget left.

    While one is under way, the next is not known: no budget is left of it.
    """
    tokens = prompt = squares = batch = context = left = 0
    if not registers[BUSY]:
        _, left = compose(slots, registers, r.of[R_TOKEN_BUDGET], MIXED)
        for n in range(registers[RUNNING_N]):
            s = slots[LISTS + RUN, n]
            c, k = slots[CHUNK, s], slots[COMPUTED, s]
            tokens += c
            if decodes(slots, s):
                batch += c
                context += c * (k + 1)
            else:
                prompt += c
                squares += squares_of(k, c)
    return (tokens, prompt, squares, batch, context), left


@inner
def _stall(r: Rules, plan: tuple[int, int, int, int, int], chunk: int, squares: int) -> float:
    """How long the next iteration takes with a chunk more, as it is shown."""
    tokens, prompt, before, batch, context = plan
    if tokens + chunk == 0:
        return 0.0
    time = duration(r, tokens + chunk, prompt + chunk, before + squares, batch, context)
    return float(min(1.0, time / (2.0 * r.of[R_TBT_SLO])))


@inner
def _request(r: Rules, slots: Int64, s: int, row: Float32, now: int) -> None:
    """What a row shows of a request alone."""
    of_pool, ttft, tbt = 1.0 / r.of[R_KV_BLOCKS], r.of[R_TTFT_SLO], r.of[R_TBT_SLO]
    state, lack = slots[STATE, s], lacking(slots, s)
    k, g, p, held = slots[COMPUTED, s], slots[GENERATED, s], slots[PROMPT, s], slots[BLOCKS, s]
    paused = slots[WAKE, s] >= 0
    row[0], row[1], row[2] = 1, state == RUNNING, state == WAITING
    row[3], row[4] = state == SWAPPED, state >= LEAVING
    row[6], row[7] = squash(p, 1024.0), squash(k, 1024.0)
    row[8], row[9] = squash(g, 256.0), 0.0 if paused else squash(lack, 512.0)
    row[10] = held * of_pool
    row[11] = 0.0 if paused else min(1.0, max(0, kv.blocks_of(k + lack) - held) * of_pool)
    left = max(1, slots[PREDICTED, s] - g) if slots[PREDICTED, s] > 0 and not paused else 0
    row[12] = squash(left, 256.0)
    row[13] = min(1.0, kv.blocks_of(p + g + max(0, left - 1)) * of_pool)
    started = slots[FIRST, s] >= 0
    row[14] = squash(now - slots[ARRIVAL, s], float(ttft))
    target = float(tbt if started else ttft)
    due = (slots[LAST, s] if started else slots[ARRIVAL, s]) + target
    row[15] = min(1.0, max(0.0, 0.5 + 0.5 * (due - now) / target))
    first = slots[FIRST, s] if started else now
    allowed, late = max(slots[PREDICTED, s], g) // LATE_SHARE, slots[LATE, s]
    row[16] = first - slots[ARRIVAL, s] > ttft or late > allowed
    row[17] = min(1.0, late / (allowed + 1.0))
    row[18] = started
    row[19] = slots[PRIORITY, s] / r.of[R_LEVELS]
    row[21], row[22] = squash(slots[SERVED, s], 1024.0), squash(slots[PREEMPTED, s], 2.0)
    row[24] = squash(slots[TURN, s], 4.0)
    row[26] = squash(allowed - late, 1.0)


@inner
def _instance(w: World, r: Rules, v: Shown, b: int, i: int) -> None:
    out, registers, slots = v.instances[b, i], w.instances[b, i], w.slots[b, i]
    pool, waiting, final = float(r.of[R_KV_BLOCKS]), 0, 0
    for n in range(registers[QUEUED_N]):
        s = slots[LISTS + QUEUE, n]
        waiting += kv.blocks_of(slots[COMPUTED, s] + lacking(slots, s)) - slots[BLOCKS, s]
    for n in range(registers[RUNNING_N]):
        s = slots[LISTS + RUN, n]
        tokens = max(slots[GENERATED, s], slots[PREDICTED, s] - 1)
        final += kv.blocks_of(slots[PROMPT, s] + tokens)
    out[0], out[1] = registers[FREE] / pool, registers[EVICTABLE] / pool
    out[2] = registers[PINNED] / pool
    out[3] = registers[HOST_FREE] / r.of[R_CPU_BLOCKS] if r.of[R_CPU_BLOCKS] > 0 else 0.0
    out[4] = min(1.0, registers[RUNNING_N] / r.of[R_MAX_NUM_SEQS])
    out[5] = squash(registers[QUEUED_N], 16.0)
    out[6] = squash(waiting, pool)
    out[7] = min(1.0, final / pool)
    out[8] = squash(registers[BASE], float(r.of[R_TBT_SLO]))
    out[9] = squash(registers[COPIES], 4.0)
    out[10] = registers[MOVED_SLOT] >= 0
    out[11], out[12] = registers[MODE] == 1, registers[MODE] == 2
    out[13] = _stall(r, _plan(r, slots, registers)[0], 0, 0)


@inner
def _arrival(w: World, v: Shown, b: int, least: int) -> None:
    out, inbox = v.arrival[b], v.inbox[b]
    out[:] = 0
    if inbox[0] >= 0:
        out[0] = 1
        out[1], out[2] = squash(inbox[1], 1024.0), squash(inbox[2], 256.0)
        out[3] = squash(w.clients[b, FAIR, inbox[3]] - least, 4096.0)
