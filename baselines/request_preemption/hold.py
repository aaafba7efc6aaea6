"""One batch at a time: what doing nothing about the queue is worth."""

from fleetgym.baselines.request_preemption.common import (
    TOKEN_BUDGET,
    first_legal,
    go,
    is_short,
    may_start,
    preempt_last,
    running_slot,
    start,
)
from fleetgym.envs.core.jit import kernel
from fleetgym.envs.request_preemption.types import (
    CHANGED,
    FOCUS,
    INSTANT,
    KIND,
    MIXED,
    PREEMPTED_NOW,
    QUEUED_N,
    RUNNING_N,
    SCHEDULE,
    Float64,
    State,
)


@kernel
def rule(state: State, b: int, parameters: Float64, memory: Float64) -> int:
    """Admits in order of arrival, and only when nothing runs but what has just been admitted."""
    i = state.scalars[b, FOCUS]
    registers = state.instances[b, i]
    if state.scalars[b, KIND] != SCHEDULE:
        return first_legal(state, b)
    if is_short(state, b, i):
        return preempt_last(state, b, i)
    idle = registers[QUEUED_N] > 0 and registers[PREEMPTED_NOW] == 0
    for n in range(registers[RUNNING_N]):
        s = running_slot(state, b, i, n)
        idle = idle and state.slots[b, i, CHANGED, s] == registers[INSTANT]
    if idle and may_start(state, b, i, 0, int(parameters[TOKEN_BUDGET])):
        return start(state, b, i, 0)
    return go(state, b, MIXED)
