"""One instance at work: its decisions, copies, turns and iterations, stepped one by one."""

from tests.oracles.request_instance import (
    COMING,
    INCOMING,
    LEAVING,
    MIXED,
    PAUSED,
    PREFILL_FIRST,
    RUNNING,
    SWAPPED,
    WAITING,
    Instance,
    ceil16,
)

from fleetgym.envs.request_preemption.chance import keeps, level


class Engine(Instance):
    """An instance of a world, which has the clock, the sums and the clients' counters."""

    def __init__(self, world):
        super().__init__(world.scenario, world.table, world.hash_tokens)
        self.world = world
        self.mode = MIXED
        self.flag = self.look = self.deciding = self.had_prefill = self.preempted = False
        self.changed = []  # requests that changed state in this instant
        self.scheduled, self.end = [], None  # the iteration in progress
        self.iterations = self.decided_at = self.updates = 0
        self.stall_end = self.out_free = self.in_free = 0

    def event(self):
        """Something happened here."""
        self.flag = True
        self.look = self.look or self.end is None

    def level(self, row):
        """Priority of a row that enters now."""
        s = self.scenario
        j = self.updates if s.priority_pattern == "random" else 0
        return int(level(self.world.seed, row, j, s.priority_levels))

    # Decisions

    def asks(self):
        """Whether a scheduling decision is due at this boundary."""
        if self.deciding:
            return True
        since = self.iterations - self.decided_at
        due = self.flag or self.had_prefill or since >= self.scenario.decision_iterations
        return bool(self.queue and (due or not self.running)) or self.short(self.mode)

    def undecided(self):
        """Paused requests whose pin is to be decided."""
        return [r for r in self.aside if r.state == PAUSED and not r.pin_decided]

    def legal_pins(self):
        ttls = self.scenario.ttls_s
        legal = {("ttl", t) for t in range(len(ttls))}
        r = self.undecided()[0]
        if self.host_free() >= ceil16(r.k) - r.cpu:
            legal.add(("ttl", len(ttls)))
        return legal

    def legal_edits(self):
        rows = [(position, r) for position, r in enumerate(self.requests())]
        rows = [(p, r) for p, r in rows if r not in self.changed]
        admissions = {("slot", p) for p, r in rows if r in self.queue and self.admissible(r)}
        running = [p for p, r in rows if r.state == RUNNING]
        legal = admissions | {("slot", p) for p in running}
        if self.scenario.preemption == "chosen":
            legal |= {("swap", p) for p, r in rows if r.state == RUNNING and r.k > 0}
        must_start = bool(not self.running and not self.in_flight() and admissions)
        legal |= {("go", m) for m in range(3) if not must_start and not self.short(m)}
        return legal

    def act(self, kind, argument):
        if kind == "ttl":
            self.pin(self.undecided()[0], argument)
        elif kind == "go":
            self.go(argument)
        else:
            r = self.requests()[argument]
            self.deciding = True
            self.changed.append(r)
            if r.state == RUNNING:
                self.preempt(r, chosen_swap=kind == "swap")
            else:
                self.start(r)

    def go(self, mode):
        self.mode, self.changed, self.deciding = mode, [], False
        self.decided_at = self.iterations
        self.carry_on()
        self.flag = self.preempted and bool(self.running)
        self.preempted = False
        if self.queue and not self.running and not self.in_flight():
            self.look = True  # all were preempted in this instant

    def start(self, r):
        """Admits a waiting request, or resumes a swapped one."""
        self.queue.remove(r)
        self.world.left_queue(r)
        if r.state == WAITING:
            names = self.hit(r)
            self.world.sums["hit_tokens"] += len(names) * self.hash_tokens
            started = self.with_hit(r)
            r.k, r.blocks, r.held = started.k, started.blocks, started.held
            self.run(r)
        else:
            self.copy_in(r)

    def run(self, r):
        r.state = RUNNING
        self.running.append(r)

    def preempt(self, r, chosen_swap):
        self.world.sums["preemptions"] += 1
        self.preempted = True
        swapped = self.swaps(r, chosen_swap) and self.host_takes(r)
        self.running.remove(r)
        if swapped:
            self.copy_out(r)
            return
        self.world.sums["recomputed_tokens"] += r.k
        self.drop(r)
        self.requeue(r, WAITING)

    def requeue(self, r, state):
        r.state = state
        self.queue.insert(0, r)

    # Copies to and from the host

    def swaps(self, r, chosen_swap):
        """What the scenario says of a preemption, if the host has room."""
        how = self.scenario.preemption
        if how == "cheapest":
            t = self.table
            first = int(t.first[min(r.k, self.scenario.token_budget)])
            recompute = first + t.a0 + t.a1 * r.k + t.a2 * r.k**2
            return 2 * self.host_copy(ceil16(r.k)) < recompute
        return how == "swap" or chosen_swap

    def host_copy(self, blocks):
        return self.copy_time(blocks, self.table.copy_fixed, self.table.copy_block)

    def host_takes(self, r):
        """Makes room on the host by dropping copies of running requests, and says if it has it."""
        if r.k == 0:
            return False
        others = [other for other in self.running if other is not r]
        lack = ceil16(r.k) - r.cpu
        if self.host_free() + sum(other.cpu for other in others) < lack:
            return False
        for other in others:
            if self.host_free() < lack:
                other.cpu = other.valid = 0
        return True

    def stall(self, blocks):
        """The engine stands still for a copy."""
        self.stall_end = max(self.world.now, self.stall_end) + self.host_copy(blocks)

    def copy_out(self, r):
        """Its blocks go to the host; they stay occupied until the copy ends."""
        blocks = ceil16(r.k) - (r.valid if self.scenario.reuse_cpu_copies else 0)
        self.world.sums["swapped_blocks"] += blocks
        r.cpu, r.valid = ceil16(r.k), r.k // 16
        if r not in self.aside:
            self.aside.append(r)
        r.state = LEAVING
        if self.scenario.overlapped:
            self.out_free = r.copy_end = max(self.world.now, self.out_free) + self.host_copy(blocks)
        else:
            self.stall(blocks)
            self.copied_out(r)

    def copied_out(self, r):
        self.release(r)
        if r.between:
            r.state = PAUSED
        else:
            self.aside.remove(r)
            self.requeue(r, SWAPPED)

    def copy_in(self, r):
        """Its blocks come back; they are reserved from the start of the copy."""
        blocks = ceil16(r.k)
        self.take(r, blocks)
        self.world.sums["swapped_blocks"] += blocks
        r.may_register = False
        self.aside.append(r)
        r.state = COMING
        if self.scenario.overlapped:
            self.in_free = r.copy_end = max(self.world.now, self.in_free) + self.host_copy(blocks)
        else:
            self.stall(blocks)
            self.copied_in(r)

    def copied_in(self, r):
        self.aside.remove(r)
        if not self.scenario.reuse_cpu_copies:
            r.cpu = r.valid = 0
        self.run(r)

    # Turns

    def pause(self, r, wake):
        self.aside.append(r)
        r.state, r.between, r.wake = PAUSED, True, wake
        r.pin_decided, r.pin_end = False, None
        if not self.scenario.ttls_s:
            r.pin_decided = True
            self.drop(r)

    def pin(self, r, t):
        r.pin_decided = True
        ttls = self.scenario.ttls_s
        if t == len(ttls):
            self.copy_out(r)
        elif ttls[t] == 0:
            self.drop(r)
        else:
            r.pin_end = self.world.now + round(ttls[t] * 1e12)

    def aside_time(self, r):
        """When something next happens to it, None if nothing is due."""
        if r.state in (COMING, LEAVING):
            return r.copy_end
        if r.state == PAUSED:
            time = r.wake if r.pin_end is None else min(r.wake, r.pin_end)
            return max(time, self.world.now)
        return None

    def aside_event(self, r):
        self.event()
        if r.state == COMING:
            self.copied_in(r)
        elif r.state == LEAVING:
            self.copied_out(r)
        elif r.wake <= self.world.now:
            self.wake(r)
        else:
            r.pin_end = None
            self.drop(r)

    def wake(self, r):
        """The next turn comes, onto what is left of the last one's computation."""
        self.aside.remove(r)
        fresh = self.world.next_turn(r)
        if fresh is None:
            self.release(r)
            return
        r.row, r.arrival, r.prompt, r.output = fresh.row, r.wake, fresh.prompt, fresh.output
        r.client, r.hashes, r.priority = fresh.client, fresh.hashes, self.level(fresh.row)
        r.g, r.first, r.last, r.gaps_late, r.admitted = 0, -1, -1, 0, False
        r.turn += 1
        r.between, r.pin_end = False, None
        r.k = min(r.k, r.prompt - 1)
        on_host = r.blocks == 0 and r.cpu > 0
        self.keep_prefix(r)
        r.state = SWAPPED if on_host and r.k > 0 else WAITING
        self.join(r)

    def keep_prefix(self, r):
        """Gives back what its new k leaves over: references, blocks, host blocks.

        Tokens of a shared entry that is given back are lost to it, and all behind them.
        """
        whole = r.k // self.hash_tokens if self.hash_tokens else 0
        keep = 0
        while keep < min(len(r.held), whole, len(r.hashes)) and r.held[keep] == r.hashes[keep]:
            keep += 1
        if keep < len(r.held):
            r.k = keep * self.hash_tokens
        self.refer_less(r, keep)
        r.blocks = min(r.blocks, ceil16(r.k))
        r.cpu, r.valid = min(r.cpu, ceil16(r.k)), min(r.valid, r.k // 16)

    def join(self, r):
        """A new arrival or turn joins the queue's tail."""
        self.world.lift(r.client)
        self.queue.append(r)
        self.event()

    # Iterations

    def carry_on(self):
        """An iteration in the mode in force, if something runs."""
        self.look = False
        if not self.running:
            return
        now = self.world.now
        self.flag = False
        self.scheduled = self.composition(self.running, self.mode)
        for r, c in self.scheduled:
            self.take(r, ceil16(r.k + c) - r.blocks)
        start = max(now, self.stall_end)
        self.world.sums["stall_ps"] += start - now
        self.had_prefill = any(not r.decodes() for r, _ in self.scheduled)
        self.end = start + self.duration(self.scheduled)

    def iteration_end(self):
        scheduled, self.scheduled, self.end = self.scheduled, [], None
        self.look = True
        self.iterations += 1
        self.world.sums["iterations"] += 1
        self.world.sums["request_steps"] += len(scheduled)
        for r, c in scheduled:
            was_prefill = not r.decodes()
            r.k += c
            if r.k == r.prompt + r.g:
                if was_prefill:
                    self.register(r)
                self.world.emit(r)
                if r.g == r.output:
                    self.finish(r)
        rate = self.scenario.priority_updates
        millionths = round(rate * 1e6)
        while rate > 0 and self.iterations * millionths >= (self.updates + 1) * 10**6:
            self.update_priorities()

    def finish(self, r):
        """The last token of a turn; it was never computed itself."""
        self.event()
        self.running.remove(r)
        wake = self.world.finished(r)
        if wake is None:
            self.release(r)
        else:
            self.pause(r, wake)

    def update_priorities(self):
        self.updates += 1
        self.event()
        seed, levels = self.world.seed, self.scenario.priority_levels
        markov = self.scenario.priority_pattern == "markov"
        for r in self.requests():
            self.world.charge(r)
            if r.state != INCOMING and not (markov and keeps(seed, r.row, self.updates)):
                r.priority = int(level(seed, r.row, self.updates, levels))

    def check(self):
        super().check()
        tokens = {id(r): c for r, c in self.scheduled}
        assert self.end is not None or not self.scheduled
        for r in self.running:
            assert r.blocks == ceil16(r.k + tokens.get(id(r), 0))
        assert tokens.keys() <= {id(r) for r in self.running}
        if self.end is not None:
            assert sum(tokens.values()) <= self.scenario.token_budget or self.mode == PREFILL_FIRST
