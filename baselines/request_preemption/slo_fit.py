"""The strongest cheap rule we know where tokens are hardly ever late.

Requests fall into two classes. One can still meet its targets: it has its first token in time, or
waits for it no longer than the target allows, and has no more late gaps than one in a hundred. The
other is lost. Those that can be saved come first, the smallest first (prompt and expected output:
what holds the fewest blocks for the shortest time), then the lost in order of arrival. Each is
admitted if it fits in full, so that hardly any is preempted; where blocks are short all the same,
the lost give way first. That the lost make room for those to be saved was tried: it saves no more,
and what they computed is lost; where swaps stall the engine, it costs a quarter of those saved.
"""

from fleetgym.baselines.request_preemption.common import (
    OWN,
    TBT_SLO,
    TTFT_SLO,
    expected_output,
    set_key,
)
from fleetgym.baselines.request_preemption.ordering import fitting
from fleetgym.envs.core.jit import inner, kernel
from fleetgym.envs.request_preemption.queues import table_length, table_slot
from fleetgym.envs.request_preemption.types import (
    ARRIVAL,
    CLOCK,
    FIRST,
    FOCUS,
    LAST,
    LATE,
    LATE_SHARE,
    PROMPT,
    Float64,
    Int64,
    State,
)

GUESS, RESERVE = OWN, OWN + 1
# Chosen on six training windows of `chat`, `burst`, `priority` and `fair`.
PARAMETERS = (
    60.0,  # tokens of output where nobody predicts: fewer than the mean, since ends free blocks
    2.0,  # blocks kept for each request that runs
)
SAVED, LOST = 1.0, 2.0  # levels


@inner
def is_lost(slots: Int64, s: int, now: int, output: float, parameters: Float64) -> bool:
    """Whether a request misses its targets, whatever is done."""
    wait = int(parameters[TTFT_SLO])
    if slots[FIRST, s] < 0:
        return bool(now - slots[ARRIVAL, s] > wait)
    late = slots[LATE, s] + (now - slots[LAST, s] > int(parameters[TBT_SLO]))
    return bool(slots[FIRST, s] - slots[ARRIVAL, s] > wait or late > output // LATE_SHARE)


@inner
def rank(state: State, b: int, i: int, parameters: Float64, memory: Float64) -> None:
    """Those to be saved by size, then the lost by arrival."""
    slots, now = state.slots[b, i], state.scalars[b, CLOCK]
    for n in range(table_length(state.instances[b, i])):
        s = table_slot(slots, state.instances[b, i], n)
        output = expected_output(slots, s, parameters[GUESS])
        if is_lost(slots, s, now, output, parameters):
            set_key(memory, s, LOST, slots[ARRIVAL, s], output)
        else:
            set_key(memory, s, SAVED, slots[PROMPT, s] + output, output)


@kernel
def rule(state: State, b: int, parameters: Float64, memory: Float64) -> int:
    """Those that can be saved first, the smallest of them first."""
    rank(state, b, state.scalars[b, FOCUS], parameters, memory[b])
    nobody_yields = LOST / SAVED
    return fitting(state, b, parameters, memory[b], int(parameters[RESERVE]), nobody_yields)
