"""Time: events in their order, and what happens at the boundary between two iterations."""

from fleetgym.envs.core.jit import inner
from fleetgym.envs.request_preemption import migration
from fleetgym.envs.request_preemption.blocks import drop_pin, is_idle
from fleetgym.envs.request_preemption.chance import keeps, level
from fleetgym.envs.request_preemption.decisions import (
    ask,
    note_gap_of_service,
    open_pin,
    settle,
)
from fleetgym.envs.request_preemption.edits import end_copy
from fleetgym.envs.request_preemption.iteration import decode_on, end_prefill, flush, short, start
from fleetgym.envs.request_preemption.turns import (
    aside_time,
    enter,
    look_again,
    note_aside,
    reject,
    too_large,
    wake,
)
from fleetgym.envs.request_preemption.types import (
    ACCEPTED,
    ARRIVED,
    ASIDE,
    ASIDE_N,
    ASIDE_NEXT,
    BUSY,
    CLOCK,
    COMING,
    CUT_LEVEL,
    DEFERRED,
    DIRTY,
    DISPATCH,
    DONE_LAST,
    EMPTY,
    END,
    ENDED,
    ENTERED,
    FIRSTS,
    FLAG,
    INCOMING,
    ITERATIONS,
    KIND,
    LEAVING,
    LISTS,
    LIVE,
    MODE,
    MOVING,
    NEVER,
    NEXT_ARRIVAL,
    NEXT_UPDATE,
    OVER,
    PIN,
    PIN_SLOT,
    PREEMPTED_NOW,
    PREFILLED,
    PRIORITY,
    PURE,
    QUEUE,
    QUEUED_N,
    R_DECISION_ITERATIONS,
    R_HORIZON,
    R_LEVELS,
    R_MARKOV,
    R_REBALANCE,
    R_UPDATES,
    REBALANCE,
    ROW,
    ROW_ARRIVAL,
    RUN,
    RUNNING_N,
    SCHEDULE,
    SEED,
    SINCE,
    SPARE_N,
    STAGE_DUE,
    STAGE_END,
    STATE,
    TERMINATED,
    TICK,
    TICKING,
    TRUNCATED,
    UNFINISHED,
    UPDATE,
    WAKE,
    Rules,
    World,
)

NOBODY, MILLION = -1, 1_000_000


@inner
def run_on(w: World, r: Rules, b: int, until: int, thinking: bool, hold: int) -> None:
    """Runs a world on to its next decision.

    While a policy is ``thinking``, it runs up to ``until`` ps, or to the next boundary of the
    instance ``hold``; decisions that come up are deferred: what runs goes on, the rest waits.
    """
    while True:
        at = _next_event(w, b, NOBODY)
        if at <= w.scalars[b, CLOCK]:
            _happen(w, r, b, at, until)
            continue
        if _router_asks(w, r, b, thinking):
            return
        i = _dirty(w, b)
        if i >= 0:
            if i == hold or _boundary(w, r, b, i, thinking):
                return
            continue
        if w.scalars[b, LIVE] == 0 and w.scalars[b, ENTERED] == w.scalars[b, FIRSTS]:
            end_episode(w, r, b, TERMINATED)
            return
        if min(at, until) >= r.of[R_HORIZON]:
            w.scalars[b, CLOCK] = r.of[R_HORIZON]
            end_episode(w, r, b, TRUNCATED)
            return
        if at > until:
            w.scalars[b, CLOCK] = until
            return
        _happen(w, r, b, at, until)


@inner
def _next_event(w: World, b: int, but: int) -> int:
    """The time of the next event, the end of the iteration on one instance left out."""
    at = min(w.scalars[b, NEXT_ARRIVAL], w.scalars[b, TICK])
    for i in range(w.instances.shape[1]):
        registers = w.instances[b, i]
        at = min(at, w.instances[b, i, ASIDE_NEXT], registers[STAGE_END])
        if registers[BUSY] and i != but:
            at = min(at, registers[END])
    return int(at)


@inner
def _happen(w: World, r: Rules, b: int, at: int, until: int) -> None:
    """Everything that happens at a time: ends of iterations, copies and turns, arrivals, ticks."""
    scalars = w.scalars[b]
    scalars[CLOCK] = max(scalars[CLOCK], at)
    _ends(w, r, b, until)
    if scalars[CLOCK] > at:  # a batch ran on to another event; there may be ends at that time too
        _ends(w, r, b, until)
    at = scalars[CLOCK]
    if w.clients.shape[2] > 1:  # who joins a queue is lifted to counters that are up to date
        for i in range(w.instances.shape[1]):
            flush(w, r, b, i)
    for i in range(w.instances.shape[1]):
        if w.instances[b, i, ASIDE_NEXT] <= at:
            _aside(w, r, b, i, at)
    for i in range(w.instances.shape[1]):
        registers = w.instances[b, i]
        if registers[STAGE_END] <= at:
            registers[STAGE_END], registers[STAGE_DUE] = NEVER, 1
        if registers[STAGE_DUE] and not registers[BUSY]:
            migration.next_stage(w, r, b, i)
    if w.scalars[b, NEXT_ARRIVAL] <= at:
        _arrive(w, r, b, at)
    if scalars[TICK] <= at:
        scalars[TICK] += r.of[R_REBALANCE]
        scalars[TICKING] = 1


@inner
def _ends(w: World, r: Rules, b: int, until: int) -> None:
    """Iterations that end now. A decoding batch runs on, up to whatever else happens next."""
    scalars, now = w.scalars[b], w.scalars[b, CLOCK]
    for i in range(w.instances.shape[1]):
        registers = w.instances[b, i]
        if not registers[BUSY] or registers[END] > now:
            continue
        if registers[PURE]:
            limit = min(_next_event(w, b, i), until, r.of[R_HORIZON] - 1)
            if _dirty(w, b) != NOBODY:
                limit = now
            if decode_on(w, r, b, i, limit):
                scalars[CLOCK] = max(scalars[CLOCK], registers[DONE_LAST])
                flush(w, r, b, i)
        else:
            end_prefill(w, r, b, i)
        if not registers[BUSY] and registers[ITERATIONS] >= registers[NEXT_UPDATE]:
            _update_priorities(w, r, b, i)


@inner
def _aside(w: World, r: Rules, b: int, i: int, at: int) -> None:
    """Events of those aside that are due, in the order of the list."""
    registers = w.instances[b, i]
    slots, n = w.slots[b, i], 0
    while n < w.instances[b, i, ASIDE_N]:
        s = w.slots[b, i, LISTS + ASIDE, n]
        if aside_time(slots, s) > at:
            n += 1
            continue
        state = slots[STATE, s]
        if state in (LEAVING, COMING):
            end_copy(w, r, b, i, s)
        elif state == MOVING:
            migration.complete(w, r, b, i)
        elif w.slots[b, i, WAKE, s] <= at:
            wake(w, r, b, i, s)
        else:
            drop_pin(w, r, b, i, s)
            look_again(registers)
        n = 0
    note_aside(slots, registers)


@inner
def _arrive(w: World, r: Rules, b: int, at: int) -> None:
    """First turns whose time has come; those that can never fit are rejected."""
    scalars, times = w.scalars[b], w.times[b, ROW_ARRIVAL]
    while scalars[ARRIVED] < scalars[FIRSTS] and times[scalars[ARRIVED]] <= at:
        if too_large(w, r, b, scalars[ARRIVED]):
            reject(w, b, scalars[ARRIVED])
        else:
            scalars[ACCEPTED] += 1
        scalars[ARRIVED] += 1
    w.scalars[b, NEXT_ARRIVAL] = NEVER
    if scalars[ARRIVED] < scalars[FIRSTS]:
        w.scalars[b, NEXT_ARRIVAL] = times[scalars[ARRIVED]]


@inner
def _router_asks(w: World, r: Rules, b: int, thinking: bool) -> bool:
    """Takes up arrivals where there is one instance; else asks where they go, and who migrates."""
    scalars, count = w.scalars[b], w.instances.shape[1]
    while scalars[ENTERED] < scalars[ARRIVED]:
        if too_large(w, r, b, scalars[ENTERED]):
            scalars[ENTERED] += 1
        elif count == 1:
            if w.instances[b, 0, SPARE_N] == 0:
                break
            enter(w, r, b, 0, scalars[ENTERED])
        else:
            if thinking or _full(w, b):
                break
            ask(w, r, b, DISPATCH, 0)
            return True
    if scalars[TICKING] and not thinking:
        settle(w, r, b)
        if migration.some_pair(w, r, b):
            ask(w, r, b, REBALANCE, 0)
            return True
        scalars[TICKING] = 0
    return False


@inner
def _full(w: World, b: int) -> bool:
    """Whether no instance has a spare slot."""
    most = 0
    for i in range(w.instances.shape[1]):
        most = max(most, w.instances[b, i, SPARE_N])
    return most == 0


@inner
def _dirty(w: World, b: int) -> int:
    """The first instance at a boundary that is to be looked at, or NOBODY."""
    for i in range(w.instances.shape[1]):
        if w.instances[b, i, DIRTY] and not w.instances[b, i, BUSY]:
            return i
    return NOBODY


@inner
def _boundary(w: World, r: Rules, b: int, i: int, thinking: bool) -> bool:
    """Looks at an instance between iterations; whether a decision is asked for."""
    registers = w.instances[b, i]
    registers[DIRTY] = 0
    pin = open_pin(w, b, i)
    if pin >= 0:
        if not thinking:
            w.scalars[b, PIN_SLOT] = pin
            registers[DIRTY] = 1
            ask(w, r, b, PIN, i)
            return True
        registers[DEFERRED] = 1
    lacks = registers[RUNNING_N] > 0 and short(w, r, b, i, registers[MODE])
    waits = registers[QUEUED_N] > 0 and (
        registers[FLAG] == 1
        or registers[PREFILLED] == 1
        or registers[SINCE] >= r.of[R_DECISION_ITERATIONS]
        or registers[RUNNING_N] == 0
    )
    if lacks or waits:
        if not thinking:
            ask(w, r, b, SCHEDULE, i)
            return True
        registers[DEFERRED] = 1
    if registers[RUNNING_N] > 0 and not lacks:
        start(w, r, b, i)
    return False


@inner
def go(w: World, r: Rules, b: int, i: int, mode: int) -> None:
    """Ends an instant: what runs goes on in a mode, for one iteration if some were preempted."""
    registers = w.instances[b, i]
    registers[MODE], registers[DIRTY] = mode, 0
    if registers[RUNNING_N] > 0:
        start(w, r, b, i)
        registers[FLAG] = registers[PREEMPTED_NOW] > 0
    elif registers[QUEUED_N] > 0 and is_idle(registers):
        registers[DIRTY] = 1  # all were preempted in this instant: they may come back in the next


@inner
def next_update(r: Rules, update: int) -> int:
    """Iterations after which priorities are updated for the ``update``-th time."""
    return (
        (update * MILLION + r.of[R_UPDATES] - 1) // r.of[R_UPDATES]
        if r.of[R_UPDATES] > 0
        else NEVER
    )


@inner
def _update_priorities(w: World, r: Rules, b: int, i: int) -> None:
    """Draws the priorities of an instance's requests anew (FastSwitch's update patterns)."""
    settle(w, r, b)
    registers, slots = w.instances[b, i], w.slots[b, i]
    registers[UPDATE] += 1
    update, seed = registers[UPDATE], w.scalars[b, SEED]
    registers[NEXT_UPDATE] = next_update(r, update + 1)
    for s in range(slots.shape[1]):
        if slots[STATE, s] not in (EMPTY, INCOMING) and not (
            r.of[R_MARKOV] and keeps(seed, slots[ROW, s], update)
        ):
            slots[PRIORITY, s] = level(seed, slots[ROW, s], update, r.of[R_LEVELS])
    registers[FLAG] = 1


@inner
def end_episode(w: World, r: Rules, b: int, flag: int) -> None:
    """The episode is over; what is unfinished counts as missed."""
    settle(w, r, b)
    w.scalars[b, ENDED] = flag
    w.scalars[b, KIND] = OVER
    note_gap_of_service(w, b)
    for i in range(w.instances.shape[1]):
        for which in (RUN, QUEUE, ASIDE):
            for n in range(w.instances[b, i, which]):
                s = w.slots[b, i, LISTS + which, n]
                under_way = w.slots[b, i, WAKE, s] < 0 and w.slots[b, i, STATE, s] != INCOMING
                if under_way:
                    _cut(w, b, w.slots[b, i, PRIORITY, s])
    for row in range(w.scalars[b, ENTERED], w.scalars[b, ARRIVED]):
        if not too_large(w, r, b, row):
            _cut(w, b, level(w.scalars[b, SEED], row, 0, r.of[R_LEVELS]))


@inner
def _cut(w: World, b: int, priority: int) -> None:
    w.scalars[b, UNFINISHED] += 1
    w.levels[b, CUT_LEVEL, priority] += 1


@inner
def ask_again(w: World, b: int) -> None:
    """Decisions that came up while a policy was thinking are asked for again."""
    for i in range(w.instances.shape[1]):
        registers = w.instances[b, i]
        if registers[DEFERRED]:
            registers[DEFERRED] = 0
            look_again(registers)
