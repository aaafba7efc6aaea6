"""Admission of what fits in full: prompt and expected output, beside what is promised to others.

First come first served, or the shortest job first. The cheapest cure of thrashing: vLLM's own
admission looks at the next iteration only.
"""

from fleetgym.baselines.request_preemption.common import MEAN_OUTPUT, OWN, expected_output, set_key
from fleetgym.baselines.request_preemption.ordering import until_done
from fleetgym.envs.core.jit import inner, kernel
from fleetgym.envs.request_preemption.queues import table_length, table_slot
from fleetgym.envs.request_preemption.types import FOCUS, PROMPT, Float64, State

GUESS, RESERVE = OWN, OWN + 1
PLAIN = (MEAN_OUTPUT, 0.0)  # tokens of output where nobody predicts; blocks kept a running request
RESERVED = (MEAN_OUTPUT, 5.0)


@inner
def as_queued(state: State, b: int, i: int, memory: Float64, guess: float) -> None:
    """Keys in the queue's own order, to whose head preempted requests return."""
    slots = state.slots[b, i]
    for n in range(table_length(state.instances[b, i])):
        s = table_slot(slots, state.instances[b, i], n)
        set_key(memory, s, 0.0, 0.0, expected_output(slots, s, guess))


@kernel
def fcfs(state: State, b: int, parameters: Float64, memory: Float64) -> int:
    """First come, first served."""
    as_queued(state, b, state.scalars[b, FOCUS], memory[b], parameters[GUESS])
    return until_done(state, b, parameters, memory[b], int(parameters[RESERVE]))


@kernel
def sjf(state: State, b: int, parameters: Float64, memory: Float64) -> int:
    """The shortest job first, by prompt and expected output: by prompt where nobody predicts."""
    i = state.scalars[b, FOCUS]
    slots = state.slots[b, i]
    for n in range(table_length(state.instances[b, i])):
        s = table_slot(slots, state.instances[b, i], n)
        output = expected_output(slots, s, parameters[GUESS])
        set_key(memory[b], s, 0.0, slots[PROMPT, s] + output, output)
    return until_done(state, b, parameters, memory[b], int(parameters[RESERVE]))
