"""Continuum (Li et al., 2025): a finished turn's blocks are pinned for a time to live.

The TTL is ``argmax over tau of F(tau) (eta Tq + reload) - tau``: F the empirical distribution of
the pauses seen so far, Tq the mean wait in the queue of turns that came back without their blocks,
and reload the prefill of its context. Until some pauses have been seen it is the longest TTL that
is not above ``eta Tq + reload`` (what a sure return would save). Programs are served in the order
in which they began, admitted when they fit in full.
"""

from collections.abc import Sequence

import numpy as np

from fleetgym.baselines.request_preemption.common import (
    OWN,
    expected_output,
    first_legal,
    set_key,
)
from fleetgym.baselines.request_preemption.full_fit import GUESS, RESERVE, RESERVED
from fleetgym.baselines.request_preemption.ordering import until_done
from fleetgym.baselines.request_preemption.pins import (
    FEW,
    PAUSES,
    WAIT_SUM,
    WAITS,
    WITHIN,
    longest_within,
    note_pause,
    prefill_ps,
    sums_at,
    ttls_ps,
    watch,
)
from fleetgym.envs.core.jit import inner, kernel
from fleetgym.envs.request_preemption.queues import table_length, table_slot
from fleetgym.envs.request_preemption.scenario import RequestPreemptionScenario
from fleetgym.envs.request_preemption.types import (
    BEGAN,
    COMPUTED,
    FOCUS,
    KIND,
    PIN,
    PIN_SLOT,
    Float64,
    State,
)

ETA, LINEAR, SQUARE, TTLS = range(OWN + len(RESERVED), OWN + len(RESERVED) + 4)
ETA_VALUE = 1.0


def parameters_of(scenario: RequestPreemptionScenario) -> Sequence[float]:
    """Of Continuum, with the scenario's prefill times and TTLs (ps)."""
    return (*RESERVED, ETA_VALUE, *prefill_ps(scenario), *ttls_ps(scenario))


@inner
def _ttl(state: State, b: int, parameters: Float64, memory: Float64) -> int:
    """The number of the TTL to pin for."""
    sums, ttls = memory[b, sums_at(state) :], parameters[TTLS:]
    k = state.slots[b, state.scalars[b, FOCUS], COMPUTED, state.scalars[b, PIN_SLOT]]
    wait = sums[WAIT_SUM] / max(1.0, sums[WAITS])
    saved = parameters[ETA] * wait + parameters[LINEAR] * k + parameters[SQUARE] * k * k
    if sums[PAUSES] < FEW:
        return longest_within(ttls, saved)
    best, most = 0, -np.inf
    for t in range(len(ttls)):
        worth = sums[WITHIN + t] / sums[PAUSES] * saved - ttls[t]
        if worth > most:
            best, most = t, worth
    return best


@kernel
def rule(state: State, b: int, parameters: Float64, memory: Float64) -> int:
    """Pins by the TTL rule; serves programs in the order in which they began."""
    watch(state, b, parameters[TTLS:], memory)
    if state.scalars[b, KIND] == PIN:
        note_pause(state, b, memory)
        return first_legal(state, b) + _ttl(state, b, parameters, memory)
    i = state.scalars[b, FOCUS]
    slots = state.slots[b, i]
    for n in range(table_length(state.instances[b, i])):
        s = table_slot(slots, state.instances[b, i], n)
        output = expected_output(slots, s, parameters[GUESS])
        set_key(memory[b], s, 0.0, float(slots[BEGAN, s]), output)
    return until_done(state, b, parameters, memory[b], int(parameters[RESERVE]))
