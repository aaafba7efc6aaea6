"""Devices that share one policy with RLlib: rows of a batch, the runner, runs, a Ray cluster."""

import os
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import pytest
import torch

pytest.importorskip("ray")

from ray.rllib.core.columns import Columns

from fleetgym.agents.networks.offloading import OffloadNet
from fleetgym.agents.offloading import OffloadAgent
from fleetgym.agents.rllib.batch_runner import BatchEnvRunner
from fleetgym.agents.rllib.config import ClusterPPO, SharedConfig
from fleetgym.agents.rllib.rows import AgentRows
from fleetgym.agents.rllib.train_shared import algorithm_config
from fleetgym.agents.weights import load_network
from fleetgym.envs.core.errors import ScenarioError
from fleetgym.envs.core.registration import parallel_env
from fleetgym.envs.core.view import View
from fleetgym.scripts.train import train

ID = "fleetgym/MECOffloading-v0"
FIELDS = {"devices": 3, "tasks": 4, "view_delay_ms": 5.0}
CONFIG = """
name = "tiny"
trainer = "rllib-shared"
id = "MECOffloading"
scenario = "small"
overrides = {{ devices = 2, tasks = 3 }}
algorithm = "{algorithm}"
width = 8
validation = 2

[ppo]
worlds = 2
runners = {runners}
batch = 12
minibatch = 6
epochs = 1
iterations = {iterations}
"""


def _runner(**fields):
    ppo = ClusterPPO(worlds=2)
    config = SharedConfig("rows", "rllib-shared", ID, "small", {**FIELDS, **fields}, ppo=ppo)
    return BatchEnvRunner(config=algorithm_config(config))


def test_rows_are_the_agents_of_the_parallel_face():
    rows = AgentRows(ID, "small", FIELDS, worlds=2, seed=0)
    rows.begin()
    faces = [parallel_env(ID, "small", **FIELDS) for _ in range(2)]
    shown = [
        face.reset(options={"workload": workload})[0]
        for face, workload in zip(faces, rows.simulator.workloads, strict=True)
    ]
    rng, paid = np.random.default_rng(0), 0.0
    for _ in range(8):
        seen = rows.seen()
        for b, u in np.ndindex(2, 3):
            for name, table in shown[b][f"device_{u}"].items():
                assert np.array_equal(seen[name][3 * b + u], table), name
        actions = np.array([rng.choice(np.flatnonzero(row)) for row in seen["action_mask"]])
        result = rows.take(actions)
        for b, face in enumerate(faces):
            given = {f"device_{u}": int(actions[3 * b + u]) for u in range(3)}
            shown[b], reward, *_ = face.step(given)
            assert list(reward.values()) == pytest.approx(result.reward[b].tolist())
            paid += sum(reward.values())
    assert paid < 0


def test_an_episode_holds_the_decisions_of_one_agent():
    """Every task is placed once, by whom it belongs to; all that is paid after that is counted."""
    runner = _runner(reward="own")
    episodes = runner.sample(num_timesteps=1)
    assert len(episodes) == 6
    for episode in episodes:
        assert len(episode) >= 4
        assert episode.is_terminated
        masks = episode.get_observations()["action_mask"][:-1]
        actions = episode.get_actions()
        assert (masks[:, 0] == 0).all()
        assert (np.take_along_axis(masks, actions[:, None], 1) == 1).all()
        logits = torch.from_numpy(episode.get_extra_model_outputs(Columns.ACTION_DIST_INPUTS))
        logp = torch.log_softmax(logits, 1).gather(1, torch.from_numpy(actions)[:, None])[:, 0]
        given = torch.from_numpy(episode.get_extra_model_outputs(Columns.ACTION_LOGP))
        torch.testing.assert_close(logp, given)
    paid = runner.env.simulator.metrics()["mean_makespan_s"]
    returns = np.array([episode.get_return() for episode in episodes]).reshape(2, 3).sum(1)
    assert (returns < 0).all()
    assert (np.argsort(-returns) == np.argsort(paid)).all()


def test_greedy_rows_play_what_the_policy_plays():
    torch.manual_seed(0)
    runner = _runner()
    network = runner.module.network
    torch.nn.init.normal_(network.score.weight, std=10.0)
    runner.sample(num_timesteps=1, explore=False)
    simulator = runner.env.simulator
    alone = simulator.like(2)
    alone.reset(simulator.workloads)
    view, policy = View(alone), OffloadAgent("same", network)
    policy.reset(view, np.arange(2))
    while not alone.over().all():
        alone.step(policy.act(view), ~alone.over())
    assert alone.digest().tolist() == simulator.digest().tolist()


def test_rows_need_one_role_and_single_actions():
    with pytest.raises(ScenarioError, match="agents of one role"):
        AgentRows("fleetgym/RequestPreemption-v0", "cluster-4", {}, worlds=1, seed=0)
    with pytest.raises(ScenarioError, match="single actions"):
        AgentRows(ID, "small", {"symbols": 4}, worlds=1, seed=0)


def _quiet(*what):
    pass


@pytest.mark.rllib
@pytest.mark.parametrize("algorithm", ["PPO", "APPO"])
def test_trains_and_restores_in_a_new_process(algorithm, tmp_path):
    config, folder = tmp_path / "tiny.toml", tmp_path / "run"
    config.write_text(CONFIG.format(algorithm=algorithm, runners=0, iterations=2))
    path = train(config, folder, resume=False, report=_quiet)
    trained = load_network(path, OffloadNet).state_dict()
    torch.manual_seed(0)
    fresh = OffloadNet(8).state_dict()
    assert not torch.equal(trained["score.weight"], fresh["score.weight"])
    path.unlink()
    command = (sys.executable, "-m", "fleetgym", "train", str(config), "--out", str(folder))
    subprocess.run([*command, "--resume"], check=True, env=os.environ, timeout=120)
    again = load_network(path, OffloadNet).state_dict()
    assert all(torch.equal(trained[name], again[name]) for name in trained)


@pytest.mark.rllib
def test_trains_on_a_cluster_of_two_nodes(tmp_path, monkeypatch):
    """One runner on each: neither node has room for both."""
    import ray
    from ray.cluster_utils import Cluster

    scratch = tempfile.mkdtemp(prefix="ray-")  # paths of sockets must be short
    os.mkdir(f"{scratch}/ray")
    settings = {"USAGE_STATS_ENABLED": "0", "AUTH_MODE": "disabled", "TMPDIR": scratch}
    for name, value in settings.items():
        monkeypatch.setenv(f"RAY_{name}", value)
    head = {"num_cpus": 1, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        cluster.add_node(num_cpus=1)
        config = tmp_path / "tiny.toml"
        config.write_text(CONFIG.format(algorithm="PPO", runners=2, iterations=1))
        command = (sys.executable, "-m", "fleetgym", "train", str(config))
        where = ("--out", str(tmp_path / "run"), "--ray-address", cluster.address)
        subprocess.run([*command, *where], check=True, env=os.environ, timeout=180)
        assert load_network(tmp_path / "run" / "tiny.safetensors", OffloadNet).width == 8
    finally:
        ray.shutdown()
        cluster.shutdown()
        shutil.rmtree(scratch, ignore_errors=True)
