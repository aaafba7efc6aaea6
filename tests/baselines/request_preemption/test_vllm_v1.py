"""vLLM v1's rule against its scheduler written anew, on the machine that steps one by one."""

from types import SimpleNamespace

import numpy as np
import pytest
from tests.oracles.request_instance import ceil16
from tests.oracles.request_preemption import OracleWorld

from fleetgym.envs.request_preemption.types import (
    CLOCK,
    R_A0,
    R_A1,
    R_A2,
    R_COPY_BLOCK,
    R_COPY_FIXED,
    R_D0,
    R_D1,
    R_D2,
    R_MOVE_BLOCK,
    R_MOVE_FIXED,
    ROW_ARRIVAL,
    ROW_CLIENT,
    ROW_HASH,
    ROW_HASHES,
    ROW_NEXT,
    ROW_OUTPUT,
    ROW_PAUSE,
    ROW_PROGRAM,
    ROW_PROMPT,
)

TIMES = {
    "a0": R_A0,
    "a1": R_A1,
    "a2": R_A2,
    "d0": R_D0,
    "d1": R_D1,
    "d2": R_D2,
    "copy_fixed": R_COPY_FIXED,
    "copy_block": R_COPY_BLOCK,
    "move_fixed": R_MOVE_FIXED,
    "move_block": R_MOVE_BLOCK,
}
COLUMNS = {
    "prompt": ROW_PROMPT,
    "output": ROW_OUTPUT,
    "client": ROW_CLIENT,
    "program": ROW_PROGRAM,
    "next_turn": ROW_NEXT,
    "hash_start": ROW_HASH,
    "hash_count": ROW_HASHES,
}


def oracle_of(simulator):
    """The slow machine, with the rows and the times of a simulator's first world."""
    world, rules = simulator.world, simulator.rules
    workload = SimpleNamespace(
        hash_tokens=0,
        seed=0,
        num_first=world.rows.shape[2],
        arrival=world.times[0, ROW_ARRIVAL].tolist(),
        pause=world.times[0, ROW_PAUSE].tolist(),
        hashes=[],
        **{name: world.rows[0, row].tolist() for name, row in COLUMNS.items()},
    )
    times = {name: int(rules.of[row]) for name, row in TIMES.items()}
    return OracleWorld(
        workload, simulator.scenario, SimpleNamespace(first=rules.first.tolist(), **times)
    )


def schedule(engine, most, budget):
    """One call of vLLM's ``schedule()``: who is preempted, in order, and how many are admitted."""
    running, free = list(engine.running), engine.free()
    preempted, at = [], 0
    while at < len(running) and budget > 0:
        r = running[at]
        tokens = min(r.prompt + r.g - r.k, budget)
        blocks = ceil16(r.k + tokens) - r.blocks
        while blocks > free:
            last = running.pop()
            free += last.blocks
            preempted.append(last)
            if last is r:
                break
        if preempted and preempted[-1] is r:
            break
        free -= blocks
        budget -= tokens
        at += 1
    admitted = 0
    while not preempted and admitted < len(engine.queue) and budget > 0:
        r = engine.queue[admitted]
        tokens = min(r.prompt + r.g, budget)
        if len(running) + admitted == most or ceil16(tokens) > free:
            break
        free -= ceil16(tokens)
        budget -= tokens
        admitted += 1
    return preempted, admitted


def play_vllm(world):
    engine, scenario = world.instances[0], world.scenario
    while world.decision()[0] != "over":
        preempted, admitted = schedule(engine, scenario.max_num_seqs, scenario.token_budget)
        for r in preempted:
            world.act(("slot", engine.running.index(r)))
        for _ in range(admitted):
            world.act(("slot", len(engine.running)))
        world.act(("go", 0))


@pytest.mark.parametrize(
    "fields",
    [
        {"kv_blocks": 240},
        {"kv_blocks": 240, "token_budget": 256},
        {"kv_blocks": 500, "max_num_seqs": 4},
        {"kv_blocks": 160, "arrival_scale": 0.3},
    ],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_it_is_vllms_scheduler(play, fields, seed):
    """Asked in every iteration, as vLLM's scheduler is."""
    fields = {"requests": 30, "decision_iterations": 1, "arrival_scale": 0.6} | fields
    played = play("vllm-v1-fcfs", "chat", (seed, seed + 1), **fields)
    world = oracle_of(played.simulator)
    play_vllm(world)
    metrics = {name: value[0] for name, value in played.metrics.items()}
    assert metrics["preemptions"] == world.sums["preemptions"]
    assert metrics["recomputed_tokens"] == world.sums["recomputed_tokens"]
    assert metrics["iterations"] == world.sums["iterations"]
    assert metrics["finished"] == world.sums["finished"]
    assert metrics["e2e_mean_s"] * metrics["finished"] == pytest.approx(
        world.sums["e2e_ps"] / 1e12, rel=1e-12
    )
    assert int(played.simulator.world.scalars[0, CLOCK]) == world.now
    edges = played.simulator.rules.edges
    for row, values in enumerate((world.sums["ttfts"], world.sums["gaps"])):
        counts = np.histogram(values, edges)[0]
        assert (played.simulator.world.histograms[0, row] == counts).all()
    if "max_num_seqs" not in fields:
        assert metrics["preemptions"] > 0, "the pool is too large to tell"
