"""A cluster that learns with RLlib: the environment, the networks, a run and its resumption."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

pytest.importorskip("ray")

from fleetgym.agents.rllib.advisors import ADVISORS, ClusterAdvisors
from fleetgym.agents.rllib.cluster_rows import ClusterRows
from fleetgym.agents.rllib.cluster_runner import ClusterRunner
from fleetgym.agents.rllib.config import ClusterConfig, ClusterPPO
from fleetgym.agents.rllib.networks import FOLLOW, FORBIDDEN
from fleetgym.agents.rllib.policy import ClusterPolicy
from fleetgym.agents.rllib.train import algorithm_config
from fleetgym.agents.rllib.weights import ClusterNet, load_cluster, save_cluster
from fleetgym.baselines.request_preemption.kernel_policy import by_role
from fleetgym.envs.core.errors import PolicyError, ScenarioError
from fleetgym.envs.core.registration import family_of
from fleetgym.envs.core.view import View
from fleetgym.envs.request_preemption.observe import (
    ARRIVAL_FEATURES,
    INSTANCE_FEATURES,
    WORLD_FEATURES,
)

TINY = {"requests": 24, "slots": 16, "instances": 2, "arrival_scale": 0.6}
CONFIG = """
name = "tiny"
trainer = "rllib"
id = "RequestPreemption"
scenario = "cluster-4"
overrides = { requests = 24, slots = 16, instances = 2, max_steps = 300 }
arrival_scales = [0.6, 0.3]
width = 8
validation = 2
every = 1

[ppo]
worlds = 2
batch = 64
minibatch = 32
epochs = 1
iterations = 1
"""


def played(policy, **overrides):
    """Metrics of the policy on two worlds; every action must be legal."""
    family = family_of("RequestPreemption")
    scenario = family.scenario("cluster-4", {**TINY, **overrides})
    source = family.workloads(scenario)
    simulator = family.simulate(scenario, source, 2)
    simulator.reset([source.draw(0), source.draw(1)])
    view = View(simulator)
    policy.reset(view, np.arange(2))
    while not simulator.over().all():
        simulator.step(policy.act(view))
    metrics = simulator.metrics()
    assert metrics["illegal_actions"].sum() == 0
    return {name: value.tolist() for name, value in metrics.items()}


@pytest.fixture
def network():
    torch.manual_seed(0)
    return ClusterNet(8, 1, 0).eval()


def test_networks_take_clusters_of_any_size(network):
    policy = ClusterPolicy("any", network)
    for instances, slots in ((2, 16), (3, 12), (5, 8)):
        metrics = played(policy, instances=instances, slots=slots, max_steps=2_000)
        assert sum(metrics["finished"]) > 0


def test_control_makes_no_difference(network):
    policy = ClusterPolicy("any", network)
    central = played(policy, max_steps=2_000)
    assert played(policy, max_steps=2_000, control="distributed") == central


def test_forbidden_actions_are_never_likely(network):
    rng = np.random.default_rng(0)
    shapes = {
        "instances": (3, len(INSTANCE_FEATURES)),
        "arrival": (len(ARRIVAL_FEATURES),),
        "world": (len(WORLD_FEATURES),),
    }
    seen = {
        name: torch.from_numpy(rng.random((4, *shape), np.float32))
        for name, shape in shapes.items()
    }
    seen["advice"] = torch.from_numpy(rng.integers(0, 13, (4, ADVISORS)))
    seen["action_mask"] = torch.from_numpy(rng.integers(0, 2, (4, 13)).astype(np.int8))
    logits, values = network.router(seen)
    assert values.shape == (4,)
    assert ((logits == FORBIDDEN) == (seen["action_mask"] == 0)).all()


class FirstRules:
    """What the first rule of whoever is asked would do."""

    name, information = "first", "online"

    def __init__(self):
        self.advisors = ClusterAdvisors()

    def reset(self, view, worlds):
        self.advisors.reset(view, worlds)

    def act(self, view):
        return by_role(view, view.state(), self.advisors.advise(view)[:, 0])


@pytest.mark.parametrize("control", ["central", "distributed"])
def test_a_fresh_network_plays_the_first_rules(network, control):
    """And one that trusts another rule does not."""
    fields = {"control": control, "max_steps": 2_000, "requests": 60}
    first = played(FirstRules(), **fields)
    assert played(ClusterPolicy("fresh", network), **fields) == first
    with torch.no_grad():
        for net in (network.router, network.instance):
            net.trust.bias[1] = 2 * FOLLOW
    assert played(ClusterPolicy("other", network), **fields) != first


def test_weights_come_back(network, tmp_path):
    path = tmp_path / "net.safetensors"
    save_cluster(network, path, {"about": 1})
    again = load_cluster(path)
    for name, value in network.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
    path.with_suffix(".json").write_text('{"width": 9, "ways": 1, "pins": 0}')
    with pytest.raises(PolicyError, match="not the weights of a ClusterNet"):
        load_cluster(path)


def test_other_actions_are_refused(network):
    with pytest.raises(PolicyError, match="is for clusters with actions of"):
        played(ClusterPolicy("any", network), preemption="chosen")


def _runner(**ppo):
    config = ClusterConfig(
        "rows",
        "rllib",
        "RequestPreemption",
        "cluster-4",
        {**TINY, "max_steps": 2_000},
        (0.6, 0.5),
        ppo=ClusterPPO(worlds=2, **ppo),
    )
    return ClusterRunner(config=algorithm_config(config, {"width": 8, "ways": 1, "pins": 0}, 0))


def test_rows_ask_who_has_a_choice_and_pay_the_team():
    rows = ClusterRows("RequestPreemption", "cluster-4", TINY, worlds=3, seed=[0])
    rows.begin()
    rng, paid, asked = np.random.default_rng(0), np.zeros(3), set()
    while not rows.over().all():
        chosen = {}
        for role, worlds, agents, seen in rows.choices():
            asked |= {rows.agents[role][agent] for agent in agents}
            assert not rows.over()[worlds].any()
            for n in range(len(worlds)):
                assert rows.shown[role].contains({k: t[n] for k, t in seen.items()})
            assert (seen["action_mask"].sum(1) > 1).all()
            legal = [np.flatnonzero(row)[:3] for row in seen["action_mask"]]
            chosen[role] = worlds, np.array([rng.choice(some) for some in legal])
        paid += rows.take(chosen)
    assert asked == {"router", "instance_0", "instance_1"}
    assert rows.simulator.metrics()["illegal_actions"].sum() == 0
    assert paid == pytest.approx(rows.simulator.shown.paid.sum(1))


def test_an_episode_holds_what_a_team_decided_and_was_paid():
    runner = _runner()
    teams = runner.sample(num_timesteps=1)
    assert len(teams) == 4, "two clusters of each load"
    paid = np.concatenate([rows.simulator.shown.paid.sum(1) for rows in runner._batches])
    for team, whole in zip(teams, paid, strict=True):
        assert team.is_terminated
        assert len(team) == sum(map(len, team.agent_episodes.values()))
        router = team.agent_episodes["router"]
        assert router.get_return() == pytest.approx(whole, abs=1e-3), "it is asked first of all"
        for agent, episode in team.agent_episodes.items():
            assert episode.module_id == agent.split("_")[0]
            assert episode.get_return() <= whole + 1e-3
            masks = episode.get_observations()["action_mask"][:-1]
            actions = episode.get_actions()[:, None]
            assert (np.take_along_axis(masks, actions, 1) == 1).all()


def test_greedy_agents_play_what_the_policy_plays():
    """Training and the policy see the same, whatever the control."""
    torch.manual_seed(0)
    runner = _runner()
    network = ClusterNet(8, 1, 0).eval()
    for role in ("router", "instance"):
        net = runner.module[role].network
        torch.nn.init.normal_(net.trust.weight, std=3.0)
        getattr(network, role).load_state_dict(net.state_dict())
    runner.sample(num_timesteps=1, explore=False)
    for rows in runner._batches:
        alone = rows.simulator.like(2)
        alone.reset(rows.simulator.workloads)
        view, policy = View(alone), ClusterPolicy("same", network)
        policy.reset(view, np.arange(2))
        while not alone.over().all():
            alone.step(policy.act(view))
        assert alone.digest().tolist() == rows.simulator.digest().tolist()


@pytest.mark.rllib
def test_trains_and_goes_on_in_a_new_process(tmp_path):
    from fleetgym.scripts.train import train

    config, folder = tmp_path / "tiny.toml", tmp_path / "run"
    config.write_text(CONFIG)
    told = []
    path = train(config, folder, resume=False, report=lambda *what: told.append(what))
    assert [what[1:] for what in told] == [(1, 1)]
    curve = json.loads((folder / "curve.json").read_text())
    assert [point["iteration"] for point in curve] == [0, 1]
    weights = path.read_bytes()
    path.unlink()
    with pytest.raises(ScenarioError, match="holds a run"):
        train(config, folder, resume=False, report=lambda *what: None)
    command = (sys.executable, "-m", "fleetgym", "train", str(config), "--out", str(folder))
    subprocess.run([*command, "--resume"], check=True, env=os.environ, timeout=120)
    assert path.read_bytes() == weights
    assert json.loads((folder / "curve.json").read_text()) == curve
    assert sum(played(ClusterPolicy.load(path), max_steps=300)["accepted"]) > 0
