"""What one serving instance holds: its requests, their KV blocks, and what an iteration would do.

Nothing is kept that can be recomputed: free blocks, references of cache entries and the tokens of
the next iteration are derived from the requests, every time.
"""

from dataclasses import dataclass, field, replace

BLOCK = 16  # tokens of a KV block
MIXED, DECODE_FIRST, PREFILL_FIRST = range(3)
WAITING, RUNNING, SWAPPED, LEAVING = "waiting", "running", "swapped", "leaving"
COMING, PAUSED, MOVING, INCOMING = "coming", "paused", "moving", "incoming"
IN_FLIGHT = (COMING, LEAVING, MOVING, INCOMING)


def ceil16(tokens):
    return (tokens + BLOCK - 1) // BLOCK


@dataclass(eq=False)
class Request:
    """A request in a slot. `held`: hashes of the shared cache entries among its blocks."""

    row: int
    arrival: int
    prompt: int
    output: int
    client: int
    program: int
    program_start: int
    hashes: list
    priority: int = 0
    state: str = WAITING
    k: int = 0  # computed tokens
    g: int = 0  # generated tokens
    blocks: int = 0
    held: list = field(default_factory=list)
    cpu: int = 0  # blocks held in host memory
    valid: int = 0  # of these, the ones that were full when they were copied
    may_register: bool = True
    admitted: bool = False  # the row has run before
    turn: int = 0
    first: int = -1
    last: int = -1
    gaps_late: int = 0
    charged: int = 0
    between: bool = False  # its turn is over, the next has not come
    wake: int = -1
    pin_decided: bool = False
    pin_end: int | None = None
    copy_end: int = -1

    def lacking(self):
        return self.prompt + self.g - self.k

    def decodes(self):
        return self.g > 0 and self.k == self.prompt + self.g - 1 and self.k > 0


class Instance:
    """Three lists of requests, and a prefix cache: hash -> LRU stamp."""

    def __init__(self, scenario, table, hash_tokens):
        self.scenario, self.table, self.hash_tokens = scenario, table, hash_tokens
        self.entry_blocks = hash_tokens // BLOCK
        self.running, self.queue, self.aside = [], [], []
        self.cache, self.stamp = {}, 0

    def requests(self):
        return self.running + self.queue + self.aside

    def free_slots(self):
        return self.scenario.slots - len(self.requests())

    def in_flight(self):
        return any(r.state in IN_FLIGHT for r in self.aside)

    def seat(self):
        """Whether one more request may run."""
        coming = sum(r.state in (COMING, INCOMING) for r in self.aside)
        return len(self.running) + coming < self.scenario.max_num_seqs

    def host_free(self):
        return self.scenario.cpu_blocks - sum(r.cpu for r in self.requests())

    # Blocks on the GPU

    def private(self, request):
        return request.blocks - len(request.held) * self.entry_blocks

    def free(self):
        held = sum(self.private(r) for r in self.requests())
        return self.scenario.kv_blocks - held - len(self.cache) * self.entry_blocks

    def referenced(self, requests):
        return {h for r in requests for h in r.held}

    def evictable(self):
        unused = self.cache.keys() - self.referenced(self.requests())
        return len(unused) * self.entry_blocks

    def pins(self):
        """Whose blocks may be dropped: paused with a decided pin, or woken and not yet running."""
        return [
            r
            for r in self.requests()
            if r.blocks > 0 and (r.state == WAITING or (r.state == PAUSED and r.pin_decided))
        ]

    def available(self, but=None, hit=(), with_pins=True):
        """Blocks that can be had: free, evictable, and what dropping the pins would give.

        A request's own pin (`but`) and the entries it would refer to (`hit`) are not for it to
        take. An entry that another request refers to as well does not come with a pin.
        """
        pins = [r for r in self.pins() if r is not but] if with_pins else []
        kept = self.referenced(r for r in self.requests() if r not in pins) | set(hit)
        evictable = len(self.cache.keys() - kept) * self.entry_blocks
        return self.free() + evictable + sum(self.private(r) for r in pins)

    def pinned(self):
        return self.available() - self.free() - self.evictable()

    def room(self):
        """Blocks for one that comes from outside: no pin is dropped for it."""
        return self.free() + self.evictable()

    def take(self, request, blocks):
        """Gives it blocks: free ones, then the cache's in LRU order, then the latest pin's."""
        while self.free() < blocks:
            unused = self.cache.keys() - self.referenced(self.requests())
            if unused:
                del self.cache[min(unused, key=self.cache.__getitem__)]
            else:
                self.drop(max(self.pins(), key=lambda r: r.program))
        request.blocks += blocks

    def register(self, request):
        """Its complete hash blocks become shared cache entries, or it joins those there are."""
        if not (self.scenario.prefix_cache and self.entry_blocks and request.may_register):
            return
        count = min(len(request.hashes), request.k // self.hash_tokens)
        for name in request.hashes[len(request.held) : count]:
            self.cache.setdefault(name, self.stamp)
            request.held.append(name)

    def refer_less(self, request, keep):
        """Gives back its references from the deepest on, until `keep` are left."""
        while len(request.held) > keep:
            self.stamp += 1
            self.cache[request.held.pop()] = self.stamp
            request.blocks -= self.entry_blocks

    def release(self, request):
        self.register(request)
        self.refer_less(request, 0)
        request.blocks = 0

    def drop(self, request):
        """It starts again from nothing."""
        self.release(request)
        request.k = request.cpu = request.valid = 0
        request.pin_end = None

    def hit(self, request):
        """The entries it would start with."""
        if not self.scenario.prefix_cache or not self.entry_blocks or request.k > 0:
            return []
        most = (request.prompt + request.g - 1) // self.hash_tokens
        names = []
        for name in request.hashes[:most]:
            if name not in self.cache:
                break
            names.append(name)
        return names

    def with_hit(self, request):
        """The request as it would start: a copy."""
        names = self.hit(request)
        if not names:
            return replace(request, held=list(request.held))
        tokens, blocks = len(names) * self.hash_tokens, len(names) * self.entry_blocks
        return replace(request, k=tokens, blocks=blocks, held=names)

    # The next iteration

    def composition(self, running, mode):
        """(request, tokens) of those scheduled, in running order."""
        decodes = [r for r in running if r.decodes()]
        prefills = [r for r in running if not r.decodes()]
        if mode == PREFILL_FIRST and prefills:
            return [(r, r.lacking()) for r in prefills]
        order = decodes + prefills if mode == DECODE_FIRST else running
        left, tokens = self.scenario.token_budget, {}
        for r in order:
            tokens[id(r)] = min(r.lacking(), left)
            left -= tokens[id(r)]
        return [(r, tokens[id(r)]) for r in running if tokens[id(r)] > 0]

    def need(self, running, mode):
        return sum(ceil16(r.k + c) - r.blocks for r, c in self.composition(running, mode))

    def short(self, mode):
        return self.need(self.running, mode) > self.available()

    def duration(self, scheduled):
        """Picoseconds of an iteration that starts now."""
        t = self.table
        prefills = [(r.k, c) for r, c in scheduled if not r.decodes()]
        decodes = [r.k + 1 for r, _ in scheduled if r.decodes()]
        time = int(t.first[sum(c for _, c in scheduled)])
        if prefills:
            squares = sum((k + c) ** 2 - k**2 for k, c in prefills)
            time += t.a0 + t.a1 * sum(c for _, c in prefills) + t.a2 * squares
        if decodes:
            time += t.d0 + t.d1 * len(decodes) + t.d2 * sum(decodes)
        if any(r.state in (LEAVING, COMING) for r in self.aside):
            time += time * round(self.scenario.overlap_tax * 1e6) // 1_000_000
        return time

    def copy_time(self, blocks, fixed, each):
        groups = -(-blocks // self.scenario.group_blocks)
        return groups * fixed + blocks * each

    # May it start?

    def admissible(self, request):
        """Room for a waiting request, or for a swapped one to come back."""
        if not self.seat():
            return False
        idle = not self.running and not self.in_flight()
        if request.state == WAITING:
            started = self.with_hit(request)
            need = self.need([*self.running, started], MIXED)
            return need <= self.available(request, started.held, idle)
        whole = self.need(self.running, MIXED) + ceil16(request.k)
        need = max(whole, self.need([*self.running, request], MIXED))
        return need <= self.available(request, (), idle)

    def check(self):
        """Blocks, host blocks, slots and lists add up; no state contradicts its lists."""
        requests = self.requests()
        assert len(requests) <= self.scenario.slots
        assert len({id(r) for r in requests}) == len(requests)
        assert self.free() >= 0
        assert self.host_free() >= 0
        held = sum(self.private(r) for r in requests)
        shared = len(self.referenced(requests)) * self.entry_blocks
        total = self.free() + held + shared + self.evictable()
        assert total == self.scenario.kv_blocks
        assert self.referenced(requests) <= self.cache.keys()
        assert len(self.running) <= self.scenario.max_num_seqs
        assert all(r.state == RUNNING for r in self.running)
        assert all(r.state in (WAITING, SWAPPED) for r in self.queue)
        assert all(r.state not in (WAITING, SWAPPED, RUNNING) for r in self.aside)
        for r in requests:
            self.check_request(r)

    def check_request(self, r):
        assert 0 <= r.g <= r.output
        assert 0 <= r.k < r.prompt + r.g
        assert r.held == r.hashes[: len(r.held)]
        assert len(r.held) * self.hash_tokens <= r.k
        assert self.private(r) >= 0
        assert 0 <= r.valid <= r.cpu
        assert r.valid * BLOCK <= r.k
        assert r.between == (r.state == PAUSED or (r.state == LEAVING and r.g == r.output))
        if r.state in (WAITING, COMING, LEAVING, MOVING):
            assert r.blocks == ceil16(r.k)
        elif r.state == PAUSED:
            assert r.blocks == (0 if r.cpu > 0 and r.blocks == 0 else ceil16(r.k))
        elif r.state == SWAPPED:
            assert r.blocks == 0
            assert r.cpu == ceil16(r.k) > 0
