"""Nothing is lost or made: blocks, requests, tokens, copied blocks, reward."""

import numpy as np
import pytest
from tests.envs.request_preemption.machine import (
    SCENARIOS,
    TINY,
    act,
    check_conservation,
    drawn,
    finish,
    first_come,
    listed,
    random_legal,
    simulator_of,
    workload,
)

from fleetgym.envs.request_preemption.types import (
    CUT_LEVEL,
    E2E,
    EMITTED,
    HOST,
    LATE_TBT,
    LATE_TTFT,
    MET_LEVEL,
    MISSED_LEVEL,
    ROW,
    STATE,
    STATES,
    TBT,
    TERMS,
    TTFT,
)

WAYS = [
    {"preemption": "recompute"},
    {"preemption": "swap", "overlapped": False},
    {"preemption": "swap", "cpu_blocks": 500},
    {"preemption": "cheapest", "group_blocks": 64},
    {"preemption": "chosen", "reuse_cpu_copies": True},
]


def rngs_of(count, seed=0):
    return [np.random.default_rng([seed, world]) for world in range(count)]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_blocks_and_slots_after_every_step(scenario):
    simulator = drawn(scenario, range(2))
    rngs = rngs_of(2)
    check_conservation(simulator)
    for _ in range(150):
        act(simulator, random_legal(simulator, rngs))
        check_conservation(simulator)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way["preemption"])
def test_blocks_when_a_pool_is_churned(way):
    simulator = drawn("small", range(3), requests=20, arrival_scale=0.5, **way)
    rngs = rngs_of(3)
    for _ in range(400):
        act(simulator, random_legal(simulator, rngs, haste=0.2))
        check_conservation(simulator)
    assert (simulator.metrics()["preemptions"] > 20).all()


def test_random_play_conserves_cache_entries_and_pins():
    simulator = drawn("agents", range(2), requests=12, kv_blocks=1_500, arrival_scale=0.2)
    rngs = rngs_of(2)
    for _ in range(600):
        act(simulator, random_legal(simulator, rngs, haste=0.7))
        check_conservation(simulator)
    assert (simulator.metrics()["hit_tokens"] > 0).all()


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way["preemption"])
def test_every_request_finishes_once(way):
    simulator = drawn("small", range(4), arrival_scale=3.0, **way)
    finish(simulator)
    metrics, world = simulator.metrics(), simulator.world
    rejected = np.zeros(4)
    for b in range(4):
        trace = simulator.workloads[b].trace
        size = -(-(trace.prompt_tokens + trace.output_tokens - 1) // 16)
        fits = size <= simulator.scenario.kv_blocks
        rejected[b] = (~fits).sum()
        assert world.scalars[b, EMITTED] == trace.output_tokens[fits].sum()
        assert world.histograms[b, TTFT].sum() == fits.sum()
        assert world.histograms[b, TBT].sum() == (trace.output_tokens[fits] - 1).sum()
    assert (metrics["rejected"] == rejected).all()
    assert (metrics["accepted"] + metrics["rejected"] == 60).all()
    assert (metrics["finished"] == metrics["accepted"]).all()
    assert (metrics["unfinished"] == 0).all()
    assert rejected.sum() > 0
    assert (metrics["preemptions"] > 0).any()


@pytest.mark.parametrize("cut", [{"horizon_s": 20.0}, {"max_steps": 60}], ids=["time", "steps"])
def test_at_a_truncation_everyone_is_accounted_for(cut):
    simulator = drawn("small", range(4), arrival_scale=1.0, **cut)
    earned = finish(simulator)
    metrics, levels = simulator.metrics(), simulator.world.levels
    assert (metrics["finished"] + metrics["unfinished"] == metrics["accepted"]).all()
    assert (metrics["unfinished"] > 0).all()
    assert (levels[:, CUT_LEVEL].sum(axis=1) == metrics["unfinished"]).all()
    goodput = metrics["slo_attainment"] * metrics["accepted"] - metrics["unfinished"]
    assert earned[:, TERMS.index("goodput")] == pytest.approx(goodput)


def test_cut_programs_count_the_turns_that_are_there():
    simulator = drawn("agents", range(3), horizon_s=60.0, arrival_scale=0.3)
    rngs = rngs_of(3)
    finish(simulator, lambda s: random_legal(s, rngs, haste=0.9))
    metrics = simulator.metrics()
    assert (metrics["finished"] + metrics["unfinished"] == metrics["accepted"]).all()


@pytest.mark.parametrize("scenario", ["toy", "small", "priority", "fair"])
def test_rewards_add_up_to_what_the_metrics_say(scenario):
    few = {} if scenario == "toy" else {"requests": 60}
    simulator = drawn(scenario, range(3), **few)
    earned = finish(simulator)
    metrics, resolved = simulator.metrics(), simulator.scenario
    weights = np.array(resolved.weights())
    met = simulator.world.levels[:, MET_LEVEL] @ weights
    expected = {
        "ttft": -resolved.weight_late * metrics["late_ttft_s"],
        "tbt": -resolved.weight_late * metrics["late_tbt_s"],
        "goodput": resolved.weight_goodput * met,
        "fairness": np.zeros(3),  # nobody waits in the end: the gap is what it was
        "illegal": np.zeros(3),
    }
    for at, name in enumerate(simulator.term_names):
        assert earned[:, at] == pytest.approx(expected[name], abs=1e-9), name
    finished = simulator.world.levels[:, MET_LEVEL : MISSED_LEVEL + 1].sum(axis=(1, 2))
    assert (finished == metrics["finished"]).all()


def test_the_integral_of_requests_present_is_the_sum_of_sojourns():
    """With targets of a picosecond, lateness is charged for all the time a request is there."""
    fields = {"ttft_slo_s": TINY, "tbt_slo_s": TINY, "weight_late": 1.0}
    for way in WAYS:
        simulator = drawn("small", range(3), arrival_scale=3.0, **fields, **way)
        finish(simulator)
        sums = simulator.world.scalars
        late = simulator.world.levels[:, [LATE_TTFT, LATE_TBT]].sum(axis=(1, 2))
        assert late.tolist() == (sums[:, E2E] - sums[:, EMITTED]).tolist()


@pytest.mark.parametrize("overlapped", [False, True])
def test_what_is_swapped_out_comes_back(overlapped):
    """Every block copied to the host is copied back: from what each step leaves on the host."""
    lengths = np.random.default_rng(0).integers(100, 900, (2, 24))
    made = [workload(np.arange(24) * 50_000, row, np.full(24, 60)) for row in lengths]
    simulator = simulator_of(made, kv_blocks=80, preemption="swap", overlapped=overlapped)
    rngs, out, before = rngs_of(2), np.zeros(2, int), [{}, {}]
    while not simulator.over().all():
        greedy = first_come(simulator)
        wild = random_legal(simulator, rngs, haste=0.6)
        act(simulator, np.where([rng.random() < 0.3 for rng in rngs], wild, greedy))
        for world in range(2):
            now = {
                int(slot[ROW]): int(slot[HOST])
                for slot in listed(simulator.state(), world, 0)
                if STATES[slot[STATE]] in ("leaving", "swapped", "coming")
            }
            out[world] += sum(n for row, n in now.items() if row not in before[world])
            before[world] = now
    per_block = simulator.metrics()["swapped_mib"] / 2.0  # 16 tokens of 128 KiB
    assert (out > 30).all()
    assert per_block == pytest.approx(2 * out)
