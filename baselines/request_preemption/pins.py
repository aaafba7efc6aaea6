"""What pin policies share: their parameters, and the pauses and waits seen so far.

All is learnt from what has happened in the episode: a pause is known once the program's next turn
has come, the wait of a turn that came back without its blocks once it has been admitted.
"""

from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from fleetgym.baselines.request_preemption.common import PS_PER_S
from fleetgym.baselines.request_preemption.kernel_policy import KernelPolicy, Rule
from fleetgym.envs.core.jit import inner
from fleetgym.envs.core.view import View
from fleetgym.envs.request_preemption.layout import rules_of
from fleetgym.envs.request_preemption.queues import table_slot
from fleetgym.envs.request_preemption.scenario import RequestPreemptionScenario
from fleetgym.envs.request_preemption.types import (
    ARRIVAL,
    ASIDE_N,
    BLOCKS,
    CLOCK,
    FOCUS,
    PIN_SLOT,
    PROGRAM,
    QUEUED_N,
    R_A1,
    R_A2,
    ROW,
    RUNNING_N,
    Float64,
    State,
)

# Columns of the memory: those of each slot, then sums, then for each TTL the pauses not longer.
BEGUN, PAUSED_ROW, PAUSED_PROGRAM, BARE_ROW, SLOT_COLUMNS = range(5)  # rows from 1
PAUSES, PAUSE_SUM, WAITS, WAIT_SUM, WITHIN = range(5)
OwnOf = Callable[[RequestPreemptionScenario], Sequence[float]]
FEW = 10  # pauses from which on their distribution counts


class PinPolicy(KernelPolicy):
    """Plays a rule whose own parameters depend on the scenario.

    Args:
        name, rule: as of `KernelPolicy`.
        own_of: makes the rule's own parameters.
    """

    def __init__(self, name: str, rule: Rule, own_of: OwnOf) -> None:
        super().__init__(name, rule, per_slot=SLOT_COLUMNS)
        self._own_of = own_of

    def reset(self, view: View, worlds: NDArray[np.int64]) -> None:
        """Forgets what was seen in the named worlds."""
        self._own = tuple(self._own_of(cast(RequestPreemptionScenario, view.scenario)))
        super().reset(view, worlds)

    def _kept(self, view: View, world: int) -> Float64:
        scenario = cast(RequestPreemptionScenario, view.scenario)
        return np.zeros(len(super()._kept(view, world)) + WITHIN + len(scenario.ttls_s))


def prefill_ps(scenario: RequestPreemptionScenario) -> tuple[float, float]:
    """Picoseconds of a prompt of k tokens: those of k and of its square, in full iterations."""
    rules, budget = rules_of(scenario), scenario.token_budget
    return float(rules.first[budget] / budget + rules.of[R_A1]), float(rules.of[R_A2])


def ttls_ps(scenario: RequestPreemptionScenario) -> tuple[float, ...]:
    """The times for which may be pinned, picoseconds."""
    return tuple(float(round(ttl * PS_PER_S)) for ttl in scenario.ttls_s)


@inner
def slot_at(state: State, i: int, s: int) -> int:
    """Column of the memory where those of a slot begin."""
    return int(SLOT_COLUMNS * (i * state.slots.shape[3] + s))


@inner
def sums_at(state: State) -> int:
    """Column of the memory where the sums begin."""
    return slot_at(state, state.instances.shape[1], 0)


@inner
def _end_pause(
    state: State, b: int, i: int, s: int, at: int, ttls: Float64, memory: Float64
) -> None:
    """Notes a pause if it has ended: another row of the same program is in the slot."""
    slots, own, sums = state.slots[b, i], memory[b], memory[b, sums_at(state) :]
    if own[at + BEGUN] == 0 or slots[ROW, s] + 1 == own[at + PAUSED_ROW]:
        return
    if slots[PROGRAM, s] + 1 == own[at + PAUSED_PROGRAM]:
        pause = slots[ARRIVAL, s] - own[at + BEGUN]
        sums[PAUSES] += 1
        sums[PAUSE_SUM] += pause
        for t in range(len(ttls)):
            sums[WITHIN + t] += pause <= ttls[t]
        own[at + BARE_ROW] = slots[ROW, s] + 1 if slots[BLOCKS, s] == 0 else 0
    own[at + BEGUN] = 0


@inner
def watch(state: State, b: int, ttls: Float64, memory: Float64) -> None:
    """Notes the pauses and waits that have ended on the instance asked; to be called always."""
    i, clock = state.scalars[b, FOCUS], state.scalars[b, CLOCK]
    slots, registers = state.slots[b, i], state.instances[b, i]
    own, sums = memory[b], memory[b, sums_at(state) :]
    for n in range(registers[RUNNING_N] + registers[QUEUED_N] + registers[ASIDE_N]):
        s = table_slot(slots, registers, n)
        at = slot_at(state, i, s)
        _end_pause(state, b, i, s, at, ttls, memory)
        if n < registers[RUNNING_N] and own[at + BARE_ROW] == slots[ROW, s] + 1:
            own[at + BARE_ROW] = 0
            sums[WAITS] += 1
            sums[WAIT_SUM] += clock - slots[ARRIVAL, s]


@inner
def note_pause(state: State, b: int, memory: Float64) -> None:
    """Notes that the turn whose pin is asked for has ended now."""
    i, s = state.scalars[b, FOCUS], state.scalars[b, PIN_SLOT]
    slots, own = state.slots[b, i], memory[b]
    at = slot_at(state, i, s)
    own[at + BEGUN] = state.scalars[b, CLOCK]
    own[at + PAUSED_ROW], own[at + PAUSED_PROGRAM] = slots[ROW, s] + 1, slots[PROGRAM, s] + 1


@inner
def longest_within(ttls: Float64, most: float) -> int:
    """The longest TTL that is not above a time; the shortest of all where none is."""
    best, shortest = -1, 0
    for t in range(len(ttls)):
        if ttls[t] <= most and (best < 0 or ttls[t] > ttls[best]):
            best = t
        if ttls[t] < ttls[shortest]:
            shortest = t
    return best if best >= 0 else shortest
