"""The strongest cheap rule we know where a full chunk of prompts makes everyone's token late.

Requests are ordered as by `slo_fit`: those that can still meet their targets first, the smallest
first, then the lost in order of arrival; each is admitted if it fits in full. Beside that, prompts
are paced. Those begun together never hold more tokens than an iteration computes in time, so that
they cost those decoding nothing. A prompt larger than that makes late gaps for all: it waits while
these would lose more requests than it is worth, which is one if it can be saved itself and none if
it is lost. (Runs with a wide range of other prices, with prices that grow as a prompt waits, and
with small answers held back while a large prompt waits, were no better on training windows.)
"""

from fleetgym.baselines.request_preemption.common import (
    OWN,
    TIMELY_TOKENS,
    TOKEN_BUDGET,
    blocks_to_come,
    expected_output,
    first_legal,
    go,
    is_before,
    is_short,
    promised_blocks,
    queued_slot,
    room,
    running_slot,
    start,
    tokens_left,
)
from fleetgym.baselines.request_preemption.ordering import worst_running
from fleetgym.baselines.request_preemption.slo_fit import is_lost, rank
from fleetgym.envs.core.jit import inner, kernel
from fleetgym.envs.request_preemption.iteration import decodes, lacking
from fleetgym.envs.request_preemption.types import (
    CLOCK,
    DECODE_FIRST,
    FOCUS,
    GENERATED,
    KIND,
    LATE,
    LATE_SHARE,
    MODES,
    PREEMPTED_NOW,
    QUEUED_N,
    RUNNING_N,
    SCHEDULE,
    SEATS,
    Float64,
    State,
)

GUESS, RESERVE = OWN, OWN + 1
PARAMETERS = (
    60.0,  # tokens of output where nobody predicts, as `slo_fit`
    2.0,  # blocks kept for each request that runs, likewise
)
WORTH = 1  # requests that one to be saved may cost
COUNTED = 4  # late gaps of one prompt that are told apart


@inner
def _prompt_tokens(state: State, b: int, i: int) -> int:
    """Tokens that prompts begun have yet to compute."""
    slots, total = state.slots[b, i], 0
    for n in range(state.instances[b, i, RUNNING_N]):
        s = running_slot(state, b, i, n)
        if not decodes(slots, s):
            total += lacking(slots, s)
    return total


@inner
def frail(state: State, b: int, i: int, gaps: int, parameters: Float64) -> int:
    """How many of those decoding so many late gaps would lose."""
    slots, now, total = state.slots[b, i], state.scalars[b, CLOCK], 0
    for n in range(state.instances[b, i, RUNNING_N]):
        s = running_slot(state, b, i, n)
        if decodes(slots, s):
            output = max(expected_output(slots, s, parameters[GUESS]), slots[GENERATED, s] + 1.0)
            saved = not is_lost(slots, s, now, output, parameters)
            total += saved and slots[LATE, s] + gaps > output // LATE_SHARE
    return total


@inner
def _first_in_time(state: State, b: int, i: int, parameters: Float64, memory: Float64) -> int:
    """Where in the queue is who comes first of those worth what their prompt costs, or -1."""
    slots, now = state.slots[b, i], state.scalars[b, CLOCK]
    budget, timely = int(parameters[TOKEN_BUDGET]), int(parameters[TIMELY_TOKENS])
    begun, best, known, cost = _prompt_tokens(state, b, i), -1, 0, 0
    for n in range(state.instances[b, i, QUEUED_N]):
        s = queued_slot(state, b, i, n)
        if state.mask[b, start(state, b, i, n)] == 0:
            continue
        if best >= 0 and not is_before(memory, s, queued_slot(state, b, i, best)):
            continue
        tokens = lacking(slots, s)
        if begun + min(tokens, budget) > timely:
            if begun > 0:
                continue
            gaps = min(COUNTED, 1 + max(0, tokens - timely - 1) // budget)
            if gaps != known:
                cost, known = frail(state, b, i, gaps, parameters), gaps
            output = expected_output(slots, s, parameters[GUESS])
            if cost > (0 if is_lost(slots, s, now, output, parameters) else WORTH):
                continue
        best = n
    return best


@kernel
def rule(state: State, b: int, parameters: Float64, memory: Float64) -> int:
    """Whoever can still be in time, the smallest first, prompts paced."""
    i = state.scalars[b, FOCUS]
    registers, kept = state.instances[b, i], memory[b]
    if state.scalars[b, KIND] != SCHEDULE:
        return first_legal(state, b)
    rank(state, b, i, parameters, kept)
    if is_short(state, b, i):
        worst = worst_running(state, b, i, kept)
        return MODES + worst if worst >= 0 else first_legal(state, b)
    starts = registers[QUEUED_N] > 0 and registers[PREEMPTED_NOW] == 0
    if starts and tokens_left(state, b, i, int(parameters[TOKEN_BUDGET])) > 0:
        n = _first_in_time(state, b, i, parameters, kept)
        if n >= 0:
            alone = registers[RUNNING_N] + registers[SEATS] == 0
            promised = promised_blocks(state, b, i, kept, int(parameters[RESERVE]))
            more = blocks_to_come(state.slots[b, i], queued_slot(state, b, i, n), kept)
            if alone or more + promised <= room(registers):
                return start(state, b, i, n)
    return go(state, b, DECODE_FIRST)
