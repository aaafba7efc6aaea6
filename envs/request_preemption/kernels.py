"""The kernels that Python calls: reset, step, elapse, and rollouts of Numba policies."""

from collections.abc import Callable

from fleetgym.envs.core.jit import inner, kernel
from fleetgym.envs.core.status import DONE, ILLEGAL
from fleetgym.envs.request_preemption.actions import RUNS, act, is_legal
from fleetgym.envs.request_preemption.decisions import (
    note_gap_of_service,
    settle,
    write_inbox,
    write_mask,
)
from fleetgym.envs.request_preemption.dynamics import (
    NOBODY,
    ask_again,
    end_episode,
    next_update,
    run_on,
)
from fleetgym.envs.request_preemption.observe import observe, observe_edit
from fleetgym.envs.request_preemption.turns import look_again, note_aside
from fleetgym.envs.request_preemption.types import (
    ARRIVED,
    BUSY,
    CLOCK,
    CUT_LEVEL,
    DIRTY,
    ELAPSED,
    ENDED,
    FIRSTS,
    FOCUS,
    GAP,
    ILLEGALS,
    INSTANT,
    KIND,
    LATE_TBT,
    LATE_TTFT,
    MET_LEVEL,
    MODES,
    NEVER,
    NEXT_ARRIVAL,
    NEXT_UPDATE,
    OVER,
    PHASE,
    PIN,
    PS,
    R_DISTRIBUTED,
    R_MAX_STEPS,
    R_SCORES,
    SCHEDULE,
    SEEN,
    STEPS,
    STOP,
    TERM_FAIRNESS,
    TERM_GOODPUT,
    TERM_TBT,
    TERM_TTFT,
    TERMINATED,
    TERMS,
    TRUNCATED,
    Bool,
    Float64,
    Int64,
    Prices,
    Rules,
    Shown,
    State,
    World,
)

BEGIN, STEP, ELAPSE = range(3)  # what `drive` does

PolicyKernel = Callable[[State, int, Float64, Float64], int]


@inner
def _look(w: World, r: Rules, v: Shown, p: Prices, b: int) -> None:
    """Brings all but the observation up to date, and pays what has become due."""
    settle(w, r, b)
    note_gap_of_service(w, b)
    write_inbox(w, v, b)
    write_mask(w, r, v, b)
    _pay(w, v, p, b)


@inner
def _pay(w: World, v: Shown, p: Prices, b: int) -> None:
    """The reward: what the sums of its terms have grown by."""
    ttft = tbt = goodput = 0.0
    for priority in range(len(p.weights)):
        weight, levels = p.weights[priority], w.levels[b]
        ttft -= p.late * weight * (levels[LATE_TTFT, priority] / PS)
        tbt -= p.late * weight * (levels[LATE_TBT, priority] / PS)
        counted = levels[MET_LEVEL, priority] - levels[CUT_LEVEL, priority]
        goodput += p.goodput * weight * counted
    total = 0.0
    for term in range(len(TERMS)):
        if term == TERM_TTFT:
            now = ttft
        elif term == TERM_TBT:
            now = tbt
        elif term == TERM_GOODPUT:
            now = goodput
        elif term == TERM_FAIRNESS:
            now = -p.fairness * w.scalars[b, GAP] / 1000.0
        else:
            now = -p.illegal * w.scalars[b, ILLEGALS]
        v.reward[b, term] = now - v.paid[b, term]
        v.paid[b, term] = now
        total += v.reward[b, term]
    v.reward[b, len(TERMS)] = total
    v.flags[b, 0] = w.scalars[b, ENDED] == TERMINATED
    v.flags[b, 1] = w.scalars[b, ENDED] == TRUNCATED


@inner
def _run(
    w: World, r: Rules, v: Shown, p: Prices, b: int, op: int, action: Int64, duration: int
) -> int:
    """Begins, steps, or lets a world go on while a policy thinks; returns what came of the action.

    There is one call of `run_on` in the package's compiled code, since it makes up most of it.
    """
    scalars, outcome = w.scalars[b], DONE
    until, thinking, hold, runs = NEVER, False, NOBODY, True
    if op == STEP:
        scalars[STEPS] += 1
        if not is_legal(w, r, v, b, action):
            scalars[ILLEGALS] += 1
            outcome, runs = ILLEGAL, False
    elif op == ELAPSE:
        scalars[ELAPSED], thinking, until = 1, True, scalars[CLOCK] + duration
        if scalars[KIND] in (SCHEDULE, PIN):
            w.instances[b, scalars[FOCUS], DIRTY] = 1
    while runs:
        late = op == STEP and scalars[ELAPSED]
        if late:  # first to a boundary of the instance asked
            scalars[ELAPSED] = 0
            asked = scalars[KIND] in (SCHEDULE, PIN)
            hold, thinking = scalars[FOCUS] if asked else NOBODY, True
            runs = asked and w.instances[b, hold, BUSY]
            if runs:
                look_again(w.instances[b, hold])
        elif op == STEP and not (thinking and scalars[KIND] == OVER):
            outcome = act(w, r, v, b, action)
            runs, hold, thinking = outcome >= RUNS, NOBODY, False
            outcome %= RUNS
        if runs:
            run_on(w, r, b, until, thinking, hold)
        if late:
            ask_again(w, b)
            runs = True
        else:
            break
    if op != ELAPSE:
        if scalars[STEPS] >= r.of[R_MAX_STEPS] and scalars[KIND] != OVER:
            end_episode(w, r, b, TRUNCATED)
        _look(w, r, v, p, b)
    else:
        settle(w, r, b)
    return outcome


@kernel
def drive(
    w: World,
    r: Rules,
    v: Shown,
    p: Prices,
    op: int,
    actions: Int64,
    idle: Bool,
    active: Bool,
    duration: Int64,
) -> None:
    """Begins, steps, or lets go on (``op``) every active world that is not over.

    ``actions`` (B, n) are those of who was asked, numbered as under central control; ``idle`` (B,
    agents) says which agents did nothing, as all others must; ``duration`` (B,) ps is of ELAPSE.
    """
    for b in range(w.scalars.shape[0]):
        v.status[b, :] = DONE
        if not active[b] or (op == ELAPSE and duration[b] <= 0):
            continue
        if op == BEGIN:
            for i in range(w.instances.shape[1]):
                w.instances[b, i, NEXT_UPDATE] = next_update(r, 1)
        elif w.scalars[b, KIND] == OVER:
            v.reward[b, :] = 0.0
            continue
        asked, focus = _asked(w, r, b), w.scalars[b, FOCUS]
        clock, instant = w.scalars[b, CLOCK], w.instances[b, focus, INSTANT]
        place, shown = _place(w, r, b, actions[b, 0]), -1
        if op == STEP:
            shown = w.slots[b, focus, SEEN, place] if place >= 0 else -1
            for agent in range(v.status.shape[1]):
                if agent != asked and not idle[b, agent]:
                    v.status[b, agent] = ILLEGAL
                    w.scalars[b, ILLEGALS] += 1
        v.status[b, asked] = _run(w, r, v, p, b, op, actions[b], duration[b])
        same = (
            w.scalars[b, KIND] == SCHEDULE
            and w.scalars[b, FOCUS] == focus
            and w.scalars[b, CLOCK] == clock
            and w.instances[b, focus, INSTANT] == instant
        )
        if shown >= 0 and same and v.status[b, asked] == DONE:
            observe_edit(w, r, v, b, place, shown)
        elif op != ELAPSE:
            observe(w, r, v, b)
        if op == BEGIN:
            v.reward[b, :] = 0.0


@inner
def _place(w: World, r: Rules, b: int, action: int) -> int:
    """The place in the table of the request that an action starts or preempts, or -1."""
    slots = w.slots.shape[3]
    place = action - MODES
    if w.scalars[b, KIND] != SCHEDULE or r.of[R_SCORES] or not 0 <= place < 2 * slots:
        return -1
    return int(place % slots)


@kernel
def who(w: World, r: Rules, out: Int64) -> None:
    """Writes the number of the agent that is asked in each world, ``(B,)``."""
    for b in range(w.scalars.shape[0]):
        out[b] = _asked(w, r, b)


@inner
def _asked(w: World, r: Rules, b: int) -> int:
    """The number of the agent that is asked: the router is the first where there are several."""
    if not r.of[R_DISTRIBUTED]:
        return 0
    routed = w.instances.shape[1] > 1
    if w.scalars[b, KIND] in (SCHEDULE, PIN):
        return int(w.scalars[b, FOCUS] + routed)
    return 0


@kernel
def catch_up(w: World, r: Rules) -> None:
    """Writes into the slots what is in the registers only."""
    for b in range(w.scalars.shape[0]):
        settle(w, r, b)


@kernel
def close_gate(w: World, r: Rules, v: Shown, p: Prices) -> None:
    """Nothing arrives any more, in any world; decoding batches are looked at again."""
    for b in range(w.scalars.shape[0]):
        w.scalars[b, FIRSTS] = w.scalars[b, ARRIVED]
        w.scalars[b, NEXT_ARRIVAL] = NEVER
        for i in range(w.instances.shape[1]):
            w.instances[b, i, STOP] = w.instances[b, i, PHASE] + 1
            note_aside(w.slots[b, i], w.instances[b, i])
        _look(w, r, v, p, b)
        observe(w, r, v, b)


@kernel
def rollout(
    w: World,
    r: Rules,
    v: Shown,
    p: Prices,
    state: State,
    policy: PolicyKernel,
    parameters: Float64,
    memory: Float64,
    max_steps: int,
    until: Int64,
    actions: Int64,
    counts: Int64,
) -> None:
    """Plays every world with a Numba policy for at most ``max_steps`` actions, up to ``until`` ps.

    ``policy(state, b, parameters, memory)`` returns the action of world ``b``, as under central
    control; ``memory`` (B, m) is the policy's own. ``actions`` (B, K) keeps the first K - 1 and the
    last, ``counts`` (B,) how many there were.
    """
    kept = actions.shape[1]
    for b in range(w.scalars.shape[0]):
        counts[b] = 0
        scalars = w.scalars[b]
        while counts[b] < max_steps and scalars[CLOCK] < until[b] and scalars[KIND] != OVER:
            at = min(counts[b], kept - 1)
            actions[b, at] = policy(state, b, parameters, memory)
            _run(w, r, v, p, b, STEP, actions[b, at : at + 1], 0)
            counts[b] += 1
        observe(w, r, v, b)
