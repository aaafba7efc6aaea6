"""The kernels against the slow reference, step by step, over random small scenarios."""

import numpy as np
import pytest
from tests.oracles.request_preemption import OracleWorld
from tests.oracles.request_workloads import KINDS, random_scenario, random_table, random_workload

from fleetgym.envs.request_preemption import kernels
from fleetgym.envs.request_preemption.layout import (
    Actions,
    Sizes,
    allocate,
    display,
    load,
    prices_of,
    rules_of,
)
from fleetgym.envs.request_preemption.types import (
    ACCEPTED,
    ASIDE_N,
    BLOCKS,
    CLOCK,
    COMPUTED,
    DOWNTIME,
    E2E,
    EMITTED,
    EVICTABLE,
    FAIR,
    FINISHED,
    FOCUS,
    FREE,
    GENERATED,
    HASHED,
    HIT_TOKENS,
    HOST,
    HOST_FREE,
    ITERATIONS_SUM,
    KIND,
    LATE_TBT,
    LATE_TTFT,
    LISTS,
    MAX_GAP,
    MET,
    MIGRATIONS,
    NEXT_ARRIVAL,
    PINNED,
    PREEMPTIONS,
    PRIORITY,
    PROGRAM_TIME,
    PROGRAMS,
    QUEUED_N,
    RECOMPUTED,
    REJECTED,
    REQUEST_STEPS,
    ROW,
    ROW_ARRIVAL,
    ROW_PAUSE,
    RULES,
    RUNNING_N,
    SEED,
    SERVICE,
    STALLED,
    STATE,
    STATES,
    SWAPPED_BLOCKS,
    TBT,
    TTFT,
)
from fleetgym.envs.request_preemption.workloads import ServingWorkload
from fleetgym.traces.schema_serving import ServingTrace

KIND_NAMES = ("over", "schedule", "pin", "dispatch", "rebalance")
SUMS = {
    "accepted": ACCEPTED,
    "rejected": REJECTED,
    "finished": FINISHED,
    "met": MET,
    "preemptions": PREEMPTIONS,
    "recomputed_tokens": RECOMPUTED,
    "swapped_blocks": SWAPPED_BLOCKS,
    "stall_ps": STALLED,
    "iterations": ITERATIONS_SUM,
    "emitted": EMITTED,
    "request_steps": REQUEST_STEPS,
    "e2e_ps": E2E,
    "program_ps": PROGRAM_TIME,
    "programs": PROGRAMS,
    "hit_tokens": HIT_TOKENS,
    "migrations": MIGRATIONS,
    "downtime_ps": DOWNTIME,
    "max_gap": MAX_GAP,
}


class Machine:
    """One world of the kernels, loaded with a workload of the oracle in picoseconds."""

    def __init__(self, drawn, scenario, table):
        self.scenario = scenario.override({"clients": 3})
        self.actions = Actions.of(self.scenario)
        n = len(drawn.arrival)
        int32 = {
            name: np.array(getattr(drawn, column), np.int32)
            for name, column in (
                ("prompt_tokens", "prompt"),
                ("output_tokens", "output"),
                ("client", "client"),
                ("program", "program"),
                ("next_turn", "next_turn"),
                ("hash_start", "hash_start"),
                ("hash_count", "hash_count"),
                ("hashes", "hashes"),
            )
        }
        none = np.zeros(n, np.int64)
        trace = ServingTrace("random", none, pause_ns=none, hash_tokens=drawn.hash_tokens, **int32)
        workload = ServingWorkload("random", 0, trace, np.array(drawn.predicted, np.int32))
        sizes = Sizes(n, len(drawn.hashes))
        self.world, self.shown = allocate(sizes, self.scenario, 1), display(self.scenario, 1)
        load(self.world, workload, self.scenario)
        arrival = np.array(drawn.arrival, np.int64)
        self.world.times[0, ROW_ARRIVAL] = arrival
        self.world.times[0, ROW_PAUSE] = drawn.pause
        self.world.scalars[0, NEXT_ARRIVAL] = arrival[0]
        self.world.scalars[0, SEED] = drawn.seed
        self.rules = self.rules_of(table)
        self.prices = prices_of(self.scenario)
        self.drive(kernels.BEGIN, 0)

    def rules_of(self, table):
        rules = rules_of(self.scenario)
        values = rules.of.copy()
        for name in ("a0", "a1", "a2", "d0", "d1", "d2"):
            values[RULES.index(name)] = getattr(table, name)
        for name in ("copy_fixed", "copy_block", "move_fixed", "move_block"):
            values[RULES.index(name)] = getattr(table, name)
        first = np.array(table.first, np.int64)
        first.flags.writeable = rules.first.flags.writeable
        return rules._replace(first=first, of=values)

    def drive(self, op, action, duration=0):
        one, none = np.ones(1, np.bool_), np.array([duration], np.int64)
        given, idle = np.array([[action]], np.int64), np.ones((1, 1), np.bool_)
        kernels.drive(self.world, self.rules, self.shown, self.prices, op, given, idle, one, none)

    def decision(self):
        kind = KIND_NAMES[self.world.scalars[0, KIND]]
        instance = int(self.world.scalars[0, FOCUS]) if kind in ("schedule", "pin") else -1
        return kind, instance

    def named(self, action):
        """An action's number as the oracle names it."""
        kind, n, count = self.decision()[0], self.scenario.slots, self.scenario.instances
        if kind == "rebalance" and action == 0:
            return ("none",)
        if action < 3:
            return ("go", action)
        if action < 3 + n:
            return ("slot", action - 3)
        pins = 3 + n * (2 if self.scenario.preemption == "chosen" else 1)
        if action < pins:
            return ("swap", action - 3 - n)
        if action < self.actions.instance:
            return ("ttl", action - pins)
        target = action - self.actions.instance
        if target < count:
            return ("dispatch", target)
        return ("migrate", (target - count) // count, (target - count) % count)

    def legal(self):
        if self.decision()[0] == "over":
            return {}
        return {self.named(int(a)): int(a) for a in np.flatnonzero(self.shown.mask[0])}

    def rows(self, i):
        slots, registers = self.world.slots[0, i], self.world.instances[0, i]
        table = [
            int(slots[LISTS + which, n])
            for which, length in enumerate((RUNNING_N, QUEUED_N, ASIDE_N))
            for n in range(registers[length])
        ]
        names = {
            "row": ROW,
            "k": COMPUTED,
            "g": GENERATED,
            "blocks": BLOCKS,
            "hashed": HASHED,
            "priority": PRIORITY,
            "cpu": HOST,
        }
        return [
            {name: int(slots[field, s]) for name, field in names.items()}
            | {"state": STATES[slots[STATE, s]]}
            for s in table
        ]

    def sums(self):
        return {name: int(self.world.scalars[0, field]) for name, field in SUMS.items()}


def compare(machine, oracle):
    assert machine.decision() == oracle.decision()
    assert int(machine.world.scalars[0, CLOCK]) == oracle.now
    for i in range(machine.scenario.instances):
        mine, theirs = machine.rows(i), oracle.table_rows(i)
        for one, other in zip(mine, theirs, strict=True):
            if one["state"] == "incoming":
                one, other = ({"row": row["row"], "blocks": row["blocks"]} for row in (one, other))
            assert one == other, (i, mine, theirs)
        registers = machine.world.instances[0, i]
        assert registers[FREE] == oracle.free(i)
        assert registers[EVICTABLE] == oracle.evictable(i)
        assert registers[PINNED] == oracle.pinned(i)
        assert registers[HOST_FREE] == oracle.host_free(i)
    assert set(machine.legal()) == oracle.legal()
    sums = machine.sums()
    assert sums == {name: oracle.sums[name] for name in sums}
    levels = machine.world.levels[0]
    assert levels[LATE_TTFT].tolist() == oracle.sums["late_ttft"]
    assert levels[LATE_TBT].tolist() == oracle.sums["late_tbt"]
    clients = len(oracle.sums["service"])
    assert machine.world.clients[0, SERVICE, :clients].tolist() == oracle.sums["service"]
    assert machine.world.clients[0, FAIR, :clients].tolist() == oracle.sums["fair"]


def compare_histograms(machine, oracle):
    edges = machine.rules.edges
    for row, values in ((TTFT, oracle.sums["ttfts"]), (TBT, oracle.sums["gaps"])):
        counts = np.histogram(values, edges)[0] if values else np.zeros(len(edges) - 1)
        assert (machine.world.histograms[0, row] == counts).all()


def play(kind, seed):
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    scenario, table = random_scenario(rng, kind), random_table(rng)
    shrink = seed % 3 == 0 and not scenario.prefix_cache
    drawn = random_workload(rng, scenario, shrink=shrink)
    machine, oracle = Machine(drawn, scenario, table), OracleWorld(drawn, scenario, table)
    haste, steps = rng.random(), 0
    compare(machine, oracle)
    while oracle.decision()[0] != "over" and steps < 3_000:
        legal = sorted(oracle.legal())
        going = [action for action in legal if action[0] == "go"]
        chosen = going if going and rng.random() < haste else legal
        action = chosen[rng.integers(len(chosen))]
        machine.drive(kernels.STEP, machine.legal()[action])
        oracle.act(action)
        compare(machine, oracle)
        steps += 1
    compare_histograms(machine, oracle)
    return steps


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", range(4))
def test_kernels_equal_the_oracle(kind, part):
    steps = sum(play(kind, seed) for seed in range(12 * part, 12 * part + 12))
    assert steps > 200
