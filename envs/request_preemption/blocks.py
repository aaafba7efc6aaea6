"""KV blocks: taking and releasing them, the prefix cache, and pins. Integers only."""

from fleetgym.envs.core.jit import inner
from fleetgym.envs.request_preemption.types import (
    ASIDE,
    ASIDE_N,
    BLOCK,
    BLOCKS,
    COMPUTED,
    COPIES,
    ENTRIES,
    EVICTABLE,
    FREE,
    GENERATED,
    HALTED,
    HASH_TOKENS,
    HASHED,
    HIT,
    HIT_AT,
    HOST,
    HOST_FREE,
    LISTS,
    NO_PIN,
    PAUSED,
    PIN_END,
    PIN_OPEN,
    PINNED,
    PROGRAM,
    PROMPT,
    QUEUE,
    QUEUED_N,
    R_PREFIX_CACHE,
    ROW,
    ROW_HASH,
    ROW_HASHES,
    RUNNING_N,
    STAMP,
    STATE,
    STRANGE,
    VALID,
    VERSION,
    WAITING,
    Int64,
    Rules,
    World,
)

HASH, USERS, PINNERS, USED = range(4)  # rows of the cache; PINNERS: users that are pins


@inner
def blocks_of(tokens: int) -> int:
    """Blocks that so many tokens take."""
    return (tokens + BLOCK - 1) // BLOCK


@inner
def caches(w: World, r: Rules, b: int) -> bool:
    """Whether prefixes are cached in this world."""
    return bool(r.of[R_PREFIX_CACHE] and w.scalars[b, HASH_TOKENS] > 0)


@inner
def _find(cache: Int64, entries: int, value: int) -> int:
    """The cache's entry of a hash, or -1."""
    for entry in range(entries):
        if cache[HASH, entry] == value:
            return entry
    return -1


@inner
def _remove(w: World, b: int, i: int, entry: int) -> None:
    """Takes an unused entry out of the cache; the last one moves into its place."""
    registers = w.instances[b, i]
    size = w.scalars[b, HASH_TOKENS] // BLOCK
    registers[ENTRIES] -= 1
    last = registers[ENTRIES]
    for row in range(4):
        w.cache[b, i, row, entry] = w.cache[b, i, row, last]
        w.cache[b, i, row, last] = 0
    registers[FREE] += size
    registers[EVICTABLE] -= size
    registers[VERSION] += 1


@inner
def register(w: World, r: Rules, b: int, i: int, s: int) -> None:
    """Enters the full hash blocks of a request into the cache; those there already are shared."""
    slots, registers = w.slots[b, i], w.instances[b, i]
    row, tokens = slots[ROW, s], w.scalars[b, HASH_TOKENS]
    if not caches(w, r, b) or slots[STRANGE, s] == 1:
        return
    count = min(w.rows[b, ROW_HASHES, row], slots[COMPUTED, s] // tokens)
    for j in range(slots[HASHED, s], count):
        value = w.hashes[b, w.rows[b, ROW_HASH, row] + j]
        entry = _find(w.cache[b, i], w.instances[b, i, ENTRIES], value)
        if entry < 0:
            entry = registers[ENTRIES]
            registers[ENTRIES] += 1
            w.cache[b, i, HASH, entry] = value
            w.cache[b, i, USERS, entry] = 1
            w.cache[b, i, PINNERS, entry] = 0
            w.cache[b, i, USED, entry] = 0
            registers[VERSION] += 1
        else:
            _count(w, b, i, entry, 1, 0)
            registers[FREE] += tokens // BLOCK  # its own copy is superfluous
        slots[HASHED, s] = j + 1


@inner
def _count(w: World, b: int, i: int, entry: int, users: int, pinners: int) -> None:
    """Changes the users of an entry, and keeps what is evictable and what pins alone hold."""
    registers, size = w.instances[b, i], w.scalars[b, HASH_TOKENS] // BLOCK
    for sign in (-1, 1):
        if w.cache[b, i, USERS, entry] == 0:
            registers[EVICTABLE] += sign * size
        elif w.cache[b, i, USERS, entry] == w.cache[b, i, PINNERS, entry]:
            registers[PINNED] += sign * size
        if sign < 0:
            w.cache[b, i, USERS, entry] += users
            w.cache[b, i, PINNERS, entry] += pinners


@inner
def _leave(w: World, b: int, i: int, s: int, kept: int) -> None:
    """The request no longer uses its entries from ``kept`` on; the deepest is evicted first."""
    slots, registers = w.slots[b, i], w.instances[b, i]
    start, size = w.rows[b, ROW_HASH, slots[ROW, s]], w.scalars[b, HASH_TOKENS] // BLOCK
    for j in range(slots[HASHED, s] - 1, kept - 1, -1):
        entry = _find(w.cache[b, i], w.instances[b, i, ENTRIES], w.hashes[b, start + j])
        _count(w, b, i, entry, -1, 0)
        registers[STAMP] += 1
        w.cache[b, i, USED, entry] = registers[STAMP]
        slots[BLOCKS, s] -= size
        slots[HASHED, s] = j


@inner
def release(w: World, r: Rules, b: int, i: int, s: int) -> None:
    """Gives all GPU blocks of a request back; full hash blocks stay in the cache."""
    slots = w.slots[b, i]
    register(w, r, b, i, s)
    _leave(w, b, i, s, 0)
    w.instances[b, i, FREE] += slots[BLOCKS, s]
    slots[BLOCKS, s] = 0


@inner
def release_host(w: World, b: int, i: int, s: int) -> None:
    """Gives the host blocks of a request back."""
    w.instances[b, i, HOST_FREE] += w.slots[b, i, HOST, s]
    w.slots[b, i, HOST, s] = 0
    w.slots[b, i, VALID, s] = 0


@inner
def shrink(w: World, b: int, i: int, s: int, tokens: int) -> None:
    """Keeps only the blocks of the first ``tokens`` tokens of a request."""
    slots = w.slots[b, i]
    slots[COMPUTED, s] = tokens
    if slots[HASHED, s] > 0:
        _leave(w, b, i, s, min(slots[HASHED, s], tokens // w.scalars[b, HASH_TOKENS]))
    surplus = slots[BLOCKS, s] - blocks_of(tokens)
    if surplus > 0:
        slots[BLOCKS, s] -= surplus
        w.instances[b, i, FREE] += surplus
    else:  # the end of an entry that others share cannot be kept
        slots[COMPUTED, s] = min(tokens, slots[BLOCKS, s] * BLOCK)


@inner
def _pin(w: World, b: int, i: int, s: int, sign: int) -> None:
    slots, start = w.slots[b, i], w.rows[b, ROW_HASH, w.slots[b, i, ROW, s]]
    for j in range(slots[HASHED, s]):
        _count(
            w,
            b,
            i,
            _find(w.cache[b, i], w.instances[b, i, ENTRIES], w.hashes[b, start + j]),
            0,
            sign,
        )
    w.instances[b, i, PINNED] += sign * private(
        w.slots[b, i], w.scalars[b, HASH_TOKENS] // BLOCK, s
    )


@inner
def private(slots: Int64, size: int, s: int) -> int:
    """Blocks of a request that are no entries of the cache."""
    return int(slots[BLOCKS, s] - slots[HASHED, s] * size)


@inner
def shrink_host(slots: Int64, registers: Int64, s: int, tokens: int) -> None:
    """Keeps only the host's blocks of the first ``tokens`` tokens."""
    surplus = slots[HOST, s] - blocks_of(tokens)
    if surplus > 0:
        slots[HOST, s] -= surplus
        registers[HOST_FREE] += surplus
    slots[VALID, s] = min(slots[VALID, s], tokens // BLOCK)


@inner
def pin(w: World, b: int, i: int, s: int) -> None:
    """Marks the blocks of a request as ones that others may take."""
    _pin(w, b, i, s, 1)


@inner
def unpin(w: World, b: int, i: int, s: int) -> None:
    """The request's blocks are its own again."""
    _pin(w, b, i, s, -1)


@inner
def drop_pin(w: World, r: Rules, b: int, i: int, s: int) -> None:
    """Drops what a pin kept: its request must be computed again."""
    unpin(w, b, i, s)
    release(w, r, b, i, s)
    release_host(w, b, i, s)
    w.slots[b, i, COMPUTED, s] = 0
    w.slots[b, i, PIN_END, s] = NO_PIN


@inner
def _latest_pin(w: World, b: int, i: int) -> int:
    """The slot of the latest program that has a pin."""
    slots, registers = w.slots[b, i], w.instances[b, i]
    best = -1
    for n in range(registers[QUEUED_N]):
        s = slots[LISTS + QUEUE, n]
        pinned = slots[STATE, s] == WAITING and slots[BLOCKS, s] > 0
        if pinned and (best < 0 or slots[PROGRAM, s] > slots[PROGRAM, best]):
            best = s
    for n in range(registers[ASIDE_N]):
        s = slots[LISTS + ASIDE, n]
        pinned = slots[STATE, s] == PAUSED and slots[BLOCKS, s] > 0
        pinned = pinned and slots[PIN_END, s] != PIN_OPEN
        if pinned and (best < 0 or slots[PROGRAM, s] > slots[PROGRAM, best]):
            best = s
    return best


@inner
def make_room(w: World, r: Rules, b: int, i: int, blocks: int) -> None:
    """Evicts cached prefixes, then drops pins, until so many blocks are free."""
    registers = w.instances[b, i]
    while registers[FREE] < blocks:
        oldest = -1
        for entry in range(registers[ENTRIES]):
            if w.cache[b, i, USERS, entry] == 0 and (
                oldest < 0 or w.cache[b, i, USED, entry] < w.cache[b, i, USED, oldest]
            ):
                oldest = entry
        if oldest >= 0:
            _remove(w, b, i, oldest)
        else:
            pinned = _latest_pin(w, b, i)
            if pinned < 0:
                return
            drop_pin(w, r, b, i, pinned)


@inner
def take(w: World, r: Rules, b: int, i: int, s: int, blocks: int) -> None:
    """Gives a request so many blocks; the caller has seen to it that they can be had."""
    registers = w.instances[b, i]
    if registers[FREE] < blocks:
        make_room(w, r, b, i, blocks)
    registers[FREE] -= blocks
    w.slots[b, i, BLOCKS, s] += blocks


@inner
def look_up(w: World, b: int, i: int, s: int) -> None:
    """Notes how much of a waiting request's prefix the cache holds, if the cache has changed."""
    slots, version = w.slots[b, i], w.instances[b, i, VERSION]
    if slots[HIT_AT, s] == version:
        return
    row, tokens, hit = slots[ROW, s], w.scalars[b, HASH_TOKENS], 0
    most = (slots[PROMPT, s] + slots[GENERATED, s] - 1) // tokens
    for j in range(min(w.rows[b, ROW_HASHES, row], most)):
        if (
            _find(
                w.cache[b, i], w.instances[b, i, ENTRIES], w.hashes[b, w.rows[b, ROW_HASH, row] + j]
            )
            < 0
        ):
            break
        hit = j + 1
    slots[HIT, s], slots[HIT_AT, s] = hit, version


@inner
def after_hit(w: World, b: int, i: int, s: int) -> tuple[int, int]:
    """Tokens and blocks that a request would begin with."""
    tokens = w.slots[b, i, HIT, s] * w.scalars[b, HASH_TOKENS]
    return tokens, tokens // BLOCK


@inner
def share(w: World, b: int, i: int, s: int) -> None:
    """Begins a request with the cached prefix that was looked up."""
    slots, tokens = w.slots[b, i], w.scalars[b, HASH_TOKENS]
    start = w.rows[b, ROW_HASH, slots[ROW, s]]
    for j in range(slots[HIT, s]):
        _count(
            w, b, i, _find(w.cache[b, i], w.instances[b, i, ENTRIES], w.hashes[b, start + j]), 1, 0
        )
    slots[HASHED, s] = slots[HIT, s]
    slots[BLOCKS, s] = slots[HIT, s] * (tokens // BLOCK)
    slots[COMPUTED, s] = slots[HIT, s] * tokens


@inner
def obtainable(registers: Int64) -> int:
    """Blocks that running requests can have: free, evictable, or pinned."""
    return int(registers[FREE] + registers[EVICTABLE] + registers[PINNED])


@inner
def is_idle(registers: Int64) -> bool:
    """Whether an instance neither computes nor waits for a copy."""
    runs = registers[RUNNING_N] + registers[COPIES] + registers[HALTED]
    return bool(runs == 0)


@inner
def room(registers: Int64) -> int:
    """Blocks that a request in the queue can have if it holds none: pins give way when idle."""
    pinned = registers[PINNED] if is_idle(registers) else 0
    return int(registers[FREE] + registers[EVICTABLE] + pinned)


@inner
def admissible(w: World, r: Rules, b: int, i: int, s: int) -> int:
    """Blocks that a request in the queue can have beside its own and those of its hit.

    Pins give way to it on an otherwise idle engine only.
    """
    slots, registers = w.slots[b, i], w.instances[b, i]
    idle, blocks = is_idle(registers), room(registers)
    if not caches(w, r, b) or slots[STATE, s] != WAITING:
        if idle and slots[STATE, s] == WAITING:
            blocks -= slots[BLOCKS, s]
        return int(blocks)
    pinned = slots[BLOCKS, s] > 0
    if pinned and idle:
        blocks -= private(w.slots[b, i], w.scalars[b, HASH_TOKENS] // BLOCK, s)
    start, size = w.rows[b, ROW_HASH, slots[ROW, s]], w.scalars[b, HASH_TOKENS] // BLOCK
    for j in range(slots[HASHED, s] if pinned else slots[HIT, s]):
        entry = _find(w.cache[b, i], w.instances[b, i, ENTRIES], w.hashes[b, start + j])
        users = w.cache[b, i, USERS, entry]
        if users == 0 or (idle and users == w.cache[b, i, PINNERS, entry]):
            blocks -= size
    return int(blocks)
