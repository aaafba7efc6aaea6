"""Com-DDPG: what agents hear and when, the replay, its networks, and a run."""

import numpy as np
import pytest
import torch

import fleetgym
from fleetgym.agents.com_ddpg.memory import LAGS, Memory, vectors
from fleetgym.agents.com_ddpg.networks import Actor, RecurrentCritic, Sizes, Team
from fleetgym.agents.com_ddpg.policy import ComPolicy, load_team, quantised, save_team
from fleetgym.agents.com_ddpg.replay import Replay
from fleetgym.envs.core.errors import PolicyError, ScenarioError
from fleetgym.envs.core.registration import family_of
from fleetgym.envs.core.view import View
from fleetgym.scripts.train import train

FAMILY = family_of("mec-offloading")
FIELDS = {"devices": 3, "tasks": 4, "view_delay_ms": 10.0, "control": "distributed"}
CONFIG = """
name = "tiny"
trainer = "com-ddpg"
id = "MECOffloading"
scenario = "small"
overrides = { devices = 2, tasks = 3 }
width = 8
worlds = 2
steps = 40
kept = 30
warm_up = 10
batch = 8
validation = 2
every = 20
"""


def _sizes(**fields):
    known = {"agents": 3, "inputs": 5, "actions": 4, "width": 8, "history": 4}
    return Sizes(**{**known, "communicates": 1, "joint": 0, **fields})


def test_vectors_hold_the_task_that_is_asked_about():
    scenario = FAMILY.scenario("small", {**FIELDS, "action": "continuous"})
    source = FAMILY.workloads(scenario)
    simulator = FAMILY.simulate(scenario, source, 2)
    simulator.reset([source.draw(0), source.draw(1)])
    view = View(simulator)
    shown, seen = vectors(view), view.observation()["device"]
    for b, u in np.ndindex(2, 3):
        tasks = seen["tasks"][b, u]
        (asked,) = np.flatnonzero(tasks[:, -1])
        assert np.array_equal(shown[b, u, :10], tasks[asked])
        assert shown[b, u, 10:20] == pytest.approx(tasks.mean(0))
        assert np.array_equal(shown[b, u, 20:-5], seen["places"][b, u].ravel())
        assert np.array_equal(shown[b, u, -5:], seen["progress"][b, u])


def test_others_are_heard_once_their_words_have_arrived():
    memory = Memory(1, 2, delay=10)
    clocks = [0, 4, 4, 12, 14, 100]
    due = [LAGS, LAGS, LAGS, 3, 2, 1]  # of those at 12 - 10, 14 - 10 and before 100 - 10
    for n, (clock, lag) in enumerate(zip(clocks, due, strict=True)):
        seen = np.full((1, 1, 1), n + 1.0, np.float32)
        assert memory.note(seen, np.array([clock])) == [lag]
        windows = memory.windows(np.array([lag]))
        assert windows.now[0, :, 0, 0].tolist() == [n, n + 1]
        heard = [0, 0] if lag == LAGS else [n - lag, n + 1 - lag]
        assert windows.heard[0, :, 0, 0].tolist() == heard
    memory.forget(np.array([0]))
    assert memory.note(np.ones((1, 1, 1), np.float32), np.array([200])) == [LAGS]


def test_nobody_hears_a_step_of_the_same_instant():
    memory = Memory(1, 1, delay=0)
    assert memory.note(np.ones((1, 1, 1), np.float32), np.array([5])) == [LAGS]
    assert memory.note(np.ones((1, 1, 1), np.float32), np.array([5])) == [1]


def test_the_replay_gives_what_actors_read():
    """Windows of the replay are those of the memory, also where a ring and an episode begin."""
    rng, history = np.random.default_rng(0), 3
    memory, replay = Memory(2, history, 10), Replay(12, history)
    clock, episode = np.zeros(2, np.int64), np.array([0, 1])
    known = {}
    for n in range(30):
        if n % 7 == 0:
            memory.forget(np.array([1]))
            episode[1] += 2
        clock += rng.integers(8, size=2)
        seen = rng.random((2, 2, 3), np.float32)
        lag = memory.note(seen, clock)
        windows = memory.windows(lag)
        action = np.full((2, 2, 1), n, np.float32)
        paid = np.arange(2, dtype=np.float32)
        fields = {"seen": seen, "action": action, "reward": paid[:, None], "goes_on": paid}
        replay.add(fields, lag, episode)
        for b in range(2):
            known[b, n] = (windows.now[b].copy(), windows.heard[b].copy())
    drawn = replay.draw(200, rng)
    steps = drawn.action[:, 0, 0].int().tolist()
    worlds = drawn.goes_on.int().tolist()
    assert min(steps) >= 18
    assert max(steps) == 28
    for k, (world, step) in enumerate(zip(worlds, steps, strict=True)):
        if step - LAGS < 18 and step - history - 8 < 18:
            continue  # older steps have been overwritten
        now, heard = known[world, step]
        assert np.array_equal(drawn.now[k], now)
        assert np.array_equal(drawn.heard[k], heard)
        assert np.array_equal(drawn.next_now[k], known[world, step + 1][0])


def test_an_actor_reads_its_own_state_fresh_and_that_of_others_as_heard():
    torch.manual_seed(0)
    actor = Actor(_sizes())
    now, heard = torch.rand(2, 4, 3, 5), torch.rand(2, 4, 3, 5)
    action = actor(now, heard)
    other = now.clone()
    other[:, :, 1] += 1.0
    changed = (actor(other, heard) != action).any(2)
    assert changed.tolist() == [[False, True, False]] * 2
    said = heard.clone()
    said[:, :, 1] += 1.0
    changed = (actor(now, said) != action).any(2)
    assert changed.tolist() == [[True, False, True]] * 2
    silent = Actor(_sizes(communicates=0))
    assert torch.equal(silent(now, heard), silent(now, said))


@pytest.mark.parametrize("history", [1, 4])
def test_only_an_lstm_remembers(history):
    torch.manual_seed(0)
    actor = Actor(_sizes(history=history))
    now = torch.rand(1, 4, 3, 5)
    before = now.clone()
    before[:, 0] += 1.0
    assert torch.equal(actor(now, now), actor(before, now)) == (history == 1)


@pytest.mark.parametrize("joint", [0, 1])
def test_the_critic_sees_all_actions(joint):
    torch.manual_seed(0)
    team = Team(_sizes(joint=joint))
    assert isinstance(team.critic, RecurrentCritic) == (not joint)
    now, action = torch.rand(1, 4, 3, 5), torch.rand(1, 3, 4, requires_grad=True)
    team.critic(now, action).sum().backward()
    assert (action.grad != 0).any(2).all()


def test_targets_follow():
    team = Team(_sizes())
    with torch.no_grad():
        for parameter in team.actor.parameters():
            parameter += 1.0
    team.follow(0.25)
    for old, new in zip(team.actor_target.parameters(), team.actor.parameters(), strict=True):
        torch.testing.assert_close(new - old, torch.full_like(new, 0.75))


def test_actions_are_quantised_as_the_environment_takes_them():
    assert quantised(np.array([0.0, 0.5, 1.0], np.float32)).tolist() == [0, 128, 255]


def _policy(**fields):
    torch.manual_seed(0)
    return ComPolicy("com", Team(_sizes(inputs=61, actions=6, **fields)))


def test_a_policy_plays_any_batch_alike():
    alone, together = (
        fleetgym.evaluate(
            _policy(),
            "mec-offloading",
            "small",
            range(3),
            num_worlds=worlds,
            action="continuous",
            **FIELDS,
        )
        for worlds in (1, 3)
    )
    assert [r.metrics for r in alone] == [r.metrics for r in together]


def test_other_scenarios_are_refused():
    with pytest.raises(PolicyError, match="is for control='distributed', action='continuous'"):
        fleetgym.evaluate(_policy(), "mec-offloading", "small", [0], **FIELDS)
    policy = ComPolicy("com", Team(_sizes(agents=4, inputs=61, actions=6)))
    fields = {**FIELDS, "action": "continuous"}
    with pytest.raises(PolicyError, match="4 devices"):
        fleetgym.evaluate(policy, "mec-offloading", "small", [0], **fields)


def test_weights_come_back(tmp_path):
    team, path = Team(_sizes(history=1)), tmp_path / "team.safetensors"
    save_team(team, path, {"about": 1})
    again = load_team(path)
    assert again.sizes == team.sizes
    for name, value in team.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
    path.with_suffix(".json").write_text('{"sizes": {"agents": 3}}')
    with pytest.raises(PolicyError, match="not the weights of a Com-DDPG team"):
        load_team(path)


def test_trains_and_resumes(tmp_path):
    config, told = tmp_path / "tiny.toml", []
    config.write_text(CONFIG)

    def kill(*what):
        told.append(what[1:])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "run", resume=False, report=kill)
    path = train(config, tmp_path / "run", resume=True, report=lambda *what: told.append(what[1:]))
    assert told == [(20, 40), (40, 40)]
    trained = load_team(path)
    torch.manual_seed(0)
    assert not torch.equal(
        next(trained.actor.parameters()), next(Team(trained.sizes).actor.parameters())
    )
    with pytest.raises(ScenarioError, match="holds a run"):
        train(config, tmp_path / "run", resume=False, report=kill)
