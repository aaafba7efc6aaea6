"""The offloading agent: its network, what it does before training, training, what is shipped."""

import numpy as np
import pytest
import torch

import fleetgym
from fleetgym.agents.networks.offloading import OffloadNet, OffloadTables
from fleetgym.agents.offloading import OffloadAgent
from fleetgym.agents.sb3.focused import FocusedVecEnv
from fleetgym.agents.weights import load_weights
from fleetgym.baselines.policy import make_baseline
from fleetgym.envs.core.errors import PolicyError
from fleetgym.envs.core.registration import family_of
from fleetgym.envs.mec_offloading.types import PLACE_FEATURES, PROGRESS, TASK_FEATURES
from fleetgym.scripts.train import train

FAMILY = family_of("mec-offloading")
FIELDS = {"devices": 3, "tasks": 6, "view_delay_ms": 5.0}
CONFIG = """
name = "tiny"
id = "MECOffloading"
width = 8

[[ppo]]
rollout_steps = 16
fresh = 1
total_steps = 128
batch_size = 32
epochs = 1
measure = "mean_makespan_s"

[[ppo.batches]]
scenario = "small"
overrides = { devices = 2, tasks = 4 }
worlds = 2
"""


class KilledError(Exception):
    pass


def _tables(b=4, n=5, p=6):
    rng = torch.Generator().manual_seed(0)
    return OffloadTables(
        torch.rand((b, n, len(TASK_FEATURES)), generator=rng),
        torch.rand((b, p, len(PLACE_FEATURES)), generator=rng),
        torch.rand((b, len(PROGRESS)), generator=rng),
    )


def _trained(network):
    """Weights that correct something."""
    torch.nn.init.normal_(network.score.weight, std=10.0)
    return network


def test_tasks_and_places_in_another_order_are_scored_alike():
    torch.manual_seed(0)
    network, seen = _trained(OffloadNet(8)), _tables()
    tasks, places = torch.tensor([3, 0, 4, 1, 2]), torch.tensor([5, 3, 0, 4, 1, 2])
    turned = seen._replace(tasks=seen.tasks[:, tasks], places=seen.places[:, places])
    logits, values = network(seen)
    other, as_before = network(turned)
    torch.testing.assert_close(other, logits[:, places])
    torch.testing.assert_close(as_before, values)


def test_a_device_without_tasks_is_finite():
    seen = OffloadTables(*(torch.zeros_like(part) for part in _tables()))
    assert torch.isfinite(OffloadNet(8)(seen)[0]).all()


@pytest.mark.parametrize("control", ["central", "distributed"])
def test_a_fresh_network_is_greedy(control):
    """And one that has learnt something is not."""
    torch.manual_seed(0)
    network, rule = OffloadNet(8), make_baseline(FAMILY, "greedy-eft")

    def metrics(policy):
        fields = {**FIELDS, "control": control}
        records = fleetgym.evaluate(policy, "mec-offloading", "small", range(3), **fields)
        return [record.metrics for record in records]

    due = metrics(rule)
    assert metrics(OffloadAgent("fresh", network)) == due
    assert metrics(OffloadAgent("other", _trained(network))) != due


def test_control_makes_no_difference_to_one_device():
    network = _trained(OffloadNet(8))
    ends = [
        fleetgym.evaluate(
            OffloadAgent("agent", network), "mec-offloading", "single", [0], control=control
        )[0].metrics["mean_makespan_s"]
        for control in ("central", "distributed")
    ]
    assert ends[0] == ends[1]


@pytest.mark.parametrize("fields", [{"action": "continuous"}, {"symbols": 4}])
def test_other_actions_are_refused(fields):
    with pytest.raises(PolicyError, match="chooses places"):
        fleetgym.evaluate(
            OffloadAgent("agent", OffloadNet(8)),
            "mec-offloading",
            "small",
            [0],
            control="distributed",
            **fields,
        )


def test_the_vec_env_shows_the_device_that_is_asked():
    env = FocusedVecEnv(
        FAMILY.load(FAMILY.vector_env)(3, "small", autoreset_mode="SameStep", **FIELDS)
    )
    env.seed(3)
    seen, rng, ended = env.reset(), np.random.default_rng(0), 0
    for _ in range(60):
        shown = env.env.simulator.observation()["scheduler"]
        for b in range(3):
            assert env.observation_space.contains({name: t[b] for name, t in seen.items()})
            device = shown["focus"][b, 0].argmax()
            assert np.array_equal(seen["tasks"][b], shown["tasks"][b, 0, device])
            assert seen["tasks"][b, :, -1].sum() == 1, "the task that is asked about is among them"
        actions = np.array([rng.choice(np.flatnonzero(row)) for row in env.action_masks()])
        seen, _, done, infos = env.step(actions)
        for i in np.flatnonzero(done):
            ended += 1
            assert env.observation_space.contains(infos[i]["terminal_observation"])
    assert ended >= 3


def test_a_killed_run_goes_on_to_the_same_weights(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(CONFIG)
    quiet = {"report": lambda *what: None}
    whole = load_weights(train(path, tmp_path / "whole", resume=False, **quiet))

    def kill(what, done, total):
        if done >= 64:
            raise KilledError

    with pytest.raises(KilledError):
        train(path, tmp_path / "killed", resume=False, report=kill)
    resumed = load_weights(train(path, tmp_path / "killed", resume=True, **quiet))
    fresh = OffloadNet(8).state_dict()
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    assert any(not torch.equal(value, fresh[name]) for name, value in whole.state_dict().items())
