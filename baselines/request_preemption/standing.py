"""What a moment of serving is worth: the targets met so far, and those that may yet be."""

import numpy as np

from fleetgym.baselines.request_preemption.common import TIMELY_TOKENS, expected_output
from fleetgym.baselines.request_preemption.paced import GUESS
from fleetgym.baselines.request_preemption.slo_fit import is_lost
from fleetgym.envs.core.jit import kernel
from fleetgym.envs.request_preemption.iteration import lacking
from fleetgym.envs.request_preemption.queues import table_length, table_slot
from fleetgym.envs.request_preemption.simulator import RequestPreemptionSimulator
from fleetgym.envs.request_preemption.types import CLOCK, MET, RUNNING, STATE, Float64, State

# What is left of those that may still meet their targets, seen over training windows.
SAVED, LARGE = 0.9, 0.3


@kernel
def _hopes(state: State, parameters: Float64, out: Float64) -> None:
    for b in range(len(out)):
        slots, registers, now = state.slots[b, 0], state.instances[b, 0], state.scalars[b, CLOCK]
        out[b] = 0.0
        for n in range(table_length(registers)):
            s = table_slot(slots, registers, n)
            output = expected_output(slots, s, parameters[GUESS])
            if not is_lost(slots, s, now, output, parameters):
                waits = slots[STATE, s] != RUNNING
                large = waits and lacking(slots, s) > parameters[TIMELY_TOKENS]
                out[b] += LARGE if large else SAVED


def standing(simulator: RequestPreemptionSimulator, parameters: Float64) -> Float64:
    """Requests that have met their targets or are expected to, of one instance each, ``(B,)``.

    Args:
        simulator: whose worlds are judged.
        parameters: of the rule `paced`.
    """
    hopes = np.zeros(simulator.num_worlds)
    _hopes(simulator.state(), parameters, hopes)
    met: Float64 = simulator.world.scalars[:, MET] + hopes
    return met
