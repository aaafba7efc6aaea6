"""The virtual token counter (Sheng et al., "Fairness in Serving LLMs", OSDI 2024, algorithm 2).

Each client has a counter of the service it received: an input token counts 1, an output token 2.
A client that comes back with nothing queued is lifted to the least counter of those that wait.
The queued client of the least counter is served next, its earliest request first; nothing is
preempted to that end. While clients are backlogged, their services differ by no more than
``2 max(L_in, 2 M)`` where M is the tokens that the pool holds (theorem 4.4).
"""

from fleetgym.baselines.request_preemption.common import MEAN_OUTPUT, OWN, expected_output, set_key
from fleetgym.baselines.request_preemption.ordering import until_done
from fleetgym.envs.core.jit import kernel
from fleetgym.envs.request_preemption.queues import table_length, table_slot
from fleetgym.envs.request_preemption.types import CLIENT, FAIR, FOCUS, Float64, State

GUESS, RESERVE = OWN, OWN + 1
PARAMETERS = (MEAN_OUTPUT, 0.0)  # output tokens reserved where nobody predicts; blocks a request


@kernel
def rule(state: State, b: int, parameters: Float64, memory: Float64) -> int:
    """The least served client first, as the machine counts it."""
    i = state.scalars[b, FOCUS]
    slots = state.slots[b, i]
    for n in range(table_length(state.instances[b, i])):
        s = table_slot(slots, state.instances[b, i], n)
        output = expected_output(slots, s, parameters[GUESS])
        set_key(memory[b], s, state.clients[b, FAIR, slots[CLIENT, s]], 0.0, output)
    return until_done(state, b, parameters, memory[b], int(parameters[RESERVE]))
