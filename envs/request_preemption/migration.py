"""Live migration between instances (Llumnix, Sun et al., OSDI 2024).

The blocks are copied in stages while the request goes on decoding; in the last stage, which begins
when little is left or as the third, decoding stops.
"""

from fleetgym.envs.core.jit import inner
from fleetgym.envs.request_preemption import blocks as kv
from fleetgym.envs.request_preemption.edits import has_seat, run
from fleetgym.envs.request_preemption.iteration import decodes
from fleetgym.envs.request_preemption.queues import append, pop, remove
from fleetgym.envs.request_preemption.turns import look_again, note_aside, vacate
from fleetgym.envs.request_preemption.types import (
    ASIDE,
    BLOCKS,
    CHANGED,
    CHUNK,
    CLOCK,
    COMPUTED,
    COPIED,
    COPY_END,
    DOWNTIME,
    EVICTABLE,
    FINAL_BLOCKS,
    FREE,
    HALTED,
    HASHED,
    HIT_AT,
    HOST,
    INCOMING,
    LISTS,
    LIVE,
    MIGRATIONS,
    MOVED_ROW,
    MOVED_SLOT,
    MOVING,
    NEVER,
    NO_PIN,
    OUTPUT,
    PIN_END,
    PRIORITY,
    R_GROUP_BLOCKS,
    R_MAX_NUM_SEQS,
    R_MOVE_BLOCK,
    R_MOVE_FIXED,
    ROW,
    RUN,
    RUNNING,
    RUNNING_N,
    SEATS,
    SPARE,
    SPARE_N,
    STAGE,
    STAGE_DUE,
    STAGE_END,
    STAGES,
    STATE,
    STOPPED,
    STRANGE,
    TARGET,
    TARGET_SLOT,
    VALID,
    WAKE,
    Rules,
    World,
)


@inner
def candidate(w: World, b: int, i: int) -> int:
    """The decoding request that migrates: least priority, then fewest tokens; or -1."""
    slots, best = w.slots[b, i], -1
    for n in range(w.instances[b, i, RUNNING_N]):
        s = w.slots[b, i, LISTS + RUN, n]
        if not decodes(slots, s):
            continue
        if best < 0 or (slots[PRIORITY, s], slots[COMPUTED, s]) < (
            slots[PRIORITY, best],
            slots[COMPUTED, best],
        ):
            best = s
    return best


@inner
def pair_is_legal(w: World, r: Rules, b: int, source: int, target: int) -> bool:
    """Whether a request of the source may begin to migrate to the target."""
    registers, other = w.instances[b, source], w.instances[b, target]
    if source == target or registers[MOVED_SLOT] >= 0:
        return False
    s = candidate(w, b, source)
    if s < 0 or other[SPARE_N] == 0 or not has_seat(other, r.of[R_MAX_NUM_SEQS]):
        return False
    blocks = kv.blocks_of(w.slots[b, source, COMPUTED, s]) + 1
    return bool(other[FREE] + other[EVICTABLE] >= blocks)


@inner
def some_pair(w: World, r: Rules, b: int) -> bool:
    """Whether any migration may begin."""
    for source in range(w.instances.shape[1]):
        for target in range(w.instances.shape[1]):
            if pair_is_legal(w, r, b, source, target):
                return True
    return False


@inner
def begin(w: World, r: Rules, b: int, source: int, target: int) -> None:
    """Begins the first stage, and reserves a place at the target."""
    registers, s = w.instances[b, source], candidate(w, b, source)
    place = pop(w.slots[b, target], w.instances[b, target], SPARE)
    w.scalars[b, LIVE] += 1
    slots = w.slots[b, target]
    slots[STATE, place], slots[ROW, place] = INCOMING, w.slots[b, source, ROW, s]
    slots[HASHED, place] = slots[BLOCKS, place] = 0
    slots[PIN_END, place] = NO_PIN
    w.slots[b, target, WAKE, place] = -1
    append(w.slots[b, target], w.instances[b, target], ASIDE, place)
    w.instances[b, target, SEATS] += 1
    w.instances[b, target, HALTED] += 1
    computed = w.slots[b, source, COMPUTED, s]
    kv.take(w, r, b, target, place, kv.blocks_of(computed) + 1)
    registers[MOVED_SLOT], registers[MOVED_ROW] = s, w.slots[b, source, ROW, s]
    registers[TARGET], registers[TARGET_SLOT], registers[STAGE] = target, place, 1
    registers[STAGE_DUE] = 0
    registers[COPIED] = computed
    registers[STAGE_END] = w.scalars[b, CLOCK] + move_time(r, kv.blocks_of(computed))


@inner
def move_time(r: Rules, blocks: int) -> int:
    """Picoseconds of a copy between instances."""
    groups = (blocks + r.of[R_GROUP_BLOCKS] - 1) // r.of[R_GROUP_BLOCKS]
    return int(groups * r.of[R_MOVE_FIXED] + blocks * r.of[R_MOVE_BLOCK])


@inner
def next_stage(w: World, r: Rules, b: int, i: int) -> None:
    """A stage of the migration from this instance has ended, and it is at a boundary."""
    slots, registers = w.slots[b, i], w.instances[b, i]
    s, target, place = registers[MOVED_SLOT], registers[TARGET], registers[TARGET_SLOT]
    registers[STAGE_DUE] = 0
    if slots[ROW, s] != registers[MOVED_ROW] or slots[STATE, s] != RUNNING:
        abort(w, b, i)
        return
    computed, other = slots[COMPUTED, s], w.instances[b, target]
    more = max(0, kv.blocks_of(computed) + 1 - w.slots[b, target, BLOCKS, place])
    if more > other[FREE] + other[EVICTABLE]:
        abort(w, b, i)
        return
    kv.take(w, r, b, target, place, more)
    rest = kv.blocks_of(max(0, computed - registers[COPIED]))
    registers[STAGE] += 1
    registers[COPIED] = computed
    end = w.scalars[b, CLOCK] + move_time(r, rest)
    if rest > FINAL_BLOCKS and registers[STAGE] < STAGES:
        registers[STAGE_END] = end
        return
    registers[STAGE_END] = NEVER
    remove(slots, registers, RUN, s)
    slots[STATE, s], slots[COPY_END, s] = MOVING, end
    append(slots, registers, ASIDE, s)
    registers[HALTED] += 1
    note_aside(slots, registers)
    registers[STOPPED] = w.scalars[b, CLOCK]


@inner
def abort(w: World, b: int, i: int) -> None:
    """The migration from this instance comes to nothing; the place at its target is given back."""
    registers = w.instances[b, i]
    target, place = registers[TARGET], registers[TARGET_SLOT]
    _unreserve(w, b, target, place)
    w.instances[b, target, FREE] += w.slots[b, target, BLOCKS, place]
    w.slots[b, target, BLOCKS, place] = 0
    vacate(w, b, target, place)
    registers[MOVED_SLOT], registers[STAGE_END] = -1, NEVER
    look_again(registers)
    look_again(w.instances[b, target])


@inner
def _unreserve(w: World, b: int, target: int, place: int) -> None:
    remove(w.slots[b, target], w.instances[b, target], ASIDE, place)
    w.instances[b, target, SEATS] -= 1
    w.instances[b, target, HALTED] -= 1


@inner
def complete(w: World, r: Rules, b: int, i: int) -> None:
    """The last stage has ended: the request goes on running at the target."""
    slots, registers = w.slots[b, i], w.instances[b, i]
    s, target, place = registers[MOVED_SLOT], registers[TARGET], registers[TARGET_SLOT]
    reserved = w.slots[b, target, BLOCKS, place]
    _unreserve(w, b, target, place)
    for field in range(LISTS):
        w.slots[b, target, field, place] = slots[field, s]
    w.slots[b, target, OUTPUT, place] = w.slots[b, i, OUTPUT, s]
    blocks = kv.blocks_of(slots[COMPUTED, s])
    w.slots[b, target, BLOCKS, place] = blocks
    w.instances[b, target, FREE] += reserved - blocks
    for field in (HASHED, HOST, VALID, CHUNK):
        w.slots[b, target, field, place] = 0
    w.slots[b, target, STRANGE, place] = 1
    w.slots[b, target, CHANGED, place] = w.slots[b, target, HIT_AT, place] = -1
    run(w, b, target, place)
    remove(slots, registers, ASIDE, s)
    registers[HALTED] -= 1
    kv.release(w, r, b, i, s)
    kv.release_host(w, b, i, s)
    vacate(w, b, i, s)
    registers[MOVED_SLOT] = -1
    w.scalars[b, MIGRATIONS] += 1
    w.scalars[b, DOWNTIME] += w.scalars[b, CLOCK] - registers[STOPPED]
    look_again(registers)
    look_again(w.instances[b, target])
