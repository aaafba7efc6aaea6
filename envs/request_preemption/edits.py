"""The edits of a running set: admit, resume, preempt; and the copies they cause."""

from fleetgym.envs.core.jit import inner
from fleetgym.envs.request_preemption import blocks as kv
from fleetgym.envs.request_preemption.iteration import lacking
from fleetgym.envs.request_preemption.queues import append, join_queue, leave_queue, remove
from fleetgym.envs.request_preemption.turns import look_again, note_aside
from fleetgym.envs.request_preemption.types import (
    ADMITTED,
    ASIDE,
    BLOCK,
    BLOCKS,
    CHANGED,
    CHEAPEST,
    CHUNK,
    CLIENT,
    CLOCK,
    COMING,
    COMPUTED,
    COPIES,
    COPY_END,
    FAIR,
    HIT,
    HIT_AT,
    HIT_TOKENS,
    HOST,
    HOST_FREE,
    IN_FREE,
    INPUT_WEIGHT,
    INSTANT,
    LEAVING,
    LISTS,
    NO_PIN,
    OUT_FREE,
    PAUSED,
    PIN_END,
    PREEMPTED,
    PREEMPTED_NOW,
    PREEMPTIONS,
    PROMPT,
    R_A0,
    R_A1,
    R_A2,
    R_COPY_BLOCK,
    R_COPY_FIXED,
    R_GROUP_BLOCKS,
    R_MAX_NUM_SEQS,
    R_OVERLAPPED,
    R_PREEMPTION,
    R_REUSE,
    R_TOKEN_BUDGET,
    RECOMPUTED,
    RUN,
    RUNNING,
    RUNNING_N,
    SEATS,
    SERVICE,
    STALL_END,
    STATE,
    STRANGE,
    SWAP,
    SWAPPED,
    SWAPPED_BLOCKS,
    VALID,
    WAITING,
    WAKE,
    Int64,
    Rules,
    World,
)


@inner
def may_change(slots: Int64, registers: Int64, s: int) -> bool:
    """Whether the request has not changed state in this instant."""
    return bool(slots[CHANGED, s] != registers[INSTANT])


@inner
def has_seat(registers: Int64, most: int) -> bool:
    """Whether one more request may run."""
    return bool(registers[RUNNING_N] + registers[SEATS] < most)


@inner
def begins(slots: Int64, s: int) -> bool:
    """Whether a request would begin with nothing, unless the cache holds its prefix."""
    return bool(slots[STATE, s] == WAITING and slots[BLOCKS, s] == 0)


@inner
def begins_within(slots: Int64, s: int, room: int, budget: int) -> bool:
    """Whether the first chunk of a request that begins with nothing fits into ``room`` blocks."""
    return kv.blocks_of(min(lacking(slots, s), budget)) <= room


@inner
def fits(w: World, r: Rules, b: int, i: int, s: int, need: int, budget: int) -> bool:
    """Whether a request of the queue may join those running.

    These need ``need`` blocks in a mixed iteration, and leave ``budget`` tokens of it.
    """
    slots, registers = w.slots[b, i], w.instances[b, i]
    if not has_seat(registers, r.of[R_MAX_NUM_SEQS]) or not may_change(slots, registers, s):
        return False
    if begins(slots, s) and not kv.caches(w, r, b):
        return begins_within(slots, s, kv.room(registers) - need, budget)
    k, held, lack = slots[COMPUTED, s], slots[BLOCKS, s], lacking(slots, s)
    if held == 0 and slots[STATE, s] == WAITING and kv.caches(w, r, b):
        kv.look_up(w, b, i, s)
        k, held = kv.after_hit(w, b, i, s)
        lack -= k
    more = max(0, kv.blocks_of(k + min(lack, budget)) - held)
    return bool(need + more <= kv.admissible(w, r, b, i, s))


@inner
def admit(w: World, r: Rules, b: int, i: int, s: int) -> None:
    """A waiting request joins those running."""
    slots = w.slots[b, i]
    leave_queue(w, b, i, s)
    if slots[BLOCKS, s] > 0:
        kv.unpin(w, b, i, s)
    elif slots[HIT, s] > 0:
        kv.share(w, b, i, s)
        w.scalars[b, HIT_TOKENS] += slots[COMPUTED, s]
    slots[PIN_END, s] = NO_PIN
    slots[CHANGED, s] = w.instances[b, i, INSTANT]
    _serve(w, b, i, s)
    run(w, b, i, s)


@inner
def _serve(w: World, b: int, i: int, s: int) -> None:
    """Counts a prompt as service of its client, when the request first runs."""
    slots = w.slots[b, i]
    if slots[ADMITTED, s] == 0:
        slots[ADMITTED, s] = 1
        w.clients[b, FAIR, slots[CLIENT, s]] += INPUT_WEIGHT * slots[PROMPT, s]
        w.clients[b, SERVICE, slots[CLIENT, s]] += INPUT_WEIGHT * slots[PROMPT, s]


@inner
def run(w: World, b: int, i: int, s: int) -> None:
    """Puts a request, on no list now, at the tail of those running."""
    slots, registers = w.slots[b, i], w.instances[b, i]
    w.slots[b, i, STATE, s], w.slots[b, i, CHUNK, s] = RUNNING, 0
    append(slots, registers, RUN, s)


@inner
def resume(w: World, r: Rules, b: int, i: int, s: int) -> None:
    """A swapped request comes back from the host."""
    slots, registers = w.slots[b, i], w.instances[b, i]
    leave_queue(w, b, i, s)
    _serve(w, b, i, s)
    blocks = kv.blocks_of(slots[COMPUTED, s])
    kv.take(w, r, b, i, s, blocks)
    slots[STRANGE, s], slots[CHANGED, s] = 1, registers[INSTANT]
    end = begin_copy(w, r, b, i, IN_FREE, blocks)
    if r.of[R_OVERLAPPED]:
        append(slots, registers, ASIDE, s)
        _fly(slots, registers, s, COMING, end)
        registers[SEATS] += 1
    else:
        if not r.of[R_REUSE]:
            kv.release_host(w, b, i, s)
        run(w, b, i, s)


@inner
def _fly(slots: Int64, registers: Int64, s: int, state: int, end: int) -> None:
    """A request aside waits for its copy."""
    slots[STATE, s], slots[COPY_END, s] = state, end
    registers[COPIES] += 1
    note_aside(slots, registers)


@inner
def copy_time(r: Rules, blocks: int) -> int:
    """Picoseconds of a copy between GPU and host: dispatches of its groups, then bytes."""
    groups = (blocks + r.of[R_GROUP_BLOCKS] - 1) // r.of[R_GROUP_BLOCKS]
    return int(groups * r.of[R_COPY_FIXED] + blocks * r.of[R_COPY_BLOCK])


@inner
def begin_copy(w: World, r: Rules, b: int, i: int, channel: int, blocks: int) -> int:
    """Queues a copy on a channel (overlapped), or holds the engine up for it; returns its end."""
    registers = w.instances[b, i]
    register = channel if r.of[R_OVERLAPPED] else STALL_END
    w.scalars[b, SWAPPED_BLOCKS] += blocks
    registers[register] = max(registers[register], w.scalars[b, CLOCK]) + copy_time(r, blocks)
    return int(registers[register])


@inner
def _swaps(w: World, r: Rules, b: int, i: int, s: int, chosen: bool) -> bool:
    """Whether a preempted request goes to the host: it is wished, and there is room."""
    k = w.slots[b, i, COMPUTED, s]
    wished = chosen or r.of[R_PREEMPTION] == SWAP
    if r.of[R_PREEMPTION] == CHEAPEST:
        again = (
            r.first[min(k, r.of[R_TOKEN_BUDGET])] + r.of[R_A0] + r.of[R_A1] * k + r.of[R_A2] * k * k
        )
        wished = 2 * copy_time(r, kv.blocks_of(k)) < again
    return wished and k > 0 and _host_room(w, r, b, i, s, kv.blocks_of(k))


@inner
def _host_room(w: World, r: Rules, b: int, i: int, s: int, blocks: int) -> bool:
    """Makes room on the host, at the cost of the copies of running requests; says if there is."""
    slots, registers = w.slots[b, i], w.instances[b, i]
    lack = blocks - slots[HOST, s] - registers[HOST_FREE]
    if lack <= 0:
        return True
    droppable = 0
    for n in range(registers[RUNNING_N]):
        other = slots[LISTS + RUN, n]
        droppable += slots[HOST, other] if other != s else 0
    if lack > droppable:
        return False
    for n in range(registers[RUNNING_N]):
        other = slots[LISTS + RUN, n]
        if other != s and blocks - slots[HOST, s] > registers[HOST_FREE]:
            kv.release_host(w, b, i, other)
    return True


@inner
def preempt(w: World, r: Rules, b: int, i: int, s: int, to_host: bool) -> None:
    """A running request must wait: its blocks go to the host, or are dropped."""
    slots, registers = w.slots[b, i], w.instances[b, i]
    swapped = _swaps(w, r, b, i, s, to_host)
    remove(slots, registers, RUN, s)
    slots[PREEMPTED, s] += 1
    slots[CHANGED, s] = registers[INSTANT]
    registers[PREEMPTED_NOW] += 1
    w.scalars[b, PREEMPTIONS] += 1
    if swapped:
        append(slots, registers, ASIDE, s)
        to_the_host(w, r, b, i, s)
        return
    w.scalars[b, RECOMPUTED] += slots[COMPUTED, s]
    kv.release(w, r, b, i, s)
    kv.release_host(w, b, i, s)
    slots[COMPUTED, s], slots[STATE, s], slots[HIT_AT, s] = 0, WAITING, -1
    join_queue(w, b, i, s, True)


@inner
def to_the_host(w: World, r: Rules, b: int, i: int, s: int) -> None:
    """Copies the blocks of a request aside to the host, where there is room."""
    slots, registers = w.slots[b, i], w.instances[b, i]
    blocks = kv.blocks_of(slots[COMPUTED, s])
    end = begin_copy(w, r, b, i, OUT_FREE, blocks - slots[VALID, s])
    registers[HOST_FREE] -= blocks - slots[HOST, s]
    slots[HOST, s], slots[VALID, s] = blocks, slots[COMPUTED, s] // BLOCK
    if r.of[R_OVERLAPPED] and end > w.scalars[b, CLOCK]:
        _fly(slots, registers, s, LEAVING, end)
    else:  # the engine stands still, or the host has it all
        _arrived_on_host(w, r, b, i, s)


@inner
def _arrived_on_host(w: World, r: Rules, b: int, i: int, s: int) -> None:
    """A request aside has left the GPU; a paused one goes on waiting for its turn."""
    slots, registers = w.slots[b, i], w.instances[b, i]
    kv.release(w, r, b, i, s)
    if slots[WAKE, s] < 0:
        remove(slots, registers, ASIDE, s)
        slots[STATE, s] = SWAPPED
        join_queue(w, b, i, s, True)
    else:
        slots[STATE, s] = PAUSED
    note_aside(slots, registers)


@inner
def end_copy(w: World, r: Rules, b: int, i: int, s: int) -> None:
    """The copy of a request that is leaving or coming has ended."""
    slots, registers = w.slots[b, i], w.instances[b, i]
    registers[COPIES] -= 1
    look_again(registers)
    if slots[STATE, s] == LEAVING:
        _arrived_on_host(w, r, b, i, s)
    else:
        remove(slots, registers, ASIDE, s)
        registers[SEATS] -= 1
        if not r.of[R_REUSE]:
            kv.release_host(w, b, i, s)
        run(w, b, i, s)
