"""vLLM's scheduler, version 1 (``vllm/v1/core/sched/scheduler.py``): first come, or by priority.

Each iteration, running requests in order of admission take ``min(lacking, budget left)`` tokens.
When blocks run out, the one admitted last is preempted by recomputation and returns to the head of
the queue (by priority: the worst is, and returns to its place). Queued requests are admitted from
the head only if nothing was preempted, while blocks *for this iteration's tokens*, sequences and
token budget last: nothing is kept for the tokens to come.
"""

from fleetgym.baselines.request_preemption.common import (
    TOKEN_BUDGET,
    first_legal,
    go,
    is_short,
    may_start,
    preempt_last,
    set_key,
    start,
)
from fleetgym.baselines.request_preemption.ordering import (
    best_queued,
    worst_running,
)
from fleetgym.envs.core.jit import inner, kernel
from fleetgym.envs.request_preemption.queues import table_length, table_slot
from fleetgym.envs.request_preemption.types import (
    ARRIVAL,
    FOCUS,
    KIND,
    MIXED,
    MODES,
    PREEMPTED_NOW,
    PRIORITY,
    QUEUED_N,
    SCHEDULE,
    Float64,
    State,
)


@kernel
def fcfs(state: State, b: int, parameters: Float64, memory: Float64) -> int:
    """First come, first served."""
    i = state.scalars[b, FOCUS]
    if state.scalars[b, KIND] != SCHEDULE:
        return first_legal(state, b)
    if is_short(state, b, i):
        return preempt_last(state, b, i)
    waits = state.instances[b, i, QUEUED_N] > 0 and state.instances[b, i, PREEMPTED_NOW] == 0
    if waits and may_start(state, b, i, 0, int(parameters[TOKEN_BUDGET])):
        return start(state, b, i, 0)
    return go(state, b, MIXED)


@inner
def rank_by_priority(state: State, b: int, memory: Float64) -> None:
    """The highest priority first, then the earliest arrival."""
    i = state.scalars[b, FOCUS]
    slots = state.slots[b, i]
    for n in range(table_length(state.instances[b, i])):
        s = table_slot(slots, state.instances[b, i], n)
        set_key(memory, s, -slots[PRIORITY, s], slots[ARRIVAL, s], 0.0)


@kernel
def priority(state: State, b: int, parameters: Float64, memory: Float64) -> int:
    """By priority; running requests give way only when blocks run out."""
    i = state.scalars[b, FOCUS]
    if state.scalars[b, KIND] != SCHEDULE:
        return first_legal(state, b)
    rank_by_priority(state, b, memory[b])
    if is_short(state, b, i):
        worst = worst_running(state, b, i, memory[b])
        return MODES + worst if worst >= 0 else first_legal(state, b)
    n = best_queued(state, b, i, memory[b])
    waits = n >= 0 and state.instances[b, i, PREEMPTED_NOW] == 0
    if waits and may_start(state, b, i, n, int(parameters[TOKEN_BUDGET])):
        return start(state, b, i, n)
    return go(state, b, MIXED)
