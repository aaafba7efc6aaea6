"""A slow, obvious reference of the LLM serving machine, every iteration stepped one by one."""

from tests.oracles import request_migration
from tests.oracles.request_engine import Engine
from tests.oracles.request_instance import (
    INCOMING,
    LEAVING,
    Request,
    ceil16,
)

PS = 1e12
COUNTS = (
    "accepted", "rejected", "finished", "met", "preemptions", "recomputed_tokens",
    "swapped_blocks", "stall_ps", "iterations", "emitted", "request_steps", "e2e_ps",
    "program_ps", "programs", "hit_tokens", "downtime_ps", "migrations", "aborted_migrations",
    "population_ps",
)  # fmt: skip


class OracleWorld:
    """One world; instance -1 stands for the router in a decision."""

    def __init__(self, workload, scenario, table):
        self.workload, self.scenario, self.table = workload, scenario, table
        self.hash_tokens, self.seed = int(workload.hash_tokens), int(workload.seed)
        self.ttft_slo = round(scenario.ttft_slo_s * PS)
        self.tbt_slo = round(scenario.tbt_slo_s * PS)
        self.horizon = round(scenario.horizon_s * PS)
        self.sums = dict.fromkeys(COUNTS, 0)
        levels, clients = scenario.priority_levels, max(map(int, workload.client), default=0) + 1
        self.sums |= {"late_ttft": [0] * levels, "late_tbt": [0] * levels, "ttfts": [], "gaps": []}
        self.sums |= {"service": [0] * clients, "fair": [0] * clients, "max_gap": 0}
        self.last_to_leave = None
        self.now = self.arrived = 0
        self.period = self.next_tick = round(scenario.rebalance_s * PS)
        self.ticked = self.terminated = self.truncated = False
        self.outside, self.migrations = [], []
        self.instances = [Engine(self) for _ in range(scenario.instances)]
        self.asked = self.run_on()

    # What callers see

    def decision(self):
        return self.asked

    def legal(self):
        kind, i = self.asked
        if kind == "dispatch":
            return {("dispatch", i) for i in self.targets()}
        if kind == "rebalance":
            return {("migrate", *pair) for pair in self.pairs()} | {("none",)}
        if kind == "over":
            return set()
        engine = self.instances[i]
        return engine.legal_pins() if kind == "pin" else engine.legal_edits()

    def act(self, action):
        assert action in self.legal(), (self.asked, action)
        kind, *arguments = action
        if kind == "dispatch":
            self.enter(self.instances[arguments[0]])
        elif kind == "migrate":
            src, dst = (self.instances[i] for i in arguments)
            self.migrations.append(request_migration.Migration(self, src, dst))
        elif kind == "none":
            self.ticked = False
        else:
            self.instances[self.asked[1]].act(kind, arguments[0])
        self.asked = self.run_on()

    def table_rows(self, i):
        return [
            {
                "row": r.row, "state": r.state, "k": r.k, "g": r.g, "blocks": r.blocks,
                "hashed": len(r.held), "priority": r.priority, "cpu": r.cpu,
            }
            for r in self.instances[i].requests()
        ]  # fmt: skip

    def free(self, i):
        return self.instances[i].free()

    def evictable(self, i):
        return self.instances[i].evictable()

    def pinned(self, i):
        return self.instances[i].pinned()

    def host_free(self, i):
        return self.instances[i].host_free()

    def check(self):
        """What holds at every moment."""
        live = [r for engine in self.instances for r in engine.requests() if r.state != INCOMING]
        rows = [r.row for r in live + self.outside]
        assert len(rows) == len(set(rows))
        there = sum(not r.between for r in live) + len(self.outside)
        assert self.sums["accepted"] == self.sums["finished"] + there
        assert self.sums["emitted"] == len(self.sums["ttfts"]) + len(self.sums["gaps"])
        places = sum(r.state == INCOMING for engine in self.instances for r in engine.aside)
        assert places == len(self.migrations)
        for engine in self.instances:
            engine.check()

    # Time

    def run_on(self):
        """Lets time pass until someone is asked."""
        while not (self.terminated or self.truncated):
            self.events_now()
            asked = self.ask()
            if asked is not None:
                self.account()
                return asked
            idle = not any(engine.requests() for engine in self.instances)
            self.terminated = idle and self.arrived == self.workload.num_first
            if not self.terminated:
                time = min((event[:4] for event in self.events()), default=(self.horizon,))[0]
                self.truncated = time >= self.horizon
                self.pass_time(min(time, self.horizon))
        self.account()
        return ("over", -1)

    def events_now(self):
        """Handles all that is due, in order, then lets in who waits outside."""
        while True:
            due = min(self.events(), key=lambda event: event[:4], default=None)
            if due is None or due[0] > self.now:
                break
            due[4]()
        if len(self.instances) == 1:
            while self.outside and self.targets():
                self.enter(self.instances[0])

    def events(self):
        """(time, kind, which, position, what happens) of everything to come."""
        for i, engine in enumerate(self.instances):
            if engine.end is not None:
                yield engine.end, 0, i, 0, engine.iteration_end
            for position, r in enumerate(engine.aside):
                time = engine.aside_time(r)
                if time is not None:
                    yield time, 1, i, position, lambda engine=engine, r=r: engine.aside_event(r)
        for move in self.migrations:
            yield move.time(), 2, self.instances.index(move.src), 0, move.stage_end
        if self.arrived < self.workload.num_first:
            yield int(self.workload.arrival[self.arrived]), 3, 0, 0, self.arrive
        if self.period:
            yield self.next_tick, 4, 0, 0, self.rebalance_tick

    def pass_time(self, time):
        for since in self.population():
            self.sums["population_ps"] += max(0, time - max(self.now, since))
        self.now = time

    def population(self):
        """Since when each request is in the system that is in it, or comes while it is copied."""
        yield from (r.arrival for r in self.outside)
        for engine in self.instances:
            for r in engine.requests():
                if r.between and r.state == LEAVING and self.serves(self.next_row(r)):
                    yield r.wake
                elif not r.between and r.state != INCOMING:
                    yield r.arrival

    # Who is asked

    def ask(self):
        if len(self.instances) > 1 and self.outside and self.targets():
            return ("dispatch", -1)
        if self.ticked and self.pairs():
            return ("rebalance", -1)
        self.ticked = False
        for i, engine in enumerate(self.instances):
            if engine.undecided():
                return ("pin", i)
            if engine.look:
                if engine.asks():
                    return ("schedule", i)
                engine.carry_on()
        return None

    def rebalance_tick(self):
        self.ticked = True
        self.next_tick += self.period

    def targets(self):
        return [i for i, engine in enumerate(self.instances) if engine.free_slots() > 0]

    def pairs(self):
        indices = range(len(self.instances))
        return [
            (s, d)
            for s in indices
            for d in indices
            if request_migration.legal(self, self.instances[s], self.instances[d])
        ]

    # Rows: arrivals and turns

    def serves(self, row):
        """Whether it fits at all."""
        tokens = int(self.workload.prompt[row]) + int(self.workload.output[row]) - 1
        return ceil16(tokens) <= self.scenario.kv_blocks

    def next_row(self, r):
        return int(self.workload.next_turn[r.row])

    def request(self, row, arrival):
        w = self.workload
        start, count = int(w.hash_start[row]), int(w.hash_count[row])
        return Request(
            row, arrival, int(w.prompt[row]), int(w.output[row]), int(w.client[row]),
            int(w.program[row]), arrival, [int(h) for h in w.hashes[start : start + count]],
        )  # fmt: skip

    def accepts(self, row):
        """Counts the row; one that is rejected takes the turns behind it along."""
        if self.serves(row):
            self.sums["accepted"] += 1
            return True
        while row >= 0:
            self.sums["rejected"] += 1
            row = int(self.workload.next_turn[row])
        return False

    def arrive(self):
        row = self.arrived
        self.arrived += 1
        if self.accepts(row):
            self.outside.append(self.request(row, self.now))

    def enter(self, engine):
        r = self.outside.pop(0)
        r.priority = engine.level(r.row)
        engine.join(r)

    def next_turn(self, r):
        """The row that comes after a paused one's, None if it can not be served."""
        row = self.next_row(r)
        return self.request(row, r.wake) if self.accepts(row) else None

    # Tokens

    def emit(self, r):
        self.charge(r)
        r.g += 1
        self.sums["emitted"] += 1
        self.serve(r.client, 2)
        if r.first < 0:
            r.first = self.now
            self.sums["ttfts"].append(self.now - r.arrival)
        else:
            gap = self.now - r.last
            self.sums["gaps"].append(gap)
            r.gaps_late += gap > self.tbt_slo
        r.last = self.now

    def finished(self, r):
        """Counts a finished row; when the next turn comes, None if there is none."""
        self.sums["finished"] += 1
        self.sums["e2e_ps"] += self.now - r.arrival
        may_be_late = (r.output - 1) // 100
        in_time = r.first - r.arrival <= self.ttft_slo
        self.sums["met"] += in_time and r.gaps_late <= may_be_late
        row = self.next_row(r)
        if row >= 0:
            return self.now + int(self.workload.pause[row])
        if r.program >= 0:
            self.sums["programs"] += 1
            self.sums["program_ps"] += self.now - r.program_start
        return None

    def charge(self, r):
        """Time beyond its target, up to now."""
        if r.between or r.state == INCOMING:
            return
        late, due = "late_ttft", r.arrival + self.ttft_slo
        if r.first >= 0:
            late, due = "late_tbt", r.last + self.tbt_slo
        self.sums[late][r.priority] += max(0, self.now - max(due, r.charged))
        r.charged = self.now

    def account(self):
        """At a decision and at the end."""
        for engine in self.instances:
            for r in engine.requests():
                self.charge(r)
        counters = [self.sums["fair"][client] for client in self.waiting_clients()]
        if counters:
            self.sums["max_gap"] = max(self.sums["max_gap"], max(counters) - min(counters))

    # Clients

    def waiting_clients(self):
        return {r.client for engine in self.instances for r in engine.queue}

    def serve(self, client, tokens):
        self.sums["service"][client] += tokens
        self.sums["fair"][client] += tokens

    def lift(self, client):
        """A client that comes back has no credit for the time it did not ask (VTC)."""
        fair, waiting = self.sums["fair"], self.waiting_clients()
        if client in waiting:
            return
        if waiting:
            fair[client] = max(fair[client], min(fair[c] for c in waiting))
        elif self.last_to_leave is not None:
            fair[client] = max(fair[client], fair[self.last_to_leave])

    def left_queue(self, r):
        """A request starts; its prompt counts when its row does so for the first time."""
        self.last_to_leave = r.client
        if not r.admitted:
            r.admitted = True
            self.serve(r.client, r.prompt)
