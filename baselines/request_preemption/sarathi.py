"""Sarathi-Serve (Agrawal et al., OSDI 2024, algorithm 3): stall-free batches of chunked prefills.

Each iteration holds all decodes, then what is left of prompts begun, then new requests in order of
arrival, while the token budget lasts. A new one is admitted only if its whole prompt fits beside
those begun, with a watermark kept. Short of blocks, the one admitted last is preempted.
"""

from fleetgym.baselines.request_preemption.common import (
    KV_BLOCKS,
    OWN,
    TOKEN_BUDGET,
    first_legal,
    go,
    is_short,
    may_start,
    preempt_last,
    queued_slot,
    room,
    running_slot,
    start,
)
from fleetgym.baselines.request_preemption.ordering import context_blocks
from fleetgym.envs.core.jit import kernel
from fleetgym.envs.request_preemption.types import (
    DECODE_FIRST,
    FOCUS,
    KIND,
    PREEMPTED_NOW,
    QUEUED_N,
    RUNNING_N,
    SCHEDULE,
    Float64,
    State,
)

WATERMARK = OWN
PARAMETERS = (0.01,)  # of the pool


@kernel
def rule(state: State, b: int, parameters: Float64, memory: Float64) -> int:
    """Decodes first, prompts in chunks, first come first served."""
    i = state.scalars[b, FOCUS]
    registers = state.instances[b, i]
    if state.scalars[b, KIND] != SCHEDULE:
        return first_legal(state, b)
    if is_short(state, b, i):
        return preempt_last(state, b, i)
    waits = registers[QUEUED_N] > 0 and registers[PREEMPTED_NOW] == 0
    if waits and may_start(state, b, i, 0, int(parameters[TOKEN_BUDGET])):
        more = context_blocks(state, b, i, queued_slot(state, b, i, 0))
        for n in range(registers[RUNNING_N]):
            more += context_blocks(state, b, i, running_slot(state, b, i, n))
        if more + parameters[WATERMARK] * parameters[KV_BLOCKS] <= room(registers):
            return start(state, b, i, 0)
    return go(state, b, DECODE_FIRST)
