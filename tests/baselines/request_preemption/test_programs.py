"""Pin policies: legal to the end, their choices as their rules say, and blind to the future."""

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
from fleetgym.baselines.request_preemption import pins
from fleetgym.envs.request_preemption.types import (
    FOCUS,
    GROUP,
    KIND,
    LISTS,
    MODES,
    PIN,
    QUEUE,
    RUNNING_N,
    SCHEDULE,
)
from fleetgym.envs.request_preemption.workloads import ServingWorkload
from fleetgym.traces.schema_serving import ServingTrace

PINNERS = ("prefix-lru", "always-pin", "continuum", "infercept", "batchllm")
SMALL = {"requests": 12, "kv_blocks": 1_500}
TTLS = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0)


def chosen_pins(name, seeds=(0,), **overrides):
    """The pins that a policy chose: numbers of TTLs, behind the last of them the host."""
    chosen = []

    def watch(state, actions):
        for b in np.flatnonzero(state.scalars[:, KIND] == PIN):
            start = int(np.flatnonzero(state.mask[b])[0])
            assert state.mask[b, start : start + len(TTLS)].all()
            chosen.append(int(actions[b]) - start)

    play(name, "agents", seeds, watch, **{**SMALL, "ttls_s": TTLS, **overrides})
    return chosen


@pytest.mark.parametrize("name", PINNERS)
@pytest.mark.parametrize("prefix_cache", [False, True])
def test_plays_to_the_end(name, prefix_cache):
    metrics = play(name, "agents", (0, 1), **SMALL, prefix_cache=prefix_cache)
    assert (metrics["program_mean_s"] > 0).all()
    assert (metrics["hit_tokens"] > 0).all() == prefix_cache


def test_fixed_pins_choose_the_shortest_and_the_longest():
    assert set(chosen_pins("prefix-lru")) == {0}
    assert set(chosen_pins("always-pin")) == {len(TTLS) - 1}


def test_order_of_the_ttls_does_not_matter():
    turned = tuple(reversed(TTLS))
    assert set(chosen_pins("prefix-lru", ttls_s=turned)) == {len(TTLS) - 1}
    assert set(chosen_pins("always-pin", ttls_s=turned)) == {0}


def test_continuum_chooses_among_the_ttls():
    chosen = chosen_pins("continuum", (0, 1), prefix_cache=False, kv_blocks=900, arrival_scale=0.1)
    assert set(chosen) <= set(range(len(TTLS)))
    assert len(set(chosen)) > 1


def test_infercept_swaps_only_to_a_host():
    assert len(TTLS) in chosen_pins("infercept")
    assert len(TTLS) not in chosen_pins("infercept", cpu_blocks=0)


def test_pauses_are_measured_as_they_were():
    """The sums that Continuum keeps agree with the workload's own pauses."""
    policy = make_baseline(FAMILY, "continuum")
    simulator, view = begin(policy, "agents", (2,), **SMALL)
    while not simulator.over().all():
        simulator.step(policy.act(view))
    trace = simulator.workloads[0].trace
    later = np.arange(len(trace)) >= trace.num_arrivals
    state = simulator.state()
    sums = policy.memory[0, pins.SLOT_COLUMNS * state.slots[0, :, 0].size :]
    assert sums[pins.PAUSES] == later.sum()
    assert sums[pins.PAUSE_SUM] == pytest.approx(trace.pause_ns[later].sum() * 1_000, rel=1e-12)
    within = [(trace.pause_ns[later] <= ttl * 1e9).sum() for ttl in TTLS]
    assert sums[pins.WITHIN : pins.WITHIN + len(TTLS)].tolist() == within


def two_groups(count):
    """Requests of 20 blocks each at once; every other one begins with the same 16 blocks."""
    shared = np.arange(16) + 16 * (np.arange(count) % 2)[:, None]
    own = 32 + np.arange(4 * count).reshape(count, 4)
    trace = ServingTrace(
        name="groups",
        arrival_ns=np.zeros(count, np.int64),
        prompt_tokens=np.full(count, 320, np.int32),
        output_tokens=np.full(count, 50, np.int32),
        client=np.zeros(count, np.int32),
        program=np.full(count, -1, np.int32),
        next_turn=np.full(count, -1, np.int32),
        pause_ns=np.zeros(count, np.int64),
        hash_start=np.arange(count, dtype=np.int32) * 20,
        hash_count=np.full(count, 20, np.int32),
        hashes=np.concatenate((shared, own), 1).ravel().astype(np.int32),
        hash_tokens=16,
    ).validate()
    return ServingWorkload("groups", 0, trace, np.zeros(count, np.int32))


@pytest.mark.parametrize(
    ("name", "groups"), [("batchllm", [0] * 6 + [1] * 6), ("prefix-lru", [0, 1] * 6)]
)
def test_batchllm_serves_a_group_together(name, groups):
    policy = make_baseline(FAMILY, name)
    simulator, view = begin(policy, "agents", workloads=[two_groups(12)], kv_blocks=90)
    admitted = []
    while not simulator.over().all():
        actions, state = policy.act(view), simulator.state()
        i = state.scalars[0, FOCUS]
        place = int(actions["scheduler"][0, 0]) - MODES - state.instances[0, i, RUNNING_N]
        if state.scalars[0, KIND] == SCHEDULE and place >= 0:
            s = state.slots[0, i, LISTS + QUEUE, place]
            admitted.append(int(state.slots[0, i, GROUP, s] > 0))
        simulator.step(actions)
    assert admitted == groups


@pytest.mark.parametrize("name", PINNERS)
def test_sees_the_past_only(name):
    scenario = FAMILY.scenario("agents", SMALL)
    workload = FAMILY.workloads(scenario).draw(3)
    until = int(30e12)
    taken, slots = actions_until(name, "agents", workload, until, **SMALL)
    time = taken[-1][0]
    other = parted(workload, slots, time, scenario.arrival_scale)
    again, _ = actions_until(name, "agents", other, time, **SMALL)
    assert len(taken) > 20
    assert again[: len(taken)] == taken
