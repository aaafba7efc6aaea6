"""A slow, obvious reference of the VM rescheduling machine, from its formulas alone.

Nothing is kept that can be recomputed: what is free, how many VMs of a group a machine holds, the
objective, the mask and the observation are derived from where each VM is, every time.
"""

import math
from dataclasses import dataclass

RESOURCES = ("cores", "memory", "gpu")
TERMS = ("fragment", "pair", "memory", "gpu", "active", "traffic")


@dataclass
class Vm:
    """A VM; ``pm`` is None while it is not placed."""

    cores: int
    memory: int
    gpu: int
    double: bool
    movable: bool
    group: int
    pm: int | None
    numa: int

    def nodes(self, slot):
        """The slots it takes when its place is the slot."""
        return (slot - slot % 2, slot - slot % 2 + 1) if self.double else (slot,)

    def slot(self):
        return 2 * self.pm + self.numa

    def total_memory(self):
        return self.memory * (2 if self.double else 1)


def precopy(memory, scenario):
    """Traffic (MiB) and downtime (us): V_0 = memory, V_{k+1} = min(memory, D V_k / R)."""
    volumes = [float(memory)]
    while volumes[-1] > scenario.threshold_mib and len(volumes) <= scenario.max_rounds:
        rate = scenario.dirty_mib_s * volumes[-1] / scenario.bandwidth_mib_s
        volumes.append(min(float(memory), rate))
    downtime = volumes[-1] / scenario.bandwidth_mib_s + scenario.resume_ms / 1e3
    return math.ceil(sum(volumes)), math.ceil(downtime * 1e6)


class OracleWorld:
    """One world. Actions are (first, second); the second is looked at with pair actions only."""

    def __init__(self, workload, scenario, num_pms, num_vms):
        fleet = workload.fleet
        self.scenario, self.num_pms, self.num_vms = scenario, num_pms, num_vms
        self.real_pms = fleet.num_pms
        sizes = (fleet.slot_cores, fleet.slot_memory, fleet.slot_gpu)
        self.capacity = [tuple(int(size[s]) for size in sizes) for s in range(2 * fleet.num_pms)]
        self.capacity += [(0, 0, 0)] * (2 * (num_pms - fleet.num_pms))
        self.largest = [max(1, *(slot[r] for slot in self.capacity)) for r in range(3)]
        self.group_max = [int(most) for most in fleet.group_max_per_pm]
        self.vms = [
            Vm(
                int(fleet.vm_cores[v]), int(fleet.vm_memory[v]), int(fleet.vm_gpu[v]),
                bool(fleet.vm_double[v]), bool(fleet.vm_movable[v]), int(fleet.vm_group[v]),
                int(fleet.vm_pm[v]) if fleet.vm_pm[v] >= 0 else None, int(fleet.vm_numa[v]),
            )
            for v in range(fleet.num_vms)
        ]  # fmt: skip
        self.events = sorted_events(workload)
        self.start_memory = max(1, sum(vm.total_memory() for vm in self.placed()))
        self.chosen, self.clock, self.steps = None, 0, 0
        self.moves_left = scenario.mnl
        self.elapsed, self.outside = False, 0.0
        names = ("migrations", "moved_mib", "traffic_mib", "downtime_us", "dropped_migrations")
        names += ("illegal_actions", "arrivals", "departures", "rejected_arrivals")
        self.counts = dict.fromkeys(names, 0)
        self.last_move = (-1, -1, -1)
        self.look()
        self.mask = self.mask_now()

    def placed(self):
        return [vm for vm in self.vms if vm.pm is not None]

    def look(self):
        """Recomputes from the VMs' places what is free and what each group has on each machine."""
        self.free = [list(slot) for slot in self.capacity]
        self.held = [0] * self.num_pms
        self.group_count = [[0] * self.num_pms for _ in self.group_max]
        for vm in self.vms:
            if vm.pm is None:
                continue
            for slot in vm.nodes(vm.slot()):
                free = self.free[slot]
                free[0] -= vm.cores
                free[1] -= vm.memory
                free[2] -= vm.gpu
            self.held[vm.pm] += 1
            if vm.group >= 0:
                self.group_count[vm.group][vm.pm] += 1

    def fits(self, vm, slot):
        """Whether every node it would take has room."""
        for node in vm.nodes(slot):
            cores, memory, gpu = self.free[node]
            if cores < vm.cores or memory < vm.memory or gpu < vm.gpu:
                return False
        return True

    def full(self, group, pm):
        return group >= 0 and self.group_count[group][pm] >= self.group_max[group]

    def legal(self, v, slot):
        """Whether VM v may migrate to the slot: movable, fits, not itself, groups, moves left.

        A move inside a machine changes no group's count on it.
        """
        vm = self.vms[v]
        if vm.pm is None or not vm.movable or self.moves_left == 0:
            return False
        pm = slot // 2
        if (vm.double and pm == vm.pm) or slot == vm.slot():
            return False
        if pm != vm.pm and self.full(vm.group, pm):
            return False
        return self.fits(vm, slot)

    def targets(self, v):
        """All legal targets of a VM; of a machine, its first slot for a double-NUMA VM."""
        slots = range(0, 2 * self.num_pms, 2 if self.vms[v].double else 1)
        return [slot for slot in slots if self.legal(v, slot)]

    def legal_pairs(self):
        """Every legal (vm, slot) of the pair action, either slot of a machine for a double."""
        return [
            (v, slot)
            for v in range(len(self.vms))
            for slot in range(2 * self.num_pms)
            if self.legal(v, slot)
        ]

    def mask_now(self):
        """VMs, STOP, slots. With pair actions the slots are None: only necessary, see the test."""
        can = [1 if self.targets(v) else 0 for v in range(len(self.vms))]
        can += [0] * (self.num_vms - len(self.vms))
        slots = [0] * (2 * self.num_pms)
        if self.scenario.action == "pair":
            return [*can, 1, *([None] * len(slots))]
        if self.chosen is None:
            return [*can, 1, *slots]
        for slot in self.targets(self.chosen):
            slots[slot] = 1
        return [*([0] * (self.num_vms + 1)), *slots]

    def fragment_cores(self):
        return sum(free[0] % self.scenario.fragment_cores for free in self.free)

    def rates(self):
        """The objective's terms, not weighted."""
        half = self.scenario.pair_cores // 2
        total = [sum(free[r] for free in self.free) for r in range(3)]
        pairs = 0
        for pm in range(self.num_pms):
            first, second = self.free[2 * pm][0], self.free[2 * pm + 1][0]
            pairs += first + second - 2 * half * min(first // half, second // half)
        parts = (
            (self.fragment_cores(), total[0]),
            (pairs, total[0]),
            (sum(free[1] % self.scenario.memory_chunk for free in self.free), total[1]),
            (sum(free[2] % 1000 for free in self.free), total[2]),
            (sum(1 for held in self.held if held), self.real_pms),
            (self.counts["traffic_mib"], self.start_memory),
        )
        return [part / whole if whole else 0.0 for part, whole in parts]

    def weights(self):
        return [getattr(self.scenario, f"weight_{term}") for term in TERMS]

    def terms(self):
        return [w * rate for w, rate in zip(self.weights(), self.rates(), strict=True)]

    def objective(self):
        return sum(self.terms())

    def elapse(self, duration):
        """Arrivals by best fit and departures up to the new time, in the order of the events."""
        if duration <= 0:
            return
        before, fragments = self.objective(), self.fragment_cores()
        self.clock += duration
        self.elapsed = True
        while self.events and self.events[0][0] <= self.clock:
            _, v, arrives = self.events.pop(0)
            if arrives:
                self.arrive(v)
            elif self.vms[v].pm is not None:
                self.vms[v].pm, self.vms[v].numa = None, 0
                self.counts["departures"] += 1
            self.look()
        if self.scenario.reward == "vmr2l":
            self.outside += (fragments - self.fragment_cores()) / 128
        else:
            self.outside += before - self.objective()

    def arrive(self, v):
        """Best fit: least free cores on the nodes used, then least free memory, then index."""
        vm = self.vms[v]
        choices = []
        for slot in range(0, 2 * self.num_pms, 2 if vm.double else 1):
            if self.fits(vm, slot) and not self.full(vm.group, slot // 2):
                nodes = vm.nodes(slot)
                left = [sum(self.free[node][r] for node in nodes) for r in (0, 1)]
                choices.append((*left, slot))
        if not choices:
            self.counts["rejected_arrivals"] += 1
            return
        vm.pm, vm.numa = divmod(min(choices)[2], 2)
        self.counts["arrivals"] += 1

    def step(self, first, second):
        """Returns (reward terms incl. outside and illegal, terminated, truncated, status)."""
        self.steps += 1
        terms = [*([0.0] * 6), self.outside, 0.0]
        self.outside = 0.0
        ended, status = self.decide(first, second, terms)
        self.elapsed = False
        late = self.steps >= 4 * self.scenario.mnl + 16
        late = late or self.clock >= int(self.scenario.horizon_s * 1e9)
        self.mask = self.mask_now()
        return terms, ended, late and not ended, status

    def decide(self, first, second, terms):
        stop = self.num_vms
        if not self.seen(first, second):
            return False, self.refuse(terms)
        if first == stop:
            return True, "done"
        pair = self.scenario.action == "pair"
        if not pair and self.chosen is None:
            if not self.targets(first):
                self.counts["dropped_migrations"] += 1
                return False, "stale"
            self.chosen = first
            return False, "done"
        v, slot = (first, second) if pair else (self.chosen, first - stop - 1)
        legal = self.legal(v, slot)
        if pair and not legal and not self.elapsed:
            return False, self.refuse(terms)
        self.chosen = None
        if not legal:
            self.counts["dropped_migrations"] += 1
            return False, "stale"
        self.migrate(v, slot, terms)
        return self.moves_left == 0, "done"

    def seen(self, first, second):
        """Whether the mask the policy saw allows the action (a pair: does not forbid it)."""
        if self.scenario.action == "two-phase":
            return 0 <= first < len(self.mask) and self.mask[first] == 1
        known = 0 <= first <= self.num_vms and 0 <= second < 2 * self.num_pms
        if not known or not self.mask[first]:
            return False
        return first == self.num_vms or self.mask[self.num_vms + 1 + second] == 1

    def refuse(self, terms):
        self.counts["illegal_actions"] += 1
        terms[7] = -self.scenario.illegal_penalty
        if self.chosen is not None and not self.targets(self.chosen):
            self.chosen = None  # what was chosen has lost its last target meanwhile
        return "illegal"

    def migrate(self, v, slot, terms):
        vm = self.vms[v]
        before, fragments = self.terms(), self.fragment_cores()
        target = vm.nodes(slot)[0]
        self.last_move = (v, vm.slot(), target)
        vm.pm, vm.numa = divmod(target, 2)
        self.moves_left -= 1
        traffic, downtime = precopy(vm.total_memory(), self.scenario)
        self.counts["migrations"] += 1
        self.counts["moved_mib"] += vm.total_memory()
        self.counts["traffic_mib"] += traffic
        self.counts["downtime_us"] += downtime
        self.look()
        if self.scenario.reward == "vmr2l":
            terms[0] = (fragments - self.fragment_cores()) / 128
        else:
            terms[:6] = [b - a for b, a in zip(before, self.terms(), strict=True)]

    def metrics(self):
        fragment, pair, memory, gpu, _, _ = self.rates()
        metrics = dict(self.counts)
        metrics["downtime_s"] = metrics.pop("downtime_us") / 1e6
        return metrics | {
            "fragment_rate": fragment,
            "pair_fragment_rate": pair,
            "memory_fragment_rate": memory,
            "gpu_fragment_rate": gpu,
            "objective": self.objective(),
            "active_pms": sum(1 for held in self.held if held),
        }

    def observation(self):
        """The tables, each number from its definition in ``types.py``."""
        return {
            "pms": [self.pm_row(pm) for pm in range(self.num_pms)],
            "vms": [self.vm_row(v) for v in range(self.num_vms)],
            "vm_host": [
                self.vms[v].pm if v < len(self.vms) and self.vms[v].pm is not None else -1
                for v in range(self.num_vms)
            ],
            "progress": self.progress(),
        }

    def pm_row(self, pm):
        x = self.scenario.fragment_cores
        row = []
        for slot in (2 * pm, 2 * pm + 1):
            for r in range(3):
                free, size = self.free[slot][r], self.capacity[slot][r]
                row += [free / self.largest[r], (size - free) / self.largest[r]]
            row.append((self.free[slot][0] % x) / x)
        group = -1 if self.chosen is None else self.vms[self.chosen].group
        return [*row, float(self.held[pm] > 0), float(self.full(group, pm))]

    def vm_row(self, v):
        if v >= len(self.vms) or self.vms[v].pm is None:
            return [0.0] * 9
        vm, x = self.vms[v], self.scenario.fragment_cores
        return [
            *(getattr(vm, name) / self.largest[r] for r, name in enumerate(RESOURCES)),
            float(vm.double), float(vm.numa), 1.0, float(vm.movable),
            (vm.cores % x) / x, float(self.chosen == v),
        ]  # fmt: skip

    def progress(self):
        return [
            self.moves_left / self.scenario.mnl,
            min(1.0, self.clock / int(self.scenario.horizon_s * 1e9)),
            float(self.chosen is not None),
            self.rates()[0],
            min(1.0, self.objective() / sum(self.weights())),
        ]


def sorted_events(workload):
    """(time, vm, arrives), in the order of the workload."""
    columns = (workload.event_time, workload.event_vm, workload.event_arrives)
    return [tuple(int(value) for value in row) for row in zip(*columns, strict=True)]
