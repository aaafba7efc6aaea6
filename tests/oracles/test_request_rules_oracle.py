"""The reference of the serving machine where a rule can be followed by hand."""

from dataclasses import replace

import pytest
from tests.oracles.request_instance import ceil16
from tests.oracles.request_migration import Migration
from tests.oracles.request_play import TABLE, alone, play, scenario, turns, workload
from tests.oracles.request_preemption import OracleWorld
from tests.oracles.request_workloads import MS

PAUSE = 500 * MS


def start_all(world):
    """Admits whatever fits, from the head on, then goes on."""
    while waiting := [a for a in sorted(world.legal()) if a[0] == "slot" and is_waiting(world, a)]:
        world.act(waiting[0])
    world.act(("go", 0))


def is_waiting(world, action):
    return world.table_rows(world.decision()[1])[action[1]]["state"] == "waiting"


# Turns and pins


@pytest.mark.parametrize(
    ("ttls", "choice", "cached"),
    [((), None, 0), ((0.0, 0.1), 0, 0), ((0.0, 0.1), 1, 0), ((0.0, 1.0), 1, 24)],
)
def test_a_pin_spares_the_next_turn_its_prefill(ttls, choice, cached):
    world = OracleWorld(turns((0, 20, 5), (PAUSE, 40, 2)), scenario(ttls_s=ttls), TABLE)
    start_all(world)
    if ttls:
        assert world.decision() == ("pin", 0)
        assert world.legal() == {("ttl", 0), ("ttl", 1), ("ttl", 2)}
        world.act(("ttl", choice))
    assert world.table_rows(0)[0]["k"] == cached
    assert world.pinned(0) == (2 if cached else 0)
    play(world)
    first, later = alone(40, 2, cached)
    assert world.sums["ttfts"][1] == first
    before = alone(20, 5)
    spent = before[0] + sum(before[1]) + PAUSE + first + sum(later)
    assert (world.sums["programs"], world.sums["program_ps"]) == (1, spent)


def test_a_turn_that_went_to_the_host_comes_back():
    fields = {"ttls_s": (0.0,), "preemption": "recompute", "cpu_blocks": 2}
    world = OracleWorld(turns((0, 20, 5), (PAUSE, 40, 2)), scenario(**fields), TABLE)
    start_all(world)
    world.act(("ttl", 1))
    row = world.table_rows(0)[0]
    assert (row["state"], row["k"], row["blocks"], row["cpu"]) == ("swapped", 24, 0, 2)
    play(world)
    copy = 2 * TABLE.copy_fixed + 2 * TABLE.copy_block
    assert world.sums["ttfts"][1] == copy + alone(40, 2, 24)[0]


def test_a_full_host_takes_no_pin():
    world = OracleWorld(
        turns((0, 20, 5), (PAUSE, 40, 2)), scenario(ttls_s=(0.5,), cpu_blocks=1), TABLE
    )
    start_all(world)
    assert world.legal() == {("ttl", 0)}


def test_a_wake_waits_for_the_copy_but_its_clock_runs():
    table = replace(TABLE, copy_block=PAUSE)
    world = OracleWorld(turns((0, 20, 5), (MS, 40, 1)), scenario(ttls_s=(0.0,)), table)
    start_all(world)
    world.act(("ttl", 1))
    out_and_in = 2 * (2 * table.copy_fixed + 2 * PAUSE)
    play(world)
    assert world.sums["ttfts"][1] == out_and_in - MS + alone(40, 1, 24)[0]


def test_the_latest_programs_pin_is_dropped_first():
    rows = workload((0, 17, 2, 0, 0), (0, 17, 2, 0, 1), (MS, 80, 10))
    for row in (0, 1):
        rows.next_turn[row] = rows.add(0, 40, 1, 0, row, 20 * MS)
    world = OracleWorld(rows, scenario(ttls_s=(1.0,), kv_blocks=8, token_budget=99), TABLE)
    start_all(world)
    while world.decision()[0] != "pin":
        world.act(("go", 0))
    world.act(("ttl", 0))
    world.act(("ttl", 0))
    assert (world.pinned(0), world.free(0)) == (4, 4)
    world.act(("slot", 0))  # it needs 5: nothing runs, so pins are no obstacle
    world.act(("go", 0))
    turns_there = [(r["row"], r["k"], r["blocks"]) for r in world.table_rows(0)]
    assert turns_there[1:] == [(3, 18, 2), (4, 0, 0)]


def test_a_rejected_turn_ends_its_program():
    rows = turns((0, 20, 5), (MS, 999, 2), (MS, 9_999, 1), (MS, 9_999, 1))
    sums = play(OracleWorld(rows, scenario(), TABLE)).sums
    assert (sums["accepted"], sums["rejected"], sums["programs"]) == (1, 3, 0)


# The prefix cache


def cached_world(first, second, **fields):
    """Two requests of the given hashes, one after the other, and a long way apart."""
    rows = workload((0, 40, 9, 0, -1, 0, first), (PAUSE, 40, 9, 0, -1, 0, second), hash_tokens=16)
    return OracleWorld(rows, scenario(prefix_cache=True, **fields), TABLE)


@pytest.mark.parametrize(
    ("second", "hit"), [((0, 1), 32), ((0, 2), 16), ((2, 1), 0), ((0, 1, 2), 32)]
)
def test_a_shared_beginning_is_not_computed_again(second, hit):
    world = play(cached_world((0, 1), second))
    assert world.sums["hit_tokens"] == hit
    assert world.sums["ttfts"] == [alone(40, 1)[0], alone(40, 1, hit)[0]]


def test_the_deepest_entry_is_evicted_first():
    world = cached_world((0, 1), (5, 6), kv_blocks=4)
    start_all(world)
    assert (world.evictable(0), world.free(0)) == (2, 2)
    start_all(world)
    assert (world.terminated, world.evictable(0), world.free(0)) == (True, 3, 1)
    assert list(world.instances[0].cache) == [0, 5, 6]


def test_two_who_compute_the_same_share_it_in_the_end():
    rows = [(0, 40, 9, 0, -1, 0, (0, 1))] * 2
    world = OracleWorld(
        workload(*rows, hash_tokens=16), scenario(prefix_cache=True, token_budget=80), TABLE
    )
    start_all(world)
    assert world.terminated
    assert (world.sums["hit_tokens"], world.evictable(0), world.free(0)) == (0, 2, 38)


# The router


def moved_world(output, block_ps, **fields):
    """Two instances; a request runs on the first, at a tick it may move to the second."""
    table = replace(TABLE, move_block=block_ps)
    fields = {"instances": 2, "rebalance_s": 0.1, "token_budget": 400} | fields
    world = OracleWorld(workload((0, 300, output)), scenario(**fields), table)
    assert world.legal() == {("dispatch", 0), ("dispatch", 1)}
    world.act(("dispatch", 0))
    world.act(("slot", 0))
    world.act(("go", 0))
    assert (world.decision(), world.now) == (("rebalance", -1), 100 * MS)
    assert world.legal() == {("none",), ("migrate", 0, 1)}
    return world


def stay(world):
    return ("none",) if ("none",) in world.legal() else ("go", 0)


@pytest.mark.parametrize(("block_ps", "stages"), [(13, 2), (5 * MS, 2), (125 * MS, 3)])
def test_a_migration_stops_the_request_only_in_its_last_stage(block_ps, stages, monkeypatch):
    copies, copy = [], Migration.copy
    monkeypatch.setattr(Migration, "copy", lambda m, n: (copies.append(ceil16(n)), copy(m, n)))
    world = moved_world(900, block_ps, kv_blocks=80)
    world.act(("migrate", 0, 1))
    play(world, stay)
    assert len(copies) == stages
    assert copies[0] == 20
    assert (copies[1] > 16) == (stages == 3)
    downtime = copies[-1] * (TABLE.move_fixed + block_ps)
    assert (world.sums["migrations"], world.sums["downtime_ps"]) == (1, downtime)
    assert len(world.sums["gaps"]) == 899
    assert downtime < max(world.sums["gaps"]) < downtime + 10 * MS


def test_a_migration_ends_with_its_request():
    world = moved_world(14, PAUSE)
    world.act(("migrate", 0, 1))
    assert world.sums["finished"] == world.sums["aborted_migrations"] == 1
    assert world.free(1) == 40


# Clients and targets


def test_a_client_that_comes_back_is_lifted():
    rows = workload((0, 50, 1, 0), (0, 50, 1, 0), (MS, 2, 1, 1))
    world = OracleWorld(rows, scenario(max_num_seqs=1), TABLE)
    world.act(("slot", 0))
    world.act(("go", 0))
    assert world.sums["service"] == [52, 0]
    assert world.sums["fair"] == [52, 50]  # client 0 waits, with its prompt counted
    play(world)
    assert world.sums["service"] == [104, 4]


def test_a_new_client_starts_at_the_least_of_those_who_wait():
    late = alone(50, 1)[0] + MS
    rows = [(0, 50, 1, 0), (0, 30, 1, 1), (0, 9, 1, 1), (0, 9, 1, 0), (late, 2, 1, 2)]
    world = OracleWorld(workload(*rows), scenario(max_num_seqs=1), TABLE)
    for _ in range(2):
        world.act(("slot", 0))
        world.act(("go", 0))
    assert world.sums["fair"] == [52, 32, 30]
    assert world.sums["service"] == [52, 32, 0]
    assert world.sums["max_gap"] == 52  # after the first iteration, when client 1 had nothing yet


@pytest.mark.parametrize(("late", "met"), [(1, 1), (2, 0)])
def test_one_gap_in_a_hundred_may_be_late(late, met):
    world = OracleWorld(workload((0, 1, 101)), scenario(), TABLE)
    world.tbt_slo = sorted(alone(1, 101)[1])[-late - 1]
    world.act(("slot", 0))
    world.act(("go", 0))
    assert world.sums["met"] == met
