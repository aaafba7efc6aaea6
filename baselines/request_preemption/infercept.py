"""InferCept (Abhyankar et al., ICML 2024): preserve, swap or discard by the least waste.

Waste is memory x time (section 4), here in token-picoseconds, for a context of C tokens on an
instance whose running requests hold O tokens:

- preserve: ``C T``, T the mean of the pauses seen so far;
- discard: ``t_prefill(C) (C + O)``, since the others wait while it is computed again;
- swap: ``2 t_copy(C) (C + O)``, of which overlapped copies cost the share by which they slow.

InferCept weighs anew while a pause lasts, with the time gone by for T. So a preserved context is
pinned for the longest TTL in which it does not waste more than the better of the other ways.
Requests are served first come first served, admitted when they fit in full.
"""

from collections.abc import Sequence

import numpy as np

from fleetgym.baselines.request_preemption.common import OWN, first_legal
from fleetgym.baselines.request_preemption.full_fit import RESERVED
from fleetgym.baselines.request_preemption.pins import (
    FEW,
    PAUSE_SUM,
    PAUSES,
    longest_within,
    note_pause,
    prefill_ps,
    sums_at,
    ttls_ps,
    watch,
)
from fleetgym.baselines.request_preemption.routers import serve
from fleetgym.envs.core.jit import inner, kernel
from fleetgym.envs.request_preemption.layout import rules_of
from fleetgym.envs.request_preemption.scenario import RequestPreemptionScenario
from fleetgym.envs.request_preemption.types import (
    BLOCK,
    COMPUTED,
    FOCUS,
    KIND,
    LISTS,
    PIN,
    PIN_SLOT,
    R_COPY_BLOCK,
    R_COPY_FIXED,
    R_GROUP_BLOCKS,
    RUN,
    RUNNING_N,
    Float64,
    State,
)

LINEAR, SQUARE, COPY, TTLS = range(OWN + len(RESERVED), OWN + len(RESERVED) + 4)


def parameters_of(scenario: RequestPreemptionScenario) -> Sequence[float]:
    """Of InferCept: prefill times, what copying a token there and back costs, TTLs (ps)."""
    of = rules_of(scenario).of
    block = of[R_COPY_BLOCK] + of[R_COPY_FIXED] / of[R_GROUP_BLOCKS]
    both = 2 * float(block) / BLOCK * (scenario.overlap_tax if scenario.overlapped else 1.0)
    return (*RESERVED, *prefill_ps(scenario), both, *ttls_ps(scenario))


@inner
def _least_waste(state: State, b: int, parameters: Float64, memory: Float64) -> int:
    """The number of the choice: of a TTL, or behind the last of them for the host."""
    i, sums, ttls = state.scalars[b, FOCUS], memory[b, sums_at(state) :], parameters[TTLS:]
    slots = state.slots[b, i]
    context = slots[COMPUTED, state.scalars[b, PIN_SLOT]]
    held = context
    for n in range(state.instances[b, i, RUNNING_N]):
        held += slots[COMPUTED, slots[LISTS + RUN, n]]
    prefill = parameters[LINEAR] * context + parameters[SQUARE] * context * context
    discard, swap = prefill * held, parameters[COPY] * context * held
    if state.mask[b, first_legal(state, b) + len(ttls)] == 0:
        swap = np.inf
    pause = sums[PAUSE_SUM] / sums[PAUSES] if sums[PAUSES] >= FEW else 0.0
    if context * pause <= min(discard, swap):
        return longest_within(ttls, min(discard, swap) / context)
    return len(ttls) if swap < discard else longest_within(ttls, 0.0)


@kernel
def rule(state: State, b: int, parameters: Float64, memory: Float64) -> int:
    """Pins, swaps or discards by the least waste."""
    watch(state, b, parameters[TTLS:], memory)
    if state.scalars[b, KIND] == PIN:
        note_pause(state, b, memory)
        return first_legal(state, b) + _least_waste(state, b, parameters, memory)
    return serve(state, b, parameters, memory)
