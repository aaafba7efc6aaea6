"""Least attained service (foreground-background): whoever was served least runs.

Service is tokens computed, those computed again included. It is counted in whole quanta, so that a
request keeps its place until it has used one up; among equals the earliest arrival comes first.
"""

from fleetgym.baselines.request_preemption.common import OWN, set_key
from fleetgym.baselines.request_preemption.ordering import preempting
from fleetgym.envs.core.jit import kernel
from fleetgym.envs.request_preemption.queues import table_length, table_slot
from fleetgym.envs.request_preemption.types import ARRIVAL, FOCUS, SERVED, Float64, State

QUANTUM, HEADROOM = OWN, OWN + 1
# Chosen on six training windows of `chat` and `burst`.
PARAMETERS = (2048.0, 1.0)  # tokens; blocks kept free for each request that runs


@kernel
def rule(state: State, b: int, parameters: Float64, memory: Float64) -> int:
    """The least served first."""
    i = state.scalars[b, FOCUS]
    slots = state.slots[b, i]
    for n in range(table_length(state.instances[b, i])):
        s = table_slot(slots, state.instances[b, i], n)
        set_key(memory[b], s, slots[SERVED, s] // int(parameters[QUANTUM]), slots[ARRIVAL, s], 0.0)
    return preempting(state, b, parameters, memory[b], int(parameters[HEADROOM]))
