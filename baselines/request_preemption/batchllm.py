"""BatchLLM (Zheng et al., 2024): requests that share a prefix are served together.

The next of the queue is the first whose prefix group (first block of its prompt) is that of the
request admitted last, so that the group's blocks in the prefix cache are used before they are
evicted; else the head of the queue. BatchLLM knows all requests beforehand and orders the groups
too; an online policy has only those that wait. Admission is `full_fit`'s, nothing is pinned.
"""

from fleetgym.baselines.request_preemption.common import expected_output, running_slot, set_key
from fleetgym.baselines.request_preemption.full_fit import GUESS, RESERVE
from fleetgym.baselines.request_preemption.ordering import until_done
from fleetgym.envs.core.jit import inner, kernel
from fleetgym.envs.request_preemption.queues import table_length, table_slot
from fleetgym.envs.request_preemption.types import FOCUS, GROUP, RUNNING_N, Float64, State


@inner
def group_served(state: State, b: int, i: int) -> int:
    """The prefix group of the request admitted last, or -1."""
    running = state.instances[b, i, RUNNING_N]
    return state.slots[b, i, GROUP, running_slot(state, b, i, running - 1)] if running > 0 else -1


@kernel
def rule(state: State, b: int, parameters: Float64, memory: Float64) -> int:
    """The group served last first."""
    i = state.scalars[b, FOCUS]
    slots, group = state.slots[b, i], group_served(state, b, i)
    for n in range(table_length(state.instances[b, i])):
        s = table_slot(slots, state.instances[b, i], n)
        level = 0.0 if group >= 0 and slots[GROUP, s] == group else 1.0
        set_key(memory[b], s, level, 0.0, expected_output(slots, s, parameters[GUESS]))
    return until_done(state, b, parameters, memory[b], int(parameters[RESERVE]))
