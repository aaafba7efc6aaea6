"""What is asked of whom, and what is legal: the masks."""

from fleetgym.envs.core.jit import inner
from fleetgym.envs.request_preemption import blocks as kv
from fleetgym.envs.request_preemption.edits import begins, begins_within, fits, has_seat, may_change
from fleetgym.envs.request_preemption.iteration import compose, flush, short
from fleetgym.envs.request_preemption.lateness import charge
from fleetgym.envs.request_preemption.migration import pair_is_legal
from fleetgym.envs.request_preemption.queues import service_gap, table_slot
from fleetgym.envs.request_preemption.types import (
    ASIDE,
    ASIDE_N,
    CHOSEN,
    CLOCK,
    COMPUTED,
    DECISIONS,
    DISPATCH,
    EDITED,
    ENTERED,
    FOCUS,
    GAP,
    HOST,
    HOST_FREE,
    INSTANT,
    KIND,
    LISTS,
    MAX_GAP,
    MIXED,
    MODES,
    OVER,
    PIN,
    PIN_END,
    PIN_OPEN,
    PIN_SLOT,
    PREEMPTED_NOW,
    QUEUE,
    QUEUED_N,
    R_MAX_NUM_SEQS,
    R_PREEMPTION,
    R_TOKEN_BUDGET,
    ROW,
    ROW_CLIENT,
    ROW_PREDICTED,
    ROW_PROMPT,
    RUN,
    RUNNING_N,
    SCHEDULE,
    SEEN,
    SEEN_ROW,
    SINCE,
    SPARE_N,
    Rules,
    Shown,
    World,
)


@inner
def settle(w: World, r: Rules, b: int) -> None:
    """Brings every slot up to the clock, and charges what is late."""
    for i in range(w.instances.shape[1]):
        flush(w, r, b, i)
        for which in (RUN, QUEUE, ASIDE):
            for n in range(w.instances[b, i, which]):
                charge(w, r, b, i, w.slots[b, i, LISTS + which, n], w.scalars[b, CLOCK])


@inner
def note_gap_of_service(w: World, b: int) -> None:
    """Notes the gap in service between clients."""
    gap = service_gap(w, b)
    w.scalars[b, GAP] = gap
    w.scalars[b, MAX_GAP] = max(w.scalars[b, MAX_GAP], gap)


@inner
def ask(w: World, r: Rules, b: int, kind: int, i: int) -> None:
    """A decision is asked for; a scheduling one begins a new instant."""
    registers = w.instances[b, i]
    w.scalars[b, KIND], w.scalars[b, FOCUS], w.scalars[b, EDITED] = kind, i, 0
    if kind == SCHEDULE:
        registers[INSTANT] += 1
        registers[SINCE] = registers[PREEMPTED_NOW] = 0
    w.scalars[b, DECISIONS] += 1


@inner
def open_pin(w: World, b: int, i: int) -> int:
    """The first slot whose pin is to be decided, or -1."""
    for n in range(w.instances[b, i, ASIDE_N]):
        s = w.slots[b, i, LISTS + ASIDE, n]
        if w.slots[b, i, PIN_END, s] == PIN_OPEN:
            return int(s)
    return -1


@inner
def go_is_legal(w: World, r: Rules, b: int, i: int, mode: int) -> bool:
    """Whether an instance may go on in a mode: blocks suffice, and it does not idle in vain."""
    slots, registers = w.slots[b, i], w.instances[b, i]
    if short(w, r, b, i, mode):
        return False
    if kv.is_idle(w.instances[b, i]):
        need, budget = compose(slots, registers, r.of[R_TOKEN_BUDGET], MIXED)
        for n in range(w.instances[b, i, QUEUED_N]):
            if fits(w, r, b, i, w.slots[b, i, LISTS + QUEUE, n], need, budget):
                return False
    return True


@inner
def write_mask(w: World, r: Rules, v: Shown, b: int) -> None:
    """Writes the masks of the decision asked for, and what was seen at each position."""
    mask, kind, i = v.mask[b], w.scalars[b, KIND], w.scalars[b, FOCUS]
    mask[:] = 0
    for n in range(w.slots.shape[3]):
        w.slots[b, i, SEEN, n] = -1
    if kind == SCHEDULE:
        _schedule(w, r, v, b, i)
    elif kind == PIN:
        _pins(w, r, v, b, i)
    elif kind == DISPATCH:
        for target in range(w.instances.shape[1]):
            mask[_router(w, r) + target] = w.instances[b, target, SPARE_N] > 0
    elif kind != OVER:
        _pairs(w, r, v, b)
    else:
        mask[0] = 1
    _show(w, v, b, i)


@inner
def _schedule(w: World, r: Rules, v: Shown, b: int, i: int) -> None:
    mask, registers, slots = v.mask[b], w.instances[b, i], w.slots[b, i]
    free, shown = kv.obtainable(registers), slots.shape[1]
    for mode in range(MODES - 1, -1, -1):
        need, budget = compose(slots, registers, r.of[R_TOKEN_BUDGET], mode)
        mask[mode] = need <= free
    some, seat = False, has_seat(registers, r.of[R_MAX_NUM_SEQS])
    room, caches = kv.room(registers) - need, kv.caches(w, r, b)
    for n in range(registers[RUNNING_N] + registers[QUEUED_N]):
        s = table_slot(slots, registers, n)
        if n < registers[RUNNING_N]:
            legal = may_change(slots, registers, s)
            if r.of[R_PREEMPTION] == CHOSEN and legal and slots[COMPUTED, s] > 0:
                mask[MODES + shown + n] = 1
        else:
            legal = seat and may_change(slots, registers, s)
            if legal and begins(slots, s) and not caches:  # as `fits`, which costs more
                legal = begins_within(slots, s, room, budget)
            elif legal:
                legal = fits(w, r, b, i, s, need, budget)
            some = some or legal
        mask[MODES + n] = legal
        w.slots[b, i, SEEN, n], w.slots[b, i, SEEN_ROW, n] = s, slots[ROW, s]
    if some and kv.is_idle(w.instances[b, i]):
        mask[:MODES] = 0


@inner
def pin_start(w: World, r: Rules) -> int:
    """The first action that says how long a turn is pinned."""
    return int(MODES + w.slots.shape[3] * (2 if r.of[R_PREEMPTION] == CHOSEN else 1))


@inner
def _router(w: World, r: Rules) -> int:
    """The first of the router's actions under central control."""
    return pin_start(w, r) + (len(r.ttls) + 1 if len(r.ttls) > 0 else 0)


@inner
def _pins(w: World, r: Rules, v: Shown, b: int, i: int) -> None:
    start, s = pin_start(w, r), w.scalars[b, PIN_SLOT]
    slots = w.slots[b, i]
    v.mask[b, start : start + len(r.ttls)] = 1
    lack = kv.blocks_of(slots[COMPUTED, s]) - slots[HOST, s]
    v.mask[b, start + len(r.ttls)] = lack <= w.instances[b, i, HOST_FREE]
    w.slots[b, i, SEEN, 0], w.slots[b, i, SEEN_ROW, 0] = s, slots[ROW, s]


@inner
def _pairs(w: World, r: Rules, v: Shown, b: int) -> None:
    count, start = w.instances.shape[1], _router(w, r)
    v.mask[b, 0] = 1
    for source in range(count):
        for target in range(count):
            at = start + count + source * count + target
            v.mask[b, at] = pair_is_legal(w, r, b, source, target)


@inner
def _show(w: World, v: Shown, b: int, focus: int) -> None:
    """Copies the mask to the agents: who has nothing to decide may only do nothing."""
    kind, actions = w.scalars[b, KIND], v.mask_instances.shape[2]
    v.mask_instances[b, :, :] = 0
    v.mask_router[b, :] = 0
    v.mask_instances[b, :, 0] = 1
    v.mask_router[b, 0] = 1
    if kind in (SCHEDULE, PIN):
        for action in range(actions):
            v.mask_instances[b, focus, action] = v.mask[b, action]
    elif kind != OVER:
        v.mask_router[b, 0] = v.mask[b, 0]
        for action in range(1, v.mask_router.shape[1]):
            v.mask_router[b, action] = v.mask[b, actions + action - 1]


@inner
def write_inbox(w: World, v: Shown, b: int) -> None:
    """Shows the router the request that it is to dispatch."""
    row = w.scalars[b, ENTERED] if w.scalars[b, KIND] == DISPATCH else -1
    v.inbox[b, 0] = row
    v.inbox[b, 1] = w.rows[b, ROW_PROMPT, row] if row >= 0 else 0
    v.inbox[b, 2] = w.rows[b, ROW_PREDICTED, row] if row >= 0 else 0
    v.inbox[b, 3] = w.rows[b, ROW_CLIENT, row] if row >= 0 else 0
