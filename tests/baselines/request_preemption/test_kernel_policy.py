"""A rule plays the same, asked from Python or inside a rollout; its worlds are kept apart."""

import numpy as np
import pytest
from tests.baselines.request_preemption.schedulers import SCHEDULERS, ready, simulator

from fleetgym.baselines.policy import make_baseline
from fleetgym.baselines.request_preemption import hold
from fleetgym.baselines.request_preemption.common import FIELDS, KEYS
from fleetgym.baselines.request_preemption.kernel_policy import KernelPolicy, RulePointer
from fleetgym.envs.core.errors import PolicyError
from fleetgym.envs.core.jit import kernel
from fleetgym.envs.core.registration import family_of
from fleetgym.envs.core.view import as_actions

FAMILY = family_of("RequestPreemption")
SMALL = {"requests": 40, "kv_blocks": 600, "predictions": True}


def step_by_step(made, policy, view):
    """The actions of each world, and its final digest."""
    actions = [[] for _ in range(made.num_worlds)]
    while not made.over().all():
        going = ~made.over()
        given = as_actions(view, policy.act(view))
        chosen = np.concatenate([each.reshape(len(going), -1) for each in given.values()], axis=1)
        for world in np.flatnonzero(going):
            actions[world].append(int(chosen[world].max()))
        made.step(given, going)
    return actions, made.digest().tolist()


@pytest.mark.parametrize("name", SCHEDULERS)
def test_act_and_rollout_are_one(name):
    made = simulator("burst", (0, 1), **SMALL)
    policy, view = ready(name, made)
    asked, digests = step_by_step(made, policy, view)
    again = simulator("burst", (0, 1), **SMALL)
    policy, _ = ready(policy, again)
    given = {"parameters": policy.parameters, "memory": policy.memory}
    played, counts = again.rollout(policy.kernel, 100_000, **given)
    assert [row[:n].tolist() for row, n in zip(played, counts, strict=True)] == asked
    assert again.digest().tolist() == digests


@pytest.mark.parametrize("name", ["mlfq", "slo-fit"])
def test_named_agents_play_the_same(name):
    ends = []
    for control in ("central", "distributed"):
        made = simulator("burst", (0,), control=control, **SMALL)
        policy, view = ready(name, made)
        ends.append(step_by_step(made, policy, view)[0])
        assert not made.metrics()["illegal_actions"].any()
    assert ends[0] == ends[1]


def test_reset_forgets_only_the_worlds_it_names():
    made = simulator("chat", (0, 1), requests=4)
    policy, view = ready("mlfq", made)
    policy.memory[:] = 7.0
    policy.reset(view, np.array([1]))
    assert (policy.memory[0] == 7.0).all()
    assert not policy.memory[1].any()


def test_memory_holds_numbers_of_slots_and_keys():
    made = simulator("chat", (0,), requests=4)
    policy, _ = ready(KernelPolicy("two", hold.rule, per_slot=2), made)
    assert policy.memory.shape == (1, (2 + KEYS) * made.scenario.slots)
    assert len(policy.parameters) == len(FIELDS)


def test_scores_are_refused():
    made = simulator("chat", (0,), requests=4, action="scores")
    with pytest.raises(PolicyError, match="plays action='pointer', not 'scores'"):
        ready("las", made)


@kernel
def half(state, b, parameters, memory):
    return 0.5


def test_a_rule_must_return_an_action():
    made = simulator("chat", (0,), requests=4)
    given = (made.state(), 0, np.zeros(1), np.zeros((1, 1)))
    with pytest.raises(PolicyError, match="returns float64, it must return the number"):
        RulePointer(half, given)


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("scenario", ["toy", "chat", "burst", "priority", "fair", "agents"])
def test_every_rule_is_legal_to_the_end(play, name, scenario):
    size = {"requests": {"toy": 4, "agents": 10}.get(scenario, 60)}
    played = play(name, scenario, (0, 1), split="test", **size)
    metrics = played.metrics
    assert (metrics["finished"] == metrics["accepted"]).all()


@pytest.mark.parametrize("preemption", ["recompute", "swap", "cheapest", "chosen"])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_rule_is_legal_however_requests_are_preempted(play, name, preemption):
    """A pool so small that every rule must preempt, and few seats, slots and host blocks.

    Two requests that each take most of it may preempt each other until the horizon.
    """
    fields = {
        "requests": 30,
        "kv_blocks": 320,
        "cpu_blocks": 200,
        "max_num_seqs": 5,
        "slots": 12,
        "reuse_cpu_copies": True,
        "priority_levels": 3,
        "priority_updates": 0.1,
        "horizon_s": 200.0,
    }
    played = play(name, "chat", (3, 4), preemption=preemption, **fields)
    metrics = played.metrics
    assert (metrics["finished"] + metrics["unfinished"] == metrics["accepted"]).all()
    assert (metrics["finished"] > 0).all()


def test_baselines_are_made_by_name():
    for name in SCHEDULERS:
        assert make_baseline(FAMILY, name).name == name
