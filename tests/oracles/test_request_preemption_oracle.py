"""The reference of the serving machine against laws it must obey whatever is played."""

import numpy as np
import pytest
from tests.oracles.request_play import TABLE, alone, play, random_policy, scenario, workload
from tests.oracles.request_preemption import OracleWorld
from tests.oracles.request_workloads import (
    KINDS,
    MS,
    random_scenario,
    random_table,
    random_workload,
)

from fleetgym.envs.request_preemption.chance import keeps, level

PLAYS = 204


def random_world(seed, shrink):
    rng = np.random.default_rng(seed)
    drawn = random_scenario(rng, KINDS[seed % len(KINDS)])
    rows = random_workload(rng, drawn, shrink=shrink)
    return OracleWorld(rows, drawn, random_table(rng)), random_policy(rng)


def beyond(times, target):
    return sum(max(0, time - target) for time in times)


@pytest.mark.parametrize("seed", range(PLAYS))
def test_random_play_accounts_for_everything(seed):
    world, policy = random_world(seed, shrink=seed // len(KINDS) % 2 == 0)
    sums = play(world, policy).sums
    assert world.terminated != world.truncated
    rows = world.workload
    assert sums["accepted"] + sums["rejected"] <= len(rows.arrival)
    assert sum(sums["service"]) >= 2 * sums["emitted"]
    if world.truncated:
        assert world.now == world.horizon
        return
    assert sums["accepted"] + sums["rejected"] == len(rows.arrival)
    assert sums["finished"] == sums["accepted"]
    for i in range(len(world.instances)):
        assert world.table_rows(i) == []
        assert world.host_free(i) == world.scenario.cpu_blocks
        assert world.free(i) + world.evictable(i) == world.scenario.kv_blocks
    served = served_rows(world)
    assert sums["emitted"] == sum(rows.output[row] for row in served)
    assert sum(sums["service"]) == 2 * sums["emitted"] + sum(rows.prompt[row] for row in served)
    assert sums["population_ps"] == sums["e2e_ps"] == sum(sums["ttfts"]) + sum(sums["gaps"])
    assert sum(sums["late_ttft"]) == beyond(sums["ttfts"], world.ttft_slo)
    assert sum(sums["late_tbt"]) == beyond(sums["gaps"], world.tbt_slo)


def served_rows(world):
    """Rows that fit, and do not come after one that does not."""
    served = []
    for row in range(world.workload.num_first):
        while row >= 0 and world.serves(row):
            served.append(row)
            row = world.workload.next_turn[row]
    return served


def test_random_play_uses_every_rule():
    """A law is only as good as what it has seen."""
    total = dict.fromkeys(("preemptions", "swapped_blocks", "stall_ps", "hit_tokens"), 0)
    total |= dict.fromkeys(("programs", "migrations", "aborted_migrations", "rejected", "met"), 0)
    for seed in range(0, 60):
        world, policy = random_world(seed, shrink=False)
        play(world, policy)
        for name in total:
            total[name] += world.sums[name]
    assert min(total.values()) > 0, total


@pytest.mark.parametrize("prompt", [1, 16, 64, 65, 200])
def test_an_unloaded_request_takes_what_the_formula_says(prompt):
    world = play(OracleWorld(workload((7, prompt, 5)), scenario(), TABLE))
    first, later = alone(prompt, 5)
    assert world.sums["ttfts"] == [first]
    assert world.sums["gaps"] == later
    assert world.now == 7 + first + sum(later)


def test_waiting_one_at_a_time_is_lindleys_recursion():
    rng = np.random.default_rng(3)
    arrivals = np.cumsum(rng.integers(0, 200 * MS, 30)).tolist()
    sizes = [(int(p), int(o)) for p, o in zip(*rng.integers(1, 20, (2, 30)), strict=True)]
    rows = [(a, p, o) for a, (p, o) in zip(arrivals, sizes, strict=True)]
    world = play(OracleWorld(workload(*rows), scenario(max_num_seqs=1, slots=64), TABLE))
    wait, expected = 0, []
    for i, (p, o) in enumerate(sizes):
        first, later = alone(p, o)
        expected.append(wait + first)
        if i + 1 < len(rows):
            wait = max(0, wait + first + sum(later) - (arrivals[i + 1] - arrivals[i]))
    assert world.sums["ttfts"] == expected
    assert max(expected) > 10 * min(expected)


def test_a_table_of_few_slots_only_hides_who_waits():
    rows = [(0, 10, 3), (0, 20, 4), (1, 5, 6), (2, 30, 2), (3, 9, 9)]
    few, many = (
        play(OracleWorld(workload(*rows), scenario(slots=n, max_num_seqs=1), TABLE)).sums
        for n in (1, 8)
    )
    del few["max_gap"], many["max_gap"]
    assert few == many


def test_a_recomputed_request_prefills_what_it_had():
    world = OracleWorld(workload((0, 20, 4), (0, 4, 2)), scenario(max_num_seqs=1), TABLE)
    world.act(("slot", 0))
    world.act(("go", 0))
    assert (world.table_rows(0)[0]["k"], world.table_rows(0)[0]["g"]) == (20, 1)
    world.act(("slot", 0))
    assert [row["row"] for row in world.table_rows(0)] == [0, 1]
    assert world.sums["recomputed_tokens"] == 20
    assert world.legal() == {("slot", 1)}  # one change an instant, and it must not stand idle
    world.act(("slot", 1))
    play(world)
    first, later = alone(4, 2)
    assert world.sums["ttfts"] == [alone(20, 1)[0], alone(20, 1)[0] + first]
    assert world.sums["gaps"][:2] == [later[0], first + later[0] + alone(21, 1)[0]]


@pytest.mark.parametrize(("overlapped", "group"), [(True, 1), (True, 3), (False, 1)])
def test_a_swap_takes_a_copy_each_way(overlapped, group):
    fields = {"preemption": "swap", "overlapped": overlapped, "group_blocks": group}
    rows = workload((0, 33, 4), (0, 33, 2))
    world = OracleWorld(rows, scenario(max_num_seqs=1, cpu_blocks=3, **fields), TABLE)
    world.act(("slot", 0))
    world.act(("go", 0))
    before = world.now
    world.act(("slot", 0))
    copy = {1: 3, 3: 1}[group] * TABLE.copy_fixed + 3 * TABLE.copy_block
    assert world.host_free(0) == 0
    if overlapped:
        assert [r["state"] for r in world.table_rows(0)] == ["waiting", "leaving"]
        assert world.free(0) == 37
        world.act(("slot", 0))
        world.act(("go", 0))
        iteration = alone(33, 1)[0]
        assert world.now == before + iteration + iteration * 50_000 // 1_000_000
        assert world.table_rows(0)[1]["state"] == "swapped"
        return
    assert [r["state"] for r in world.table_rows(0)] == ["swapped", "waiting"]
    assert world.free(0) == 40
    world.act(("slot", 1))
    world.act(("go", 0))
    assert world.sums["stall_ps"] == copy
    assert world.now == before + copy + alone(33, 1)[0]


@pytest.mark.parametrize(("reuse", "moved"), [(True, 3 + 3 + 2), (False, 3 + 3 + 4)])
def test_a_host_copy_that_stays_is_not_copied_again(reuse, moved):
    fields = {"preemption": "swap", "overlapped": False, "decision_iterations": 15}
    fields |= {"max_num_seqs": 1, "reuse_cpu_copies": reuse}
    world = OracleWorld(workload((0, 33, 99), (0, 1, 99)), scenario(**fields), TABLE)
    world.act(("slot", 0))
    world.act(("go", 0))
    world.act(("slot", 0))  # 3 blocks leave, 2 of them full
    world.act(("slot", 1))
    world.act(("go", 0))
    world.act(("slot", 0))  # 1 block leaves
    world.act(("slot", 1))  # 3 blocks come back
    assert world.table_rows(0)[0]["cpu"] == (3 if reuse else 0)
    world.act(("go", 0))  # one iteration, since something was preempted
    world.act(("go", 0))
    assert world.table_rows(0)[0]["k"] == 33 + 1 + 15
    world.act(("slot", 0))  # 4 blocks are held, 2 of them are on the host
    assert world.sums["swapped_blocks"] == moved + 1
    assert world.table_rows(0)[0]["cpu"] == 4


def two_leave(**fields):
    """Two of three requests run, and are swapped out in one instant."""
    fields |= {"preemption": "swap", "max_num_seqs": 2, "token_budget": 99}
    world = OracleWorld(workload(*[(0, 33, 4)] * 3), scenario(**fields), TABLE)
    world.act(("slot", 0))
    world.act(("slot", 1))
    world.act(("go", 0))
    world.act(("slot", 1))
    world.act(("slot", 0))
    return world, 3 * TABLE.copy_fixed + 3 * TABLE.copy_block


def test_copies_of_one_way_wait_for_each_other():
    world, copy = two_leave(overlapped=True)
    start = world.now
    assert world.legal() >= {("go", 0), ("slot", 0)}  # a copy is in flight: it may stand idle
    for ends in (1, 2):
        world.act(("go", 0))
        assert (world.decision(), world.now) == (("schedule", 0), start + ends * copy)
    assert [row["row"] for row in world.table_rows(0)] == [0, 1, 2]
    world.act(("slot", 0))
    world.act(("slot", 0))
    assert [r.copy_end - world.now for r in world.instances[0].aside] == [copy, 2 * copy]


def test_stalls_add_up():
    world, copy = two_leave(overlapped=False)
    world.act(("slot", 2))
    world.act(("go", 0))
    assert world.sums["stall_ps"] == 2 * copy


@pytest.mark.parametrize("pattern", ["random", "markov"])
def test_priorities_change_when_their_time_has_come(pattern):
    fields = {"priority_levels": 5, "priority_updates": 0.25, "priority_pattern": pattern}
    fields |= {"max_num_seqs": 1, "decision_iterations": 1}
    world = OracleWorld(workload((0, 9, 40), (0, 9, 1)), scenario(**fields), TABLE)
    world.act(("slot", 0))
    seen = [int(level(5, row, 0, 5)) for row in (0, 1)]
    for iteration in range(1, 30):
        world.act(("go", 0))
        j, since = divmod(iteration, 4)
        for row in (0, 1) if since == 0 else ():
            if pattern == "random" or not keeps(5, row, j):
                seen[row] = int(level(5, row, j, 5))
        assert [row["priority"] for row in world.table_rows(0)] == seen
