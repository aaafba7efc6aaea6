"""Routers: legal to the end, and each does what its name says."""

import numpy as np
import pytest
from tests.baselines.request_preemption.playing import (
    FAMILY,
    actions_until,
    begin,
    parted,
    play,
)

from fleetgym.baselines.policy import make_baseline
from fleetgym.envs.request_preemption.types import (
    DISPATCH,
    KIND,
    QUEUED_N,
    REBALANCE,
    RUNNING_N,
    SEATS,
)
from fleetgym.envs.request_preemption.workloads import ServingWorkload
from fleetgym.traces.schema_serving import ServingTrace

ROUTERS = ("round-robin", "least-loaded", "least-blocks", "llumnix-dispatch", "llumnix")


def targets(state, actions):
    """World and target of each dispatch, and the state's number of instances."""
    count = state.instances.shape[1]
    start = state.mask.shape[1] - count - count * count
    worlds = np.flatnonzero(state.scalars[:, KIND] == DISPATCH)
    return [(int(b), int(actions[b]) - start) for b in worlds]


@pytest.mark.parametrize("name", ROUTERS)
@pytest.mark.parametrize(("scenario", "requests"), [("cluster-4", 120), ("cluster-16", 160)])
def test_plays_to_the_end(name, scenario, requests):
    metrics = play(name, scenario, (0, 1), requests=requests, kv_blocks=700)
    assert (metrics["accepted"] + metrics["rejected"]).tolist() == [requests] * 2


def test_round_robin_takes_turns():
    seen = [[], []]

    def watch(state, actions):
        for world, target in targets(state, actions):
            seen[world].append(target)

    play("round-robin", "cluster-4", (0, 1), watch, requests=60)
    assert seen[0] == [n % 4 for n in range(len(seen[0]))]
    assert seen[1] == [n % 4 for n in range(len(seen[1]))]


def test_least_loaded_chooses_the_fewest():
    def watch(state, actions):
        for world, target in targets(state, actions):
            load = state.instances[world][:, [RUNNING_N, QUEUED_N, SEATS]].sum(1)
            assert load[target] == load.min()

    play("least-loaded", "cluster-4", (0,), watch, requests=80)


def test_llumnix_migrates_and_its_dispatch_alone_does_not():
    overrides = {"requests": 200, "kv_blocks": 700}
    assert play("llumnix", "cluster-4", (0, 1), **overrides)["migrations"].min() > 0
    assert play("llumnix-dispatch", "cluster-4", (0, 1), **overrides)["migrations"].sum() == 0


def test_llumnix_moves_a_request_from_the_full_to_the_free():
    """Two requests sit on one instance of two, since the other one's has just ended."""
    arrival = np.array([0, 1, 2], np.int64) * 1_000_000
    prompt, output = np.array([600, 600, 600], np.int32), np.array([400, 2, 400], np.int32)
    trace = ServingTrace.independent("three", arrival, prompt, output)
    workload = ServingWorkload("three", 0, trace, np.zeros(3, np.int32))
    policy = make_baseline(FAMILY, "llumnix")
    simulator, view = begin(
        policy, "cluster-4", workloads=[workload], instances=2, arrival_scale=1.0, requests=3,
        kv_blocks=200,
    )  # fmt: skip
    pairs = []
    while not simulator.over().all():
        action = policy.act(view)
        state = simulator.state()
        if state.scalars[0, KIND] == REBALANCE and action["scheduler"][0, 0] > 0:
            pairs.append(int(action["scheduler"][0, 0]) - (state.mask.shape[1] - 4))
            running = state.instances[0, :, RUNNING_N].copy()
        simulator.step(action)
    source, target = divmod(pairs[0], 2)
    assert running[source] == 2
    assert running[target] == 0
    assert simulator.metrics()["migrations"][0] == len(pairs) == 1


@pytest.mark.parametrize("name", ROUTERS)
def test_sees_the_past_only(name):
    overrides = {"requests": 60, "kv_blocks": 700}
    scenario = FAMILY.scenario("cluster-4", overrides)
    workload = FAMILY.workloads(scenario).draw(3)
    until = int(2e12)
    taken, slots = actions_until(name, "cluster-4", workload, until, **overrides)
    time = taken[-1][0]
    other = parted(workload, slots, time, scenario.arrival_scale)
    again, _ = actions_until(name, "cluster-4", other, time, **overrides)
    assert len(taken) > 20
    assert again[: len(taken)] == taken


def test_distributed_control_plays_the_same():
    central = play("llumnix", "cluster-4", (5,), requests=60)
    policy = make_baseline(FAMILY, "llumnix")
    simulator, view = begin(policy, "cluster-4", (5,), requests=60, control="distributed")
    while not simulator.over().all():
        simulator.step(policy.act(view))
    assert simulator.metrics()["illegal_actions"][0] == 0
    assert simulator.metrics()["e2e_mean_s"][0] == central["e2e_mean_s"][0]
