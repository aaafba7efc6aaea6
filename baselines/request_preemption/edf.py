"""Earliest due first: by the slack to a request's next target, given up once it is missed.

A request is due at ``arrival + ttft_slo`` until its first token, then at ``last + tbt_slo``.
Whoever is late already cannot be saved: it comes after all that can, in order of arrival.
"""

from fleetgym.baselines.request_preemption.common import OWN, TBT_SLO, TTFT_SLO, set_key
from fleetgym.baselines.request_preemption.ordering import preempting
from fleetgym.envs.core.jit import kernel
from fleetgym.envs.request_preemption.queues import table_length, table_slot
from fleetgym.envs.request_preemption.types import (
    ARRIVAL,
    CLOCK,
    FIRST,
    FOCUS,
    LAST,
    Float64,
    State,
)

HEADROOM = OWN
# Chosen on six training windows of `chat` and `burst`.
PARAMETERS = (5.0,)  # blocks kept free for each request that runs


@kernel
def rule(state: State, b: int, parameters: Float64, memory: Float64) -> int:
    """The earliest due first; those late give way to those that are not."""
    i = state.scalars[b, FOCUS]
    slots = state.slots[b, i]
    for n in range(table_length(state.instances[b, i])):
        s = table_slot(slots, state.instances[b, i], n)
        due = slots[ARRIVAL, s] + int(parameters[TTFT_SLO])
        if slots[FIRST, s] >= 0:
            due = slots[LAST, s] + int(parameters[TBT_SLO])
        late = due < state.scalars[b, CLOCK]
        set_key(memory[b], s, late, slots[ARRIVAL, s] if late else due, 0.0)
    return preempting(state, b, parameters, memory[b], int(parameters[HEADROOM]))
