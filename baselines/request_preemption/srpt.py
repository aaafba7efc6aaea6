"""The shortest remaining time first: with true output lengths (clairvoyant), or predicted ones.

What remains of a request is its tokens to be computed before the next one comes, and its output to
come, of which each token costs an iteration. Whoever starts fits in full, so that nothing is ever
short where outputs are known. A running request gives way to a queued one that has far less to do:
what it has computed may have to be computed again.
"""

import numpy as np

from fleetgym.baselines.request_preemption.common import (
    KEYS,
    MEAN_OUTPUT,
    OWN,
    expected_output,
    set_key,
)
from fleetgym.baselines.request_preemption.ordering import fitting
from fleetgym.envs.core.jit import inner, kernel
from fleetgym.envs.request_preemption.iteration import lacking
from fleetgym.envs.request_preemption.queues import table_length, table_slot
from fleetgym.envs.request_preemption.types import FOCUS, GENERATED, ROW, Float64, State
from fleetgym.envs.request_preemption.workloads import ServingWorkload

GUESS, RESERVE, OUTPUT_WEIGHT, ADVANTAGE = OWN, OWN + 1, OWN + 2, OWN + 3
# The last two chosen on six training windows of `chat` and `burst`.
PARAMETERS = (
    MEAN_OUTPUT,  # tokens of output where nothing is known
    0.0,  # blocks kept for each request that runs
    6.0,  # prompt tokens' worth of an output token
    8.0,  # times as much must remain of whoever gives way
)


def true_outputs(workload: ServingWorkload) -> Float64:
    """What a clairvoyant keeps of a workload: output tokens of each row."""
    return workload.trace.output_tokens.astype(np.float64)


@inner
def _rank(state: State, b: int, i: int, parameters: Float64, memory: Float64) -> None:
    """By what is left to do, in prompt tokens."""
    slots = state.slots[b, i]
    known = len(memory) - KEYS * slots.shape[1]  # rows whose outputs are
    for n in range(table_length(state.instances[b, i])):
        s = table_slot(slots, state.instances[b, i], n)
        output = expected_output(slots, s, parameters[GUESS])
        if slots[ROW, s] < known:
            output = memory[slots[ROW, s]]
        left = max(1.0, output - slots[GENERATED, s])
        work = lacking(slots, s) + parameters[OUTPUT_WEIGHT] * left
        set_key(memory, s, work, 0.0, output)


@kernel
def rule(state: State, b: int, parameters: Float64, memory: Float64) -> int:
    """The least remaining first."""
    _rank(state, b, state.scalars[b, FOCUS], parameters, memory[b])
    reserve, advantage = int(parameters[RESERVE]), parameters[ADVANTAGE]
    return fitting(state, b, parameters, memory[b], reserve, advantage)
