"""vLLM's first scheduler (Kwon et al., SOSP 2023; ``vllm/core/scheduler.py`` up to 0.6).

Iterations either prefill or decode. If nothing is swapped out, queued requests are prefilled first,
whole prompts in order, up to ``max(token_budget, the longest)`` tokens, with a watermark of 1% of
the blocks kept; the first that does not fit ends it. Else what runs decodes, and where blocks lack
the latest arrival gives way, by recomputation or swap as the scenario says; requests swapped out
come back in order of arrival if none had to leave.
"""

from fleetgym.baselines.request_preemption.common import (
    KV_BLOCKS,
    OWN,
    TOKEN_BUDGET,
    first_legal,
    go,
    queued_slot,
    room,
    running_slot,
    set_key,
    start,
)
from fleetgym.baselines.request_preemption.ordering import (
    best_queued,
    context_blocks,
    worst_running,
)
from fleetgym.envs.core.jit import inner, kernel
from fleetgym.envs.request_preemption.blocks import blocks_of
from fleetgym.envs.request_preemption.iteration import decodes, lacking
from fleetgym.envs.request_preemption.queues import table_length, table_slot
from fleetgym.envs.request_preemption.types import (
    ARRIVAL,
    ASIDE,
    ASIDE_N,
    BLOCKS,
    COMPUTED,
    FOCUS,
    KIND,
    LEAVING,
    LISTS,
    MODES,
    PREEMPTED_NOW,
    PREFILL_FIRST,
    QUEUED_N,
    RUNNING_N,
    SCHEDULE,
    STATE,
    SWAPPED,
    Float64,
    State,
)

WATERMARK = OWN
PARAMETERS = (0.01,)  # of the pool


@inner
def _rank(state: State, b: int, i: int, memory: Float64) -> None:
    """The earliest arrival first; of those queued, those swapped out before all others."""
    slots = state.slots[b, i]
    for n in range(table_length(state.instances[b, i])):
        s = table_slot(slots, state.instances[b, i], n)
        set_key(memory, s, slots[STATE, s] != SWAPPED, slots[ARRIVAL, s], 0.0)


@inner
def _swapped_out(state: State, b: int, i: int) -> bool:
    """Whether any request is on the host, or on its way there."""
    slots, found = state.slots[b, i], False
    for n in range(state.instances[b, i, QUEUED_N]):
        found = found or slots[STATE, queued_slot(state, b, i, n)] == SWAPPED
    for n in range(state.instances[b, i, ASIDE_N]):
        found = found or slots[STATE, slots[LISTS + ASIDE, n]] == LEAVING
    return found


@inner
def _prefill_fits(state: State, b: int, i: int, s: int, budget: int, watermark: float) -> bool:
    """Whether a whole prompt joins those to be prefilled next, in tokens and in blocks."""
    slots = state.slots[b, i]
    tokens = longest = lacking(slots, s)
    more = context_blocks(state, b, i, s)
    for n in range(state.instances[b, i, RUNNING_N]):
        other = running_slot(state, b, i, n)
        if not decodes(slots, other):
            tokens += lacking(slots, other)
            longest = max(longest, lacking(slots, other))
            more += context_blocks(state, b, i, other)
    return tokens <= max(budget, longest) and more + watermark <= room(state.instances[b, i])


@inner
def _swap_in_fits(state: State, b: int, i: int, s: int, watermark: float) -> bool:
    """Whether a request comes back beside the next tokens of those running."""
    slots = state.slots[b, i]
    more = blocks_of(slots[COMPUTED, s] + 1)
    for n in range(state.instances[b, i, RUNNING_N]):
        other = running_slot(state, b, i, n)
        more += max(0, blocks_of(slots[COMPUTED, other] + 1) - slots[BLOCKS, other])
    return more + watermark <= room(state.instances[b, i])


@kernel
def rule(state: State, b: int, parameters: Float64, memory: Float64) -> int:
    """Whole prompts first, then decodes; swap-ins when there is room."""
    i = state.scalars[b, FOCUS]
    registers, slots = state.instances[b, i], state.slots[b, i]
    if state.scalars[b, KIND] != SCHEDULE:
        return first_legal(state, b)
    _rank(state, b, i, memory[b])
    if registers[RUNNING_N] > 0 and state.mask[b, PREFILL_FIRST] == 0:
        latest = worst_running(state, b, i, memory[b])
        return MODES + latest if latest >= 0 else first_legal(state, b)
    if registers[QUEUED_N] > 0 and registers[PREEMPTED_NOW] == 0:
        swapped = _swapped_out(state, b, i)
        n = best_queued(state, b, i, memory[b]) if swapped else 0
        s, watermark = queued_slot(state, b, i, n), parameters[WATERMARK] * parameters[KV_BLOCKS]
        if slots[STATE, s] == SWAPPED:
            fits = _swap_in_fits(state, b, i, s, watermark)
        else:
            budget = int(parameters[TOKEN_BUDGET])
            fits = not swapped and _prefill_fits(state, b, i, s, budget, watermark)
        if fits and state.mask[b, start(state, b, i, n)] == 1:
            return start(state, b, i, n)
    return go(state, b, PREFILL_FIRST)
