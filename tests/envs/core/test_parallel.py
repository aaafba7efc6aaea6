"""PettingZoo's contract, for every family that can be controlled by several agents."""

import copy
import pickle
import sys
import warnings

import numpy as np
import pytest
from pettingzoo.test import parallel_api_test, parallel_seed_test
from tests.envs.cases import PARALLEL, busy, make

import fleetgym
from fleetgym.envs.core.errors import IllegalActionError, MissingExtraError, ScenarioError

pytestmark = pytest.mark.parametrize("id", PARALLEL)


def parallel(id, **arguments):
    return fleetgym.parallel_env(id, **(busy(id) | arguments))


def legal(observations, rng):
    return {
        agent: int(rng.choice(np.flatnonzero(seen["action_mask"])))
        for agent, seen in observations.items()
    }


def play(env, seed, steps=60):
    """Random legal play of one episode; yields what each step returns."""
    rng = np.random.default_rng(seed)
    observations, _ = env.reset(seed=seed)
    for _ in range(steps):
        result = env.step(legal(observations, rng))
        observations = result[0]
        yield result
        if not env.agents:
            return


@pytest.mark.parametrize("control", ["distributed", "central"])
def test_pettingzoo_contract(id, control):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parallel_api_test(parallel(id, control=control), num_cycles=200)
        parallel_seed_test(lambda: parallel(id, control=control), num_cycles=50)


def test_observations_rewards_and_infos(id):
    env = parallel(id)
    _, infos = env.reset(seed=0)
    assert set(infos) == set(env.agents) == set(env.possible_agents)
    assert len(env.agents) > 1
    over = 0
    for seed in range(5):
        for observations, rewards, ended, cut, infos in play(env, seed):
            done = {ended[agent] or cut[agent] for agent in ended}
            assert len(done) == 1, "agents live until the episode is over"
            assert (env.agents == []) == done.pop()
            for agent, seen in observations.items():
                assert env.observation_space(agent).contains(seen)
                info = infos[agent]
                assert (info["action_mask"] == seen["action_mask"]).all()
                assert (env.action_masks(agent) == (seen["action_mask"] == 1)).all()
                total = sum(info["reward_terms"].values())
                assert total == pytest.approx(rewards[agent], abs=1e-12)
                assert ("episode_metrics" in info) == (not env.agents)
            over += not env.agents
    assert over == 5
    assert infos[env.possible_agents[0]]["episode_metrics"] == env.metrics()


def test_same_seed_same_workload_as_the_single_face(id):
    env, single = parallel(id), make(id, **busy(id))
    for seed in (3, None, None, 4):
        _, infos = env.reset(seed=seed)
        _, info = single.reset(seed=seed)
        assert {i["workload_seed"] for i in infos.values()} == {info["workload_seed"]}
    env.reset(options={"workload_seed": 77})
    digest = env.simulator.digest()[0]
    env.reset(seed=5)
    assert env.simulator.digest()[0] != digest
    env.reset(options={"workload": env._face.source.draw(77)})
    assert env.simulator.digest()[0] == digest
    with pytest.raises(ScenarioError, match=r"workload_sed.*workload_seed"):
        env.reset(options={"workload_sed": 1})


def test_copies_stay_and_views_move(id):
    for kept in (True, False):
        env = parallel(id, copy=kept)
        first, _ = env.reset(seed=0)
        before = copy.deepcopy(first)
        env.step(legal(first, np.random.default_rng(0)))
        same = all(
            np.array_equal(array, before[agent][name])
            for agent, seen in first.items()
            for name, array in seen.items()
        )
        assert same == kept
        assert all(a.flags.writeable == kept for seen in first.values() for a in seen.values())


def test_illegal_action_costs_or_raises(id):
    env = parallel(id)
    observations, _ = env.reset(seed=0)
    agent = env.agents[-1]
    bad = int(np.argmin(observations[agent]["action_mask"]))
    actions = legal(observations, np.random.default_rng(0)) | {agent: bad}
    _, rewards, _, _, infos = env.step(actions)
    assert infos[agent]["reward_terms"]["illegal"] < 0
    others = {infos[a]["reward_terms"]["illegal"] for a in env.agents if a != agent}
    assert others in ({0.0}, {infos[agent]["reward_terms"]["illegal"]}), "its own, or the team's"
    assert all(rewards[agent] <= rewards[a] for a in env.agents)
    assert env.metrics()["illegal_actions"] == 1
    strict = parallel(id, illegal_action="raise")
    strict.reset(seed=0)
    with pytest.raises(IllegalActionError, match=rf"'{agent}': action {bad} is forbidden.*open: "):
        strict.step(actions)


@pytest.mark.parametrize("bad", [1.5, [0, 1, 2], "stop", None, True])
def test_action_of_another_shape_or_type(id, bad):
    env = parallel(id)
    observations, _ = env.reset(seed=0)
    agent = env.agents[1]
    actions = legal(observations, np.random.default_rng(0)) | {agent: bad}
    with pytest.raises(IllegalActionError, match=f"{agent}.*does not fit"):
        env.step(actions)


def test_every_agent_and_no_other_must_act(id):
    env = parallel(id)
    with pytest.raises(IllegalActionError, match="reset"):
        env.step({})
    observations, _ = env.reset(seed=0)
    actions = legal(observations, np.random.default_rng(0))
    with pytest.raises(IllegalActionError, match="'nobody' is no agent"):
        env.step(actions | {"nobody": 0})
    last = env.agents[-1]
    del actions[last]
    with pytest.raises(IllegalActionError, match=f"'{last}' has no action"):
        env.step(actions)
    list(play(env, 1, 500))
    assert env.agents == []
    with pytest.raises(IllegalActionError, match="over"):
        env.step({})


def test_fixed_latency_is_charged_where_a_decision_begins(id, monkeypatch):
    env = parallel(id, decision_latency="fixed:2.5")
    rng = np.random.default_rng(1)
    observations, _ = env.reset(seed=1)
    simulator, charged, decisions = env.simulator, [], 0
    elapse = simulator.elapse

    def noted(duration):
        before = simulator.now()[0]
        elapse(duration)
        assert simulator.now()[0] - before == duration[0]
        charged.append(int(duration[0]))

    monkeypatch.setattr(simulator, "elapse", noted)
    while env.agents:
        decisions += int(simulator.decision_starts()[0])
        observations, *_ = env.step(legal(observations, rng))
        assert sum(charged) == decisions * 2_500_000_000
    assert decisions > 0


@pytest.mark.parametrize("how", ["deepcopy", "pickle"])
def test_copy_goes_its_own_way(id, how):
    env = parallel(id)
    observations, _ = env.reset(seed=2)
    twin = copy.deepcopy(env) if how == "deepcopy" else pickle.loads(pickle.dumps(env))
    digest = env.simulator.digest()[0]
    actions = legal(observations, np.random.default_rng(0))
    env.step(actions)
    assert twin.simulator.digest()[0] == digest, "stepping one moved the other"
    seen, *_ = twin.step(actions)
    assert twin.simulator.digest()[0] == env.simulator.digest()[0] != digest
    agent = env.agents[0]
    assert (seen[agent]["action_mask"] == env.action_masks(agent)).all()


def test_spaces_belong_to_one_agent_each(id):
    env = parallel(id)
    one, other = env.possible_agents[-2:]
    assert env.action_space(one) is env.action_space(one)
    assert env.action_space(one) is not env.action_space(other)
    assert env.action_space(one) == env.action_space(other)


def test_state_is_a_copy_of_the_whole(id):
    env = parallel(id)
    observations, _ = env.reset(seed=0)
    state = env.state()
    assert state.keys() == set(env.simulator.state()._fields)
    before = {name: array.copy() for name, array in state.items()}
    env.step(legal(observations, np.random.default_rng(0)))
    assert all((state[name] == before[name]).all() for name in state)


def test_render(id):
    env = parallel(id, render_mode="ansi")
    env.reset(seed=0)
    assert len(env.render().splitlines()) > 3
    image = parallel(id, render_mode="rgb_array")
    image.reset(seed=0)
    assert image.render().dtype == np.uint8
    with pytest.raises(ScenarioError, match="render_mode"):
        parallel(id).render()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scenario": "smal"}, "did you mean 'small'"),
        ({"illegal_action": "ignore"}, "illegal_action is 'ignore'"),
        ({"decision_latency": "measured"}, "evaluate"),
        ({"render_mode": "human"}, "render_mode is 'human'.*ansi"),
        ({"control": "some"}, "'some'.*'distributed'"),
    ],
)
def test_bad_arguments(id, arguments, message):
    with pytest.raises(ScenarioError, match=message):
        parallel(id, **arguments)


def test_missing_pettingzoo_names_the_extra(id, monkeypatch):
    monkeypatch.setitem(sys.modules, "pettingzoo", None)
    monkeypatch.delitem(sys.modules, "fleetgym.envs.core.parallel", raising=False)
    with pytest.raises(MissingExtraError, match=r"pip install fleetgym\[multi\]"):
        fleetgym.parallel_env(id)
