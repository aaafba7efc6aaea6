"""A slow, obvious reference of the expert cache, from its rules alone.

Invariants that the tests hold it and the machine to: a layer holds C different experts; an event
writes a slot at most once; hits + misses = requests; every activated expert is computed once, on
one lane; lanes and PCIe do one thing at a time; a copy takes ``move`` ns; the clock is the
makespans, the waits and the dense time.
"""

import math
from dataclasses import dataclass, field
from itertools import combinations

FULL, UNIT = 65_535, 32_767


@dataclass
class Expert:
    """What is known of one expert of one layer; moving averages in whole units."""

    frequency: int = 0
    log_score: int = 0
    mrs: int = 0
    count: int = 0
    aged: int = 0
    last: int = -1


@dataclass
class Slot:
    expert: int
    ready: int = 0
    written: int = -1
    unused_prefetch: bool = False


@dataclass
class Task:
    lane: str
    start: int
    end: int
    layer: int
    expert: int


@dataclass
class OracleWorld:
    """One world; actions are the flat numbers of the environment."""

    workload: object
    scenario: object
    top: int
    width: int
    tasks: list = field(default_factory=list)

    def __post_init__(self):
        routing = self.workload.routing
        self.lists = routing.experts.tolist()
        self.counts = routing.counts.tolist()
        self.scores = None if routing.scores.size == 0 else routing.scores.tolist()
        self.E, self.L = routing.num_experts, len(self.lists[0])
        self.C = self.scenario.slots(self.E)
        self.costs = self.scenario.costs()
        self.seen = [[Expert() for _ in range(self.E)] for _ in range(self.L)]
        self.clock = self.began = self.pcie = self.steps = self.waited = 0
        names = ("requests", "hits", "misses", "loads", "prefetches", "wasted", "streams")
        names += ("illegal", "makespan", "waited", "gpu", "cpu", "pcie", "tokens")
        self.sums = dict.fromkeys(names, 0)
        for step in range(self.workload.warmup):
            for layer in range(self.L):
                self.route(step, layer)
        self.pool = []
        for layer in range(self.L):
            order = sorted(range(self.E), key=lambda e: (-self.seen[layer][e].last, e))
            self.pool.append([Slot(e) for e in order[: self.C]])
        self.first = self.workload.warmup * self.L
        self.end = len(self.lists) * self.L
        self.event = self.first - 1
        self.chosen, self.left = -1, 0
        self.next_event()

    # routing

    def score(self, step, layer):
        """Router scores of all experts, in units of 1 / FULL."""
        if self.scores is not None:
            return self.scores[step][layer]
        total = sum(self.counts[step][layer])
        out = [0] * self.E
        for e, count in zip(self.lists[step][layer], self.counts[step][layer], strict=True):
            if e >= 0:
                out[e] = count * FULL // total
        return out

    @staticmethod
    def log(score):
        return round((12 + math.log(max(score, 0.5) / FULL)) / 12 * UNIT)

    def route(self, step, layer):
        """Takes an event's routing into the statistics."""
        scores, experts = self.score(step, layer), self.seen[layer]
        best = sorted(range(self.E), key=lambda e: (-scores[e], e))[: self.top]
        used = [e for e in self.lists[step][layer] if e >= 0]
        for e, known in enumerate(experts):
            known.frequency += -(known.frequency // 16) + (UNIT // 16 if e in used else 0)
            known.log_score += (self.log(scores[e]) - known.log_score) // 8
            known.mrs += -(known.mrs // 2) + (scores[e] // 2 // 2 if e in best else 0)
            known.aged = known.aged // 2 if step % 16 == 0 else known.aged
            if e in used:
                known.count, known.aged, known.last = known.count + 1, known.aged + 1, step

    # events

    def place(self, layer, expert):
        found = [j for j, slot in enumerate(self.pool[layer]) if slot.expert == expert]
        assert len(found) <= 1, "an expert is in two slots"
        return found[0] if found else None

    def next_event(self):
        self.event += 1
        if self.event >= self.end:
            self.stage = "over"
            return
        self.step_now, self.layer = divmod(self.event, self.L)
        self.route(self.step_now, self.layer)
        self.asked = [e for e in self.lists[self.step_now][self.layer] if e >= 0]
        self.tokens = self.counts[self.step_now][self.layer]
        self.missed = [self.place(self.layer, e) is None for e in self.asked]
        for e in self.asked:
            if self.place(self.layer, e) is not None:
                self.pool[self.layer][self.place(self.layer, e)].unused_prefetch = False
        self.sums["requests"] += len(self.asked)
        self.sums["misses"] += sum(self.missed)
        self.sums["hits"] += len(self.asked) - sum(self.missed)
        self.todo = [k for k, missed in enumerate(self.missed) if missed]
        self.go_on()

    def go_on(self):
        if self.todo:
            self.stage = "miss"
            return
        self.settle()
        if self.scenario.prefetch and self.event + 1 < self.end:
            self.stage, self.left = "prefetch", min(self.scenario.prefetch, self.C)
        else:
            self.next_event()

    def compute_time(self, lane, tokens):
        floor, fixed, each = (
            getattr(self.costs, f"{lane}_{part}") for part in ("floor", "fixed", "token")
        )
        return max(floor, fixed + tokens * each)

    def copy(self, layer, expert, earliest):
        start = max(self.pcie, earliest)
        self.pcie = start + self.costs.move
        self.sums["pcie"] += self.costs.move
        self.tasks.append(Task("pcie", start, self.pcie, layer, expert))
        return self.pcie

    def settle(self):
        """The greedy split over GPU and CPU."""

        def arrival(k):
            slot = self.place(self.layer, self.asked[k])
            if slot is None:
                return math.inf
            return max(self.clock, self.pool[self.layer][slot].ready)

        queue = sorted(range(len(self.asked)), key=lambda k: (arrival(k), -self.tokens[k], k))
        free = {"gpu": self.clock, "cpu": self.clock}
        while queue:
            head, tail = queue[0], queue[-1]
            stream = arrival(head) == math.inf
            ready = max(self.pcie, self.clock) + self.costs.move if stream else arrival(head)
            begin = max(free["gpu"], ready)
            gpu_end = begin + self.compute_time("gpu", self.tokens[head])
            cpu_end = free["cpu"] + self.compute_time("cpu", self.tokens[tail])
            if gpu_end <= cpu_end:
                if stream:
                    self.copy(self.layer, self.asked[head], self.clock)
                    self.sums["streams"] += 1
                self.compute("gpu", begin, gpu_end, self.asked[head], free)
                queue.pop(0)
            else:
                self.compute("cpu", free["cpu"], cpu_end, self.asked[tail], free)
                queue.pop()
        end = max(free.values())
        self.sums["makespan"] += end - self.clock
        self.sums["tokens"] += self.layer == self.L - 1
        self.began, self.clock = self.clock, end + round(self.scenario.dense_ms * 1e6)

    def compute(self, lane, begin, end, expert, free):
        self.tasks.append(Task(lane, begin, end, self.layer, expert))
        self.sums[lane] += end - begin
        free[lane] = end

    # decisions

    def target(self):
        """The layer that is decided about."""
        ahead = self.stage in ("prefetch", "slot")
        return (self.layer + 1) % self.L if ahead else self.layer

    def is_open(self, slot):
        return slot.written != self.event

    def mask(self):
        pool = self.pool[self.target()]
        can = [int(self.is_open(slot)) for slot in pool]
        lacking = [int(self.place(self.target(), e) is None) for e in range(self.E)]
        tail = self.scenario.prefetch > 0
        none, nothing = [0] * self.C, [0] * self.E
        if self.stage == "miss":
            return [1, *can] + nothing * tail
        if self.stage == "prefetch":
            return [1, *none] + (lacking if any(can) else nothing)
        if self.stage == "slot":
            return [0, *can, *nothing]
        return [1, *none] + nothing * tail

    def overwrite(self, layer, j, expert, earliest, ahead):
        old = self.pool[layer][j]
        self.sums["wasted"] += old.unused_prefetch
        ready = self.copy(layer, expert, earliest)
        self.pool[layer][j] = Slot(expert, ready, self.event, ahead)
        self.sums["prefetches" if ahead else "loads"] += 1

    def elapse(self, ns):
        self.clock += ns
        self.began += ns
        self.waited += ns
        self.sums["waited"] += ns

    def step(self, action):
        """Reward by terms, terminated, status."""
        self.steps += 1
        mask, before, stage = self.mask(), self.sums["makespan"], self.stage
        if not (0 <= action < len(mask) and mask[action]):
            self.sums["illegal"] += 1
            return (0, 0, 0, -self.scenario.illegal_penalty), self.stage == "over", "illegal"
        waited, self.waited = self.waited, 0
        if stage == "miss":
            k = self.todo.pop(0)
            if action:
                self.overwrite(self.layer, action - 1, self.asked[k], self.clock, False)
            self.go_on()
        elif stage == "prefetch":
            if action:
                self.stage, self.chosen = "slot", action - 1 - self.C
            else:
                self.next_event()
        elif stage == "slot":
            self.overwrite(self.target(), action - 1, self.chosen, self.began, True)
            self.left, self.chosen, self.stage = self.left - 1, -1, "prefetch"
            if self.left == 0:
                self.next_event()
        if self.scenario.reward == "misses":
            terms = (0, 0, -1 if stage == "miss" else 0, 0)
        else:
            terms = (-(self.sums["makespan"] - before) / 1e6, -waited / 1e6, 0, 0)
        return terms, self.stage == "over", "done"

    # observation

    def features(self, layer, expert):
        """Nine numbers of an expert of the layer decided about."""
        ahead = self.stage in ("prefetch", "slot")
        event = self.event + 1 if ahead else self.event
        routed = event - self.L if ahead else event
        step, known = event // self.L, self.seen[layer][expert]
        slot = self.place(layer, expert)
        return [
            1 / (1 + step - known.last),
            known.frequency / UNIT,
            known.log_score / UNIT,
            known.mrs / UNIT,
            known.count / (step + 1),
            self.log(self.score(routed // self.L, layer)[expert]) / UNIT,
            float(known.last == step),
            float(slot is not None and self.is_open(self.pool[layer][slot])),
            float(slot is not None and self.pool[layer][slot].ready > self.clock),
        ]

    def observation(self):
        layer = self.target()
        zero = [0.0] * 9
        over = self.stage == "over"
        seen = {
            "slots": [zero if over else self.features(layer, s.expert) for s in self.pool[layer]],
            "expert": zero,
            "progress": self.progress(),
        }
        if self.stage == "miss":
            seen["expert"] = [*self.features(layer, self.asked[self.todo[0]])[:7], 0.0, 0.0]
        elif self.stage == "slot":
            seen["expert"] = [*self.features(layer, self.chosen)[:7], 0.0, 0.0]
        if self.scenario.prefetch:
            shown = self.stage == "prefetch"
            seen["next"] = [self.features(layer, e) if shown else zero for e in range(self.E)]
        return seen

    def progress(self):
        miss = self.stage == "miss"
        queue = max(0, self.pcie - self.clock)
        return [
            float(miss),
            float(self.stage == "prefetch"),
            float(self.stage == "slot"),
            self.target() / self.L,
            (self.event - self.first) / (self.end - self.first),
            self.todo[0] / self.width if miss else 0.0,
            len(self.todo) / self.width if miss else 0.0,
            self.tokens[self.todo[0]] / sum(self.tokens) if miss else 0.0,
            queue / max(1, queue + self.costs.move),
            self.sums["hits"] / max(1, self.sums["requests"]),
        ]


def caches_after(pool, asked, bypass):
    """Every cache that an event can leave behind, as sets: what it keeps and what it admits.

    Without bypass all that is asked for is held.
    """
    for kept in combinations(sorted(set(pool) | set(asked)), len(pool)):
        if bypass or set(asked) <= set(kept):
            yield frozenset(kept)


def most_hits(lists, pool, bypass):
    """The most hits that any caching of one layer can have, by trying every one.

    Args:
        lists: experts of each event.
        pool: experts at first.
        bypass: whether a missed expert may be left out.
    """
    reached = {frozenset(pool): 0}
    for asked in lists:
        after = {}
        for cache, hits in reached.items():
            gained = hits + len(cache & set(asked))
            for following in caches_after(cache, asked, bypass):
                after[following] = max(after.get(following, -1), gained)
        reached = after
    return max(reached.values())
