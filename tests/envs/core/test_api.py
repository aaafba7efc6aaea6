"""Gymnasium's contract, for every registered environment and scenario."""

import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from tests.envs.cases import CASES, IDS, busy, legal, make, make_vec, play

import fleetgym
from fleetgym.envs.core.errors import IllegalActionError, ScenarioError
from fleetgym.envs.core.registration import families


def test_every_family_is_registered_and_has_scenarios():
    assert IDS
    for id in IDS:
        assert id in gymnasium.registry
        assert fleetgym.list_scenarios(id)
        assert fleetgym.list_baselines(id)


@pytest.mark.parametrize(("id", "scenario"), CASES)
def test_check_env(id, scenario):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gymnasium.make(id, scenario=scenario).unwrapped
        check_env(env)


@pytest.mark.parametrize(("id", "scenario"), CASES)
def test_observation_is_always_inside_its_space(id, scenario):
    env = make(id, scenario=scenario)
    for observation, reward, _, _, info in play(env, 3, 40):
        assert env.observation_space.contains(observation)
        assert np.isfinite(reward)
        assert (info["action_mask"] == observation["action_mask"]).all()
        assert (env.action_masks() == (observation["action_mask"] == 1)).all()
        assert observation["action_mask"].any(), "a world with no legal action"


@pytest.mark.parametrize("id", IDS)
def test_info_at_reset_step_and_end(id):
    env = make(id, **busy(id))
    results = list(play(env, 0, 400))
    assert {"workload_seed", "metrics", "action_mask"} <= set(results[0][4])
    ended = 0
    for _, reward, terminated, truncated, info in results[1:]:
        assert sum(info["reward_terms"].values()) == pytest.approx(reward, abs=1e-12)
        assert ("episode_metrics" in info) == (terminated or truncated)
        ended += terminated or truncated
    assert ended > 3
    assert set(results[0][4]["metrics"]) == set(env.metrics())


@pytest.mark.parametrize("id", IDS)
def test_reset_options(id):
    env = make(id, **busy(id))
    observation, info = env.reset(options={"workload_seed": 77})
    digest = env.simulator.digest()[0]
    assert info["workload_seed"] == 77
    env.reset(seed=5)
    assert env.simulator.digest()[0] != digest
    env.reset(options={"workload": env._face.source.draw(77)})
    assert env.simulator.digest()[0] == digest
    with pytest.raises(ScenarioError, match=r"workload_sed.*workload_seed"):
        env.reset(options={"workload_sed": 1})
    assert env.observation_space.contains(observation)


@pytest.mark.parametrize("id", IDS)
def test_workload_seed_of_info_plays_the_episode_again(id):
    env = make(id, **busy(id))
    env.reset(seed=9)
    _, info = env.reset()
    digest = env.simulator.digest()[0]
    env.reset(options={"workload_seed": info["workload_seed"]})
    assert env.simulator.digest()[0] == digest


@pytest.mark.parametrize("id", IDS)
def test_copies_stay_and_views_move(id):
    rng = np.random.default_rng(0)
    for copy in (True, False):
        env = make(id, **busy(id), copy=copy)
        first, _ = env.reset(seed=0)
        kept = {name: array.copy() for name, array in first.items()}
        env.step(legal(first["action_mask"], rng))
        same = all(np.array_equal(first[name], kept[name]) for name in kept)
        assert same == copy
        for array in first.values():
            assert array.flags.writeable == copy


@pytest.mark.parametrize("id", IDS)
def test_vector_copies_stay_and_views_move(id):
    for copy in (True, False):
        env = make_vec(id, 3, **busy(id), copy=copy)
        first, _ = env.reset(seed=0)
        kept = {name: array.copy() for name, array in first.items()}
        env.step(np.argmax(first["action_mask"], axis=1))
        assert all(np.array_equal(first[name], kept[name]) for name in kept) == copy
        for array in first.values():
            assert array.flags.writeable == copy


@pytest.mark.parametrize("id", IDS)
def test_illegal_action_costs_or_raises(id):
    env = make(id, **busy(id))
    observation, _ = env.reset(seed=0)
    digest, bad = env.simulator.digest()[0], int(np.argmin(observation["action_mask"]))
    after, reward, terminated, _, info = env.step(bad)
    assert info["reward_terms"]["illegal"] == reward < 0
    assert not terminated
    assert env.metrics()["illegal_actions"] == 1
    for name, array in observation.items():
        assert (after[name] == array).all()
    assert env.simulator.digest()[0] != digest, "the illegal action is part of the history"
    strict = make(id, **busy(id), illegal_action="raise")
    strict.reset(seed=0)
    with pytest.raises(IllegalActionError, match=rf"action {bad} is forbidden.*open: "):
        strict.step(bad)


@pytest.mark.parametrize("id", IDS)
def test_vector_illegal_action_names_the_world(id):
    env = make_vec(id, 3, **busy(id), illegal_action="raise")
    observation, _ = env.reset(seed=0)
    actions = np.argmax(observation["action_mask"], axis=1)
    actions[1] = int(np.argmin(observation["action_mask"][1]))
    with pytest.raises(IllegalActionError, match=rf"world 1: action {actions[1]} is forbidden"):
        env.step(actions)


@pytest.mark.parametrize("id", IDS)
@pytest.mark.parametrize("bad", [1.5, [0, 1, 2], "stop", None, True, 2**64])
def test_action_of_another_shape_or_type(id, bad):
    env = make(id, **busy(id))
    env.reset(seed=0)
    with pytest.raises(IllegalActionError, match="does not fit"):
        env.step(bad)
    batch = make_vec(id, 2, **busy(id))
    batch.reset(seed=0)
    with pytest.raises(IllegalActionError, match="does not fit"):
        batch.step(bad)


@pytest.mark.parametrize("id", IDS)
def test_step_needs_reset(id):
    with pytest.raises(IllegalActionError, match="reset"):
        make(id, **busy(id)).step(0)
    with pytest.raises(IllegalActionError, match="reset"):
        make_vec(id, 2, **busy(id)).step(np.zeros(2, np.int64))
    env = make_vec(id, 1, **busy(id), autoreset_mode=AutoresetMode.DISABLED)
    over = False
    observation, _ = env.reset(seed=0)
    while not over:
        observation, _, ended, cut, _ = env.step(np.argmax(observation["action_mask"], axis=1))
        over = bool(ended[0] or cut[0])
    with pytest.raises(IllegalActionError, match="over"):
        env.step(np.zeros(1, np.int64))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scenario": "smal"}, "did you mean 'small'"),
        ({"illegal_action": "ignore"}, "illegal_action is 'ignore'"),
        ({"decision_latency": "fixed:soon"}, "'fixed:soon'.*fixed:SECONDS"),
        ({"decision_latency": "fixed:-1"}, "fixed:SECONDS"),
        ({"decision_latency": "measured"}, "evaluate"),
        ({"render_mode": "human"}, "render_mode is 'human'.*ansi"),
        ({"control": "distributed"}, "parallel_env"),
    ],
)
@pytest.mark.parametrize("id", IDS)
def test_bad_arguments(id, arguments, message):
    family = families()[id]
    with pytest.raises(ScenarioError, match=message):
        family.load(family.env)(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_envs": 0}, "at least 1"),
        ({"render_mode": "ansi"}, "does not render"),
        ({"autoreset_mode": "sometimes"}, "sometimes.*NextStep"),
    ],
)
@pytest.mark.parametrize("id", IDS)
def test_bad_vector_arguments(id, arguments, message):
    family = families()[id]
    with pytest.raises(ScenarioError, match=message):
        family.load(family.vector_env)(**arguments)


@pytest.mark.parametrize("id", IDS)
def test_bad_vector_reset(id):
    env = make_vec(id, 3, **busy(id))
    with pytest.raises(ScenarioError, match="2 seeds for 3 worlds"):
        env.reset(seed=[1, 2])
    with pytest.raises(ScenarioError, match="unknown reset option 'mask'"):
        env.reset(options={"mask": 1})


@pytest.mark.parametrize("id", IDS)
def test_fixed_latency_is_charged_once_a_decision(id, monkeypatch):
    env = make(id, **busy(id), decision_latency="fixed:2.5")
    env.reset(seed=1)
    simulator, charged = env.simulator, []
    elapse = simulator.elapse

    def noted(duration):
        before = simulator.now()[0]
        elapse(duration)
        assert simulator.now()[0] - before == duration[0]
        charged.append(int(duration[0]))

    monkeypatch.setattr(simulator, "elapse", noted)
    rng, decisions = np.random.default_rng(1), 0
    for _ in range(60):
        decisions += int(simulator.decision_starts()[0])
        _, _, ended, cut, _ = env.step(legal(env.action_masks(), rng))
        assert sum(charged) == decisions * 2_500_000_000
        if ended or cut:
            break
    assert decisions > 0


@pytest.mark.parametrize("id", IDS)
def test_latency_changes_the_world(id):
    """With churn a late decision meets another fleet; without latency time stands still."""
    digests = []
    for latency in ("none", "fixed:0", "fixed:60"):
        env = make(id, **busy(id), decision_latency=latency)
        observation, _ = env.reset(seed=2)
        env.step(legal(observation["action_mask"], np.random.default_rng(0)))
        digests.append(int(env.simulator.digest()[0]))
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("id", IDS)
def test_render_needs_a_mode(id):
    env = make(id, **busy(id))
    env.reset(seed=0)
    with pytest.raises(ScenarioError, match="render_mode"):
        env.render()
