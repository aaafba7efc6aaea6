"""Llumnix (Sun et al., OSDI 2024): dispatch by freeness, live migration from full to free.

Freeness (section 4.4) is how much each running request can still grow before the instance is full:
``(free blocks - waiting demand - headroom) / running requests``. An arrival goes to the freest
instance. At the router's ticks requests migrate from the least free instance to the freest, pair
by pair, while the gap between them exceeds a threshold: this also makes room where a long prompt
waits before fragmented memory. An instance that runs requests of high priority counts headroom
for them, so that others keep away.
"""

import numpy as np

from fleetgym.baselines.request_preemption.common import OWN
from fleetgym.baselines.request_preemption.full_fit import RESERVED
from fleetgym.baselines.request_preemption.routers import router_start, serve, waiting_blocks
from fleetgym.envs.core.jit import inner, kernel
from fleetgym.envs.request_preemption.types import (
    DISPATCH,
    EVICTABLE,
    FREE,
    KIND,
    LISTS,
    PRIORITY,
    REBALANCE,
    RUN,
    RUNNING_N,
    SEATS,
    Float64,
    State,
)

GAP, HEADROOM, HIGH = range(OWN + len(RESERVED), OWN + len(RESERVED) + 3)
GAP_BLOCKS = 20.0  # of freeness, above which a pair migrates
HEADROOM_BLOCKS = 100.0  # of an instance that runs a request of high priority
HIGH_LEVEL = 1.0  # the least level of high priority
PARAMETERS = (*RESERVED, GAP_BLOCKS, HEADROOM_BLOCKS, HIGH_LEVEL)
NO_MIGRATION = (*RESERVED, np.inf, HEADROOM_BLOCKS, HIGH_LEVEL)


@inner
def freeness(state: State, b: int, i: int, parameters: Float64) -> float:
    """Blocks by which each request of the instance can still grow; negative where some wait."""
    slots, registers = state.slots[b, i], state.instances[b, i]
    room = float(registers[FREE] + registers[EVICTABLE] - waiting_blocks(state, b, i))
    for n in range(registers[RUNNING_N]):
        if slots[PRIORITY, slots[LISTS + RUN, n]] >= parameters[HIGH]:
            room -= parameters[HEADROOM]
            break
    return float(room / max(1, registers[RUNNING_N] + registers[SEATS]))


@inner
def _widest(state: State, b: int, parameters: Float64) -> int:
    """The legal migration across the widest gap of freeness, or 0 where all are narrow."""
    count, start = state.instances.shape[1], router_start(state)
    best, widest = 0, parameters[GAP]
    for source in range(count):
        low = freeness(state, b, source, parameters)
        for target in range(count):
            action = start + count + source * count + target
            if state.mask[b, action] == 1:
                gap = freeness(state, b, target, parameters) - low
                if gap > widest:
                    best, widest = action, gap
    return best


@kernel
def rule(state: State, b: int, parameters: Float64, memory: Float64) -> int:
    """Dispatches to the freest instance, and migrates to it from the least free."""
    kind = state.scalars[b, KIND]
    if kind == REBALANCE:
        return _widest(state, b, parameters)
    if kind != DISPATCH:
        return serve(state, b, parameters, memory)
    start, best, most = router_start(state), -1, 0.0
    for i in range(state.instances.shape[1]):
        if state.mask[b, start + i] == 1:
            free = freeness(state, b, i, parameters)
            if best < 0 or free > most:
                best, most = i, free
    return start + best
