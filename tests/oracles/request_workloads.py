"""Small random serving workloads and scenarios, of every shape the machine must carry."""

from dataclasses import dataclass, field

from fleetgym.envs.request_preemption.scenario import RequestPreemptionScenario

MS = 10**9  # picoseconds
KINDS = ("single", "swap", "cache", "turns", "cluster", "all")


@dataclass
class Table:
    """Times in picoseconds: of an iteration's parts, of copies to the host and between them."""

    first: list
    a0: int
    a1: int
    a2: int
    d0: int
    d1: int
    d2: int
    copy_fixed: int
    copy_block: int
    move_fixed: int
    move_block: int


@dataclass
class Workload:
    """Columns of rows; first turns come first, in order of arrival."""

    hash_tokens: int
    seed: int
    num_first: int = 0
    arrival: list = field(default_factory=list)
    prompt: list = field(default_factory=list)
    output: list = field(default_factory=list)
    predicted: list = field(default_factory=list)
    client: list = field(default_factory=list)
    program: list = field(default_factory=list)
    next_turn: list = field(default_factory=list)
    pause: list = field(default_factory=list)
    hash_start: list = field(default_factory=list)
    hash_count: list = field(default_factory=list)
    hashes: list = field(default_factory=list)

    def add(self, arrival, prompt, output, client=0, program=-1, pause=0, hashes=()):
        self.arrival.append(arrival)
        self.prompt.append(prompt)
        self.output.append(output)
        self.predicted.append(output)
        self.client.append(client)
        self.program.append(program)
        self.next_turn.append(-1)
        self.pause.append(pause)
        self.hash_start.append(len(self.hashes))
        self.hash_count.append(len(hashes))
        self.hashes.extend(hashes)
        return len(self.arrival) - 1


def random_table(rng, max_tokens=2_000):
    """Iterations of some milliseconds; copies that take from less than one to several."""
    slope, floor = int(rng.integers(1, 30_000_000)), int(rng.integers(1, 10 * MS))
    far = int(rng.choice([5 * MS, 500 * MS]))  # slow enough that a migration takes three stages
    return Table(
        [floor + slope * max(0, n - 8) for n in range(max_tokens + 1)],
        *(int(rng.integers(0, top)) for top in (MS, 10**6, 1_500, MS, 10**7, 80_000)),
        *(int(rng.integers(1, top)) for top in (MS, 2 * MS, MS, far)),
    )


def random_scenario(rng, kind="all"):
    """A scenario whose pools are small enough that every rule of the machine is used."""

    def one_of(*values):
        return values[int(rng.integers(len(values)))]

    def in_kind(*kinds):
        return kind in (*kinds, "all")

    levels = one_of(1, 2, 3)
    budget = one_of(16, 48, 200)
    scenario = RequestPreemptionScenario(
        name="random",
        workload="random",
        instances=one_of(2, 3) if in_kind("cluster") else 1,
        slots=one_of(3, 6, 12),
        kv_blocks=int(rng.integers(6, 41)),
        cpu_blocks=one_of(0, 5, 20, 100),
        max_num_seqs=one_of(1, 2, 4, 8),
        token_budget=budget,
        prefix_cache=in_kind("cache") and rng.random() < 0.8,
        preemption=one_of("swap", "cheapest", "chosen", "recompute")
        if in_kind("swap", "turns", "cluster")
        else "recompute",
        overlapped=rng.random() < 0.6,
        overlap_tax=one_of(0.0, 0.05),
        group_blocks=one_of(1, 3),
        reuse_cpu_copies=rng.random() < 0.5,
        ttft_slo_s=one_of(0.02, 0.1),
        tbt_slo_s=one_of(0.005, 0.02),
        priority_levels=levels,
        priority_updates=one_of(0.0, 0.25, 1.0),
        priority_pattern=one_of("random", "markov"),
        decision_iterations=one_of(1, 4, 64),
        ttls_s=one_of((), (0.0,), (0.0, 0.05), (0.02, 0.2)) if in_kind("turns") else (),
        rebalance_s=one_of(0.0, 0.003, 0.03) if in_kind("cluster") else 0.0,
        horizon_s=one_of(0.3, 20.0),
    )
    scenario.check()
    return scenario


def random_workload(rng, scenario, requests=14, shrink=False):
    """Some rows that never fit, some turns, prompts with shared beginnings.

    Without `shrink` a turn's prompt holds all of the turns before it.
    """
    hash_tokens = int(rng.choice([0, 16, 32])) if scenario.prefix_cache else 0
    workload = Workload(hash_tokens, int(rng.integers(2**62)))
    arrival, turns, names = 0, [], {}
    scale = int(rng.choice([0, 2 * MS, 20 * MS]))
    count = workload.num_first = int(rng.integers(1, requests + 1))
    for _ in range(count):
        arrival += int(rng.integers(scale + 1))
        most = 16 * scenario.kv_blocks * (2 if rng.random() < 0.1 else 0.7)
        _turn(rng, workload, names, None, int(rng.integers(1, max(2, most))), arrival)
        turns.append(int(rng.choice([0, 0, 1, 3])))
    for first in range(count):
        row = first
        for _ in range(turns[first]):
            workload.program[first] = first
            row = _next_turn(rng, workload, names, row, shrink)
    return workload


def _output(rng):
    return int(rng.integers(1, 40)) if rng.random() < 0.95 else int(rng.integers(100, 400))


def _turn(rng, workload, names, before, prompt, arrival):
    """A row; its hash blocks go on from those of the row before it, or from a common root."""
    hashes = []
    if workload.hash_tokens:
        start = workload.hash_start[before] if before is not None else 0
        old = workload.hash_count[before] if before is not None else 0
        hashes = workload.hashes[start : start + old][: prompt // workload.hash_tokens]
        while len(hashes) < prompt // workload.hash_tokens:
            step = int(rng.integers(2))
            hashes.append(names.setdefault((*hashes, step), len(names)))
    program = -1 if before is None else workload.program[before]
    client = int(rng.integers(3)) if before is None else workload.client[before]
    pause = 0 if before is None or rng.random() < 0.2 else int(rng.integers(100 * MS))
    return workload.add(arrival, prompt, _output(rng), client, program, pause, hashes)


def _next_turn(rng, workload, names, before, shrink):
    prompt = workload.prompt[before] + workload.output[before] + int(rng.integers(0, 40))
    if shrink and rng.random() < 0.3:
        prompt = int(rng.integers(1, prompt + 1))
    row = _turn(rng, workload, names, before, prompt, 0)
    workload.next_turn[before] = row
    return row
