"""Routers: to which instance an arrival goes, by counts, by blocks, or in turn.

Inside an instance requests are served first come first served, admitted when they fit in full.
"""

from fleetgym.baselines.request_preemption.full_fit import fcfs
from fleetgym.envs.core.jit import inner, kernel
from fleetgym.envs.request_preemption.blocks import blocks_of
from fleetgym.envs.request_preemption.types import (
    BLOCKS,
    COMPUTED,
    DISPATCH,
    ENTERED,
    EVICTABLE,
    FREE,
    GENERATED,
    KIND,
    LISTS,
    PROMPT,
    QUEUE,
    QUEUED_N,
    RUNNING_N,
    SEATS,
    Float64,
    State,
)


@inner
def router_start(state: State) -> int:
    """The first of the router's actions: one for each instance, then one for each pair."""
    count = state.instances.shape[1]
    return int(state.mask.shape[1] - count - count * count)


@inner
def serve(state: State, b: int, parameters: Float64, memory: Float64) -> int:
    """What all routers do but dispatch: first come first served; no pins, no migrations."""
    return fcfs(state, b, parameters, memory)


@inner
def waiting_blocks(state: State, b: int, i: int) -> int:
    """Blocks that the queue of an instance needs until its next tokens, beside those it holds."""
    slots, blocks = state.slots[b, i], 0
    for n in range(state.instances[b, i, QUEUED_N]):
        s = slots[LISTS + QUEUE, n]
        tokens = max(slots[COMPUTED, s], slots[PROMPT, s] + slots[GENERATED, s])
        blocks += blocks_of(tokens) - slots[BLOCKS, s]
    return int(blocks)


@kernel
def round_robin(state: State, b: int, parameters: Float64, memory: Float64) -> int:
    """The instances in turn, by the number of the arrival; one without a spare slot passes."""
    if state.scalars[b, KIND] != DISPATCH:
        return serve(state, b, parameters, memory)
    start, count = router_start(state), state.instances.shape[1]
    target = int(state.scalars[b, ENTERED]) % count
    while state.mask[b, start + target] == 0:
        target = (target + 1) % count
    return int(start + target)


@kernel
def least_loaded(state: State, b: int, parameters: Float64, memory: Float64) -> int:
    """The instance with the fewest requests, running and queued."""
    if state.scalars[b, KIND] != DISPATCH:
        return serve(state, b, parameters, memory)
    start, best, least = router_start(state), -1, 0
    for i in range(state.instances.shape[1]):
        registers = state.instances[b, i]
        load = registers[RUNNING_N] + registers[QUEUED_N] + registers[SEATS]
        if state.mask[b, start + i] == 1 and (best < 0 or load < least):
            best, least = i, load
    return start + best


@kernel
def least_blocks(state: State, b: int, parameters: Float64, memory: Float64) -> int:
    """The instance with the most free blocks, those that its queue asks for taken off."""
    if state.scalars[b, KIND] != DISPATCH:
        return serve(state, b, parameters, memory)
    start, best, most = router_start(state), -1, 0
    for i in range(state.instances.shape[1]):
        registers = state.instances[b, i]
        room = registers[FREE] + registers[EVICTABLE] - waiting_blocks(state, b, i)
        if state.mask[b, start + i] == 1 and (best < 0 or room > most):
            best, most = i, room
    return start + best
