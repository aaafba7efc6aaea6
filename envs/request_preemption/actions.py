"""What an action does to the machine: applied, illegal, or stale."""

from fleetgym.envs.core.jit import inner
from fleetgym.envs.core.status import DONE, STALE
from fleetgym.envs.request_preemption import migration
from fleetgym.envs.request_preemption.blocks import blocks_of
from fleetgym.envs.request_preemption.decisions import go_is_legal, pin_start
from fleetgym.envs.request_preemption.dynamics import go
from fleetgym.envs.request_preemption.edits import (
    admit,
    fits,
    may_change,
    preempt,
    resume,
    to_the_host,
)
from fleetgym.envs.request_preemption.iteration import compose
from fleetgym.envs.request_preemption.ranking import apply_scores
from fleetgym.envs.request_preemption.turns import enter, settle_pin
from fleetgym.envs.request_preemption.types import (
    CLOCK,
    COMPUTED,
    DISPATCH,
    DROPPED,
    EDITED,
    ENTERED,
    FOCUS,
    HOST,
    HOST_FREE,
    KIND,
    MIXED,
    MODES,
    PIN,
    PIN_END,
    PIN_OPEN,
    R_SCORES,
    R_TOKEN_BUDGET,
    ROW,
    RUNNING,
    SCHEDULE,
    SEEN,
    SEEN_ROW,
    SPARE_N,
    STATE,
    SWAPPED,
    TICKING,
    WAITING,
    Int64,
    Rules,
    Shown,
    World,
)

RUNS = 8  # added to an outcome: the world runs on to its next decision


@inner
def is_legal(w: World, r: Rules, v: Shown, b: int, action: Int64) -> bool:
    """Whether the mask that was seen allows the action."""
    if r.of[R_SCORES]:
        return True
    return bool(0 <= action[0] < v.mask.shape[1] and v.mask[b, action[0]] == 1)


@inner
def act(w: World, r: Rules, v: Shown, b: int, action: Int64) -> int:
    """Applies an action that the mask allowed, of the one who was asked.

    Actions are numbered as under central control. Returns DONE, or STALE where it is no longer
    legal, and RUNS added where it ends the instant.
    """
    kind, i = w.scalars[b, KIND], w.scalars[b, FOCUS]
    runs = kind != SCHEDULE or r.of[R_SCORES] or action[0] < MODES
    if kind == SCHEDULE:
        done = _schedule(w, r, b, i, action)
        runs = runs and done
    elif kind == PIN:
        done = _pin(w, r, b, i, action[0] - pin_start(w, r))
    else:
        done = _route(w, r, b, kind, action[0] - v.mask_instances.shape[2])
    if not done:
        w.scalars[b, DROPPED] += 1
    return (DONE if done else STALE) + (RUNS if runs else 0)


@inner
def _schedule(w: World, r: Rules, b: int, i: int, action: Int64) -> bool:
    """An edit of the running set, or going on; whether it was still legal."""
    if r.of[R_SCORES]:
        apply_scores(w, r, b, i, action)
        return True
    chosen, shown = action[0], w.slots.shape[3]
    if chosen < MODES:
        legal = go_is_legal(w, r, b, i, chosen)
        if legal:
            go(w, r, b, i, chosen)
        return legal
    to_host = chosen >= MODES + shown
    position = chosen - MODES - (shown if to_host else 0)
    s = w.slots[b, i, SEEN, position]
    if w.slots[b, i, ROW, s] != w.slots[b, i, SEEN_ROW, position]:
        return False
    return edit(w, r, b, i, s, to_host)


@inner
def edit(w: World, r: Rules, b: int, i: int, s: int, to_host: bool) -> bool:
    """Preempts a running request; admits or resumes a queued one. Whether that was legal."""
    slots, registers = w.slots[b, i], w.instances[b, i]
    state = w.slots[b, i, STATE, s]
    w.scalars[b, EDITED] = 1
    if state == RUNNING:
        legal = may_change(slots, registers, s)
        if legal:
            preempt(w, r, b, i, s, to_host)
        return legal
    if state not in (WAITING, SWAPPED):
        return False
    need, budget = compose(slots, registers, r.of[R_TOKEN_BUDGET], MIXED)
    legal = fits(w, r, b, i, s, need, budget)
    if legal and state == WAITING:
        admit(w, r, b, i, s)
    elif legal:
        resume(w, r, b, i, s)
    return legal


@inner
def _pin(w: World, r: Rules, b: int, i: int, choice: int) -> bool:
    """How long the blocks of a finished turn stay, or that they go to the host."""
    slots, s, legal = w.slots[b, i], w.slots[b, i, SEEN, 0], False
    if slots[ROW, s] == w.slots[b, i, SEEN_ROW, 0] and slots[PIN_END, s] == PIN_OPEN:
        if choice < len(r.ttls):
            legal = True
            settle_pin(w, r, b, i, s, w.scalars[b, CLOCK] + r.ttls[choice])
        else:
            lack = blocks_of(slots[COMPUTED, s]) - slots[HOST, s]
            legal = lack <= w.instances[b, i, HOST_FREE]
            if legal:
                slots[PIN_END, s] = -1
                to_the_host(w, r, b, i, s)
    return legal


@inner
def _route(w: World, r: Rules, b: int, kind: int, choice: int) -> bool:
    """Dispatches an arrival, begins a migration, or (negative choice) ends the router's turn."""
    scalars, count = w.scalars[b], w.instances.shape[1]
    legal = True
    if kind == DISPATCH:
        legal = w.instances[b, choice, SPARE_N] > 0
        if legal:
            enter(w, r, b, choice, scalars[ENTERED])
    elif choice < 0:
        scalars[TICKING] = 0
    else:
        source, target = (choice - count) // count, (choice - count) % count
        legal = migration.pair_is_legal(w, r, b, source, target)
        if legal:
            migration.begin(w, r, b, source, target)
    return legal
