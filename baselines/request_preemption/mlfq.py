"""FastServe's skip-join multi-level feedback queue (Wu et al., 2023, sections 4.1 and 4.2).

Level ``l`` has a quantum of ``base 2^l``, in prompt tokens' worth of time. A request joins the
first level whose quantum holds its prompt, since its first iteration is known to take that long;
with the quantum of a level used up, it is demoted to the next. One that has waited too long is
promoted to the highest, with a fresh quantum. The highest level that is not empty runs, its
earliest arrival first, and preempts those below.
"""

from fleetgym.baselines.request_preemption.common import OWN, queued_slot, set_key
from fleetgym.baselines.request_preemption.ordering import preempting
from fleetgym.envs.core.jit import inner, kernel
from fleetgym.envs.request_preemption.queues import table_length, table_slot
from fleetgym.envs.request_preemption.types import (
    ARRIVAL,
    CLOCK,
    FOCUS,
    GENERATED,
    LAST,
    PROMPT,
    QUEUED_N,
    ROW,
    Float64,
    State,
)

BASE, DECODE, STARVED, HEADROOM = OWN, OWN + 1, OWN + 2, OWN + 3
PARAMETERS = (
    512.0,  # prompt tokens: the quantum of the highest level
    4.0,  # prompt tokens' worth of an output token
    30e12,  # ps without a token after which a queued request is promoted
    1.0,  # blocks kept free for each request that runs
)
BOTTOM = 16  # the last level
PER_SLOT = 2  # numbers kept: the row promoted, plus 1, and its tokens then


@inner
def _place(state: State, i: int, s: int) -> int:
    """Where in memory a slot's numbers begin."""
    return int(PER_SLOT * (i * state.slots.shape[3] + s))


@inner
def _level(state: State, b: int, i: int, s: int, parameters: Float64, memory: Float64) -> int:
    """The level a request is in, by what it has used since it joined or was promoted."""
    slots, at = state.slots[b, i], _place(state, i, s)
    quantum, level, joins = parameters[BASE], 0, slots[PROMPT, s]
    tokens = slots[GENERATED, s]
    used = joins + tokens * parameters[DECODE]
    if memory[at] == slots[ROW, s] + 1:
        joins, used = 0, (tokens - int(memory[at + 1])) * parameters[DECODE]
    while level < BOTTOM and quantum < joins:
        level += 1
        quantum *= 2
    while level < BOTTOM and used > quantum:
        used -= quantum
        level += 1
        quantum *= 2
    return level


@inner
def _promote(state: State, b: int, i: int, parameters: Float64, memory: Float64) -> None:
    """Promotes those queued that have starved."""
    slots = state.slots[b, i]
    for n in range(state.instances[b, i, QUEUED_N]):
        s = queued_slot(state, b, i, n)
        since = max(slots[ARRIVAL, s], slots[LAST, s])
        if state.scalars[b, CLOCK] - since > parameters[STARVED]:
            at = _place(state, i, s)
            memory[at], memory[at + 1] = slots[ROW, s] + 1, slots[GENERATED, s]


@kernel
def rule(state: State, b: int, parameters: Float64, memory: Float64) -> int:
    """The highest level first."""
    i = state.scalars[b, FOCUS]
    slots = state.slots[b, i]
    _promote(state, b, i, parameters, memory[b])
    for n in range(table_length(state.instances[b, i])):
        s = table_slot(slots, state.instances[b, i], n)
        level = _level(state, b, i, s, parameters, memory[b])
        set_key(memory[b], s, level, slots[ARRIVAL, s], 0.0)
    return preempting(state, b, parameters, memory[b], int(parameters[HEADROOM]))
