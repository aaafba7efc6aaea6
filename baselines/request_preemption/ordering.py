"""Three schedulers that are given an order of requests, and differ in who must give way.

A rule first writes the key of every request into its world's memory (`set_key`): a level, within it
an order, and the output expected. The least comes first, the earliest in the queue among equals.
(Numbers, not a function handed over: Numba does not keep code that takes a function.)
"""

from fleetgym.baselines.request_preemption.common import (
    MAX_NUM_SEQS,
    TOKEN_BUDGET,
    blocks_to_come,
    first_legal,
    fits_in_full,
    go,
    is_before,
    is_short,
    leaving_blocks,
    level_of,
    may_start,
    preempt_last,
    promised_blocks,
    queued_slot,
    room,
    running_slot,
    start,
)
from fleetgym.envs.core.jit import inner
from fleetgym.envs.request_preemption.blocks import blocks_of
from fleetgym.envs.request_preemption.types import (
    BLOCKS,
    CHANGED,
    FOCUS,
    GENERATED,
    INSTANT,
    KIND,
    MIXED,
    MODES,
    PREEMPTED_NOW,
    PROMPT,
    QUEUED_N,
    RUNNING_N,
    SCHEDULE,
    SEATS,
    Float64,
    State,
)


@inner
def best_queued(state: State, b: int, i: int, memory: Float64) -> int:
    """Where in the queue the first in order is, or -1."""
    best = -1
    for n in range(state.instances[b, i, QUEUED_N]):
        if best < 0 or is_before(
            memory, queued_slot(state, b, i, n), queued_slot(state, b, i, best)
        ):
            best = n
    return best


@inner
def worst_running(state: State, b: int, i: int, memory: Float64) -> int:
    """Where the last in order is of those running and free to change, or -1."""
    worst = -1
    for n in range(state.instances[b, i, RUNNING_N]):
        if state.mask[b, MODES + n] == 1 and (
            worst < 0
            or not is_before(memory, running_slot(state, b, i, n), running_slot(state, b, i, worst))
        ):
            worst = n
    return worst


@inner
def until_done(
    state: State,
    b: int,
    parameters: Float64,
    memory: Float64,
    reserve: int,
) -> int:
    """Starts requests in order while each fits in full; they run until they are done.

    Those running are promised the rest of what they are expected to need, ``reserve`` blocks each
    at least. Where that was too little, the request admitted last is preempted.
    """
    i = state.scalars[b, FOCUS]
    registers = state.instances[b, i]
    if state.scalars[b, KIND] != SCHEDULE:
        return first_legal(state, b)
    if is_short(state, b, i):
        return preempt_last(state, b, i)
    n = best_queued(state, b, i, memory)
    if n >= 0 and registers[PREEMPTED_NOW] == 0:
        alone = registers[RUNNING_N] + registers[SEATS] == 0
        s = queued_slot(state, b, i, n)
        if may_start(state, b, i, n, int(parameters[TOKEN_BUDGET])) and (
            alone or fits_in_full(state, b, i, s, memory, reserve)
        ):
            return start(state, b, i, n)
    return go(state, b, MIXED)


@inner
def fitting(
    state: State,
    b: int,
    parameters: Float64,
    memory: Float64,
    reserve: int,
    advantage: float,
) -> int:
    """Starts requests in order while each fits in full; far worse ones give way.

    A running request gives way to a queued one if its level is more than ``advantage`` times as
    large, and if enough can be freed that way: the worst first. So does the worst where blocks are
    short. What is promised is as in `until_done`.
    """
    i = state.scalars[b, FOCUS]
    registers = state.instances[b, i]
    if state.scalars[b, KIND] != SCHEDULE:
        return first_legal(state, b)
    worst = worst_running(state, b, i, memory)
    if is_short(state, b, i):
        return MODES + worst if worst >= 0 else first_legal(state, b)
    n = best_queued(state, b, i, memory)
    if n < 0 or has_changed(state, b, i, queued_slot(state, b, i, n)):
        return go(state, b, MIXED)
    s, alone = queued_slot(state, b, i, n), registers[RUNNING_N] + registers[SEATS] == 0
    if may_start(state, b, i, n, int(parameters[TOKEN_BUDGET])) and (
        alone or fits_in_full(state, b, i, s, memory, reserve)
    ):
        return start(state, b, i, n)
    limit = advantage * level_of(memory, s)
    if worst >= 0 and _can_make_room(state, b, i, s, memory, reserve, limit):
        return MODES + worst
    return go(state, b, MIXED)


@inner
def _can_make_room(
    state: State,
    b: int,
    i: int,
    s: int,
    memory: Float64,
    reserve: int,
    limit: float,
) -> bool:
    """Whether a queued request does not fit in full, and levels above the limit can change that."""
    slots = state.slots[b, i]
    more = blocks_to_come(slots, s, memory)
    more += promised_blocks(state, b, i, memory, reserve)
    soon = room(state.instances[b, i]) + leaving_blocks(state, b, i)
    lacks, some = more > soon, False
    for n in range(state.instances[b, i, RUNNING_N]):
        other = running_slot(state, b, i, n)
        if state.mask[b, MODES + n] == 1 and level_of(memory, other) > limit:
            soon += slots[BLOCKS, other]
            more -= max(reserve, blocks_to_come(slots, other, memory))
            some = True
    return lacks and some and more <= soon


@inner
def has_changed(state: State, b: int, i: int, s: int) -> bool:
    """Whether a request has changed state in this instant: it gave way itself."""
    return bool(state.slots[b, i, CHANGED, s] == state.instances[b, i, INSTANT])


@inner
def context_blocks(state: State, b: int, i: int, s: int) -> int:
    """Blocks that a queued request needs beside its own to emit its next token."""
    slots = state.slots[b, i]
    return int(max(0, blocks_of(slots[PROMPT, s] + slots[GENERATED, s]) - slots[BLOCKS, s]))


@inner
def preempting(state: State, b: int, parameters: Float64, memory: Float64, headroom: int) -> int:
    """Those first in order run: a running request gives way to a queued one of a better level.

    Whoever starts finds room for the tokens it has, and ``headroom`` blocks for each request that
    runs. Only where enough can be freed from worse levels is anything preempted, the worst first.
    """
    i = state.scalars[b, FOCUS]
    registers = state.instances[b, i]
    if state.scalars[b, KIND] != SCHEDULE:
        return first_legal(state, b)
    worst = worst_running(state, b, i, memory)
    if is_short(state, b, i):
        return MODES + worst if worst >= 0 else first_legal(state, b)
    n = best_queued(state, b, i, memory)
    if n < 0:
        return go(state, b, MIXED)
    s = queued_slot(state, b, i, n)
    if has_changed(state, b, i, s):
        return go(state, b, MIXED)
    more = context_blocks(state, b, i, s) + headroom * registers[RUNNING_N]
    if more <= room(registers) and may_start(state, b, i, n, int(parameters[TOKEN_BUDGET])):
        return start(state, b, i, n)
    if worst >= 0 and _should_yield(state, b, i, s, more, parameters, memory):
        return MODES + worst
    return go(state, b, MIXED)


@inner
def _should_yield(
    state: State, b: int, i: int, s: int, more: int, parameters: Float64, memory: Float64
) -> bool:
    """Whether preempting worse levels gives a queued request the blocks or the seat it lacks."""
    registers = state.instances[b, i]
    seats = int(parameters[MAX_NUM_SEQS]) - registers[RUNNING_N] - registers[SEATS]
    soon = room(registers) + leaving_blocks(state, b, i)
    if seats > 0 and more <= soon:
        return False
    worse = False
    for n in range(registers[RUNNING_N]):
        other = running_slot(state, b, i, n)
        if state.mask[b, MODES + n] == 1 and level_of(memory, other) > level_of(memory, s):
            soon += state.slots[b, i, BLOCKS, other]
            worse = True
    return worse and more <= soon
