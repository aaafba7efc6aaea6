"""The strongest cheap rule we know where a full chunk of prompts makes everyone's token late.

Requests are ordered as by `slo_fit`: those that can still meet their targets first, the smallest
first, then the lost in order of arrival; each is admitted if it fits in full. Beside that, prompts
are paced. Those begun together never hold more tokens than an iteration computes in time, so that
they cost those decoding nothing. A prompt larger than that makes late gaps for all: it waits while
these are expected to lose more requests than it is worth. Answers are taken as lognormal, about
what is predicted or else about Azure's conversations, and longer than what they have so far.

Other prices, and brief answers held back so that a large prompt may begin, are no better if they
are kept up for a whole episode (training windows); for a while they may be, which is what the
shipped agent chooses among.
"""

import math

from fleetgym.baselines.request_preemption.common import (
    OWN,
    TBT_SLO,
    TIMELY_TOKENS,
    TOKEN_BUDGET,
    TTFT_SLO,
    blocks_to_come,
    expected_output,
    first_legal,
    go,
    is_before,
    is_short,
    level_of,
    promised_blocks,
    queued_slot,
    room,
    running_slot,
    set_key,
    start,
    tokens_left,
)
from fleetgym.baselines.request_preemption.ordering import worst_running
from fleetgym.baselines.request_preemption.slo_fit import LOST, SAVED, rank
from fleetgym.envs.core.jit import inner, kernel
from fleetgym.envs.request_preemption.iteration import decodes, lacking
from fleetgym.envs.request_preemption.types import (
    ARRIVAL,
    CLOCK,
    DECODE_FIRST,
    FIRST,
    FOCUS,
    GENERATED,
    KIND,
    LAST,
    LATE,
    LATE_SHARE,
    MODES,
    PREDICTED,
    PREEMPTED_NOW,
    PROMPT,
    QUEUED_N,
    RUNNING_N,
    SCHEDULE,
    SEATS,
    Float64,
    Int64,
    State,
)

GUESS, RESERVE, WORTH, WORTH_LOST, HOLDS, LARGE_FIRST = range(OWN, OWN + 6)
NOBODY, BRIEF, ALL = range(3)  # whom a rule holds back
PARAMETERS = (
    60.0,  # tokens of output where nobody predicts, as `slo_fit`
    2.0,  # blocks kept for each request that runs, likewise
    0.5,  # requests that the late gaps of a large prompt may cost, if it can be saved,
    0.1,  # and if it is lost
    NOBODY,  # held back: nobody, those whose answer may have no late gap, or all
    0.0,  # whether large prompts that can be saved go first
)
MEDIAN, SPREAD = 130.0, 1.0  # tokens, and of the logarithm: answers where nobody predicts
ERROR = 0.5  # spread of the logarithm about a prediction
FIRST_OF_ALL = 0.0  # level
TAIL = 1e-6  # least likelihood that an answer is longer than it is
COUNTED = 4  # late gaps of one prompt that are told apart
PATIENCE = 0.7  # of the target of the first token, for which brief answers are held back


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
def _shorter(tokens: float, median: float, spread: float) -> float:
    """How likely an answer is shorter than so many tokens."""
    if tokens <= 0:
        return 0.0
    return 0.5 + 0.5 * math.erf(math.log(tokens / median) / (spread * math.sqrt(2.0)))


@inner
def _risk(slots: Int64, s: int, gaps: int, now: int, parameters: Float64) -> float:
    """How likely so many late gaps lose a request that would otherwise meet its targets."""
    if slots[FIRST, s] - slots[ARRIVAL, s] > parameters[TTFT_SLO]:
        return 0.0
    predicted = float(slots[PREDICTED, s])
    median, spread = (predicted, ERROR) if predicted > 0 else (MEDIAN, SPREAD)
    late = slots[LATE, s] + (now - slots[LAST, s] > parameters[TBT_SLO])
    so_far = _shorter(float(slots[GENERATED, s]), median, spread)
    saved = max(so_far, _shorter(float(LATE_SHARE * late), median, spread))
    lost = max(saved, _shorter(float(LATE_SHARE * (late + gaps)), median, spread))
    return (lost - saved) / max(1.0 - so_far, TAIL)


@inner
def cost_of(state: State, b: int, i: int, gaps: int, parameters: Float64) -> float:
    """How many of those decoding so many late gaps are expected to lose."""
    slots, now, total = state.slots[b, i], state.scalars[b, CLOCK], 0.0
    for n in range(state.instances[b, i, RUNNING_N]):
        s = running_slot(state, b, i, n)
        if decodes(slots, s):
            total += _risk(slots, s, gaps, now, parameters)
    return total


@inner
def _put_large_first(state: State, b: int, i: int, parameters: Float64, memory: Float64) -> None:
    """Moves queued prompts too large to be in time before the others, if they can be saved."""
    slots, timely = state.slots[b, i], parameters[TIMELY_TOKENS]
    for n in range(state.instances[b, i, QUEUED_N]):
        s = queued_slot(state, b, i, n)
        if level_of(memory, s) == SAVED and lacking(slots, s) > timely:
            output = expected_output(slots, s, parameters[GUESS])
            set_key(memory, s, FIRST_OF_ALL, slots[PROMPT, s] + output, output)


@inner
def _is_held(slots: Int64, s: int, now: int, parameters: Float64) -> bool:
    """Whether a prompt that costs nobody anything waits all the same."""
    if parameters[HOLDS] == BRIEF:
        patient = now - slots[ARRIVAL, s] < PATIENCE * parameters[TTFT_SLO]
        return bool(patient and expected_output(slots, s, parameters[GUESS]) < LATE_SHARE)
    return bool(parameters[HOLDS] == ALL)


@inner
def _first_in_time(state: State, b: int, i: int, parameters: Float64, memory: Float64) -> int:
    """Where in the queue is who comes first of those worth what their prompt costs, or -1."""
    slots, now = state.slots[b, i], state.scalars[b, CLOCK]
    budget, timely = int(parameters[TOKEN_BUDGET]), int(parameters[TIMELY_TOKENS])
    begun, best, known, cost = _prompt_tokens(state, b, i), -1, 0, 0.0
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
                cost, known = cost_of(state, b, i, gaps, parameters), gaps
            lost = level_of(memory, s) == LOST
            if cost > parameters[WORTH_LOST if lost else WORTH]:
                continue
        elif _is_held(slots, s, now, parameters):
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
        alone = registers[RUNNING_N] + registers[SEATS] == 0
        if parameters[LARGE_FIRST] > 0:
            _put_large_first(state, b, i, parameters, kept)
        n = _first_in_time(state, b, i, parameters, kept)
        if n >= 0:
            promised = promised_blocks(state, b, i, kept, int(parameters[RESERVE]))
            more = blocks_to_come(state.slots[b, i], queued_slot(state, b, i, n), kept)
            if alone or more + promised <= room(registers):
                return start(state, b, i, n)
    return go(state, b, DECODE_FIRST)


@kernel
def costs(state: State, parameters: Float64, out: Float64) -> None:
    """Writes how many requests 1, 2, ... late gaps would lose in each world, ``(B, gaps)``."""
    for b in range(out.shape[0]):
        for gaps in range(out.shape[1]):
            out[b, gaps] = cost_of(state, b, state.scalars[b, FOCUS], gaps + 1, parameters)
