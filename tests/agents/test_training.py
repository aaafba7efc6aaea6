"""A run that was killed goes on as if nothing had happened."""

import pytest
import torch

from fleetgym.agents.config import load_config
from fleetgym.agents.weights import load_weights
from fleetgym.envs.core.errors import PolicyError, ScenarioError
from fleetgym.scripts.train import train

CONFIG = """
name = "tiny"
id = "VMRescheduling"
width = 8
validation = 2

[imitation]
expert = "slot-greedy"

[[imitation.stages]]
epochs = 2

[[imitation.stages.courses]]
scenario = "small"
overrides = { num_pms = 10, num_racks = 2, mnl = 4 }
plans = 8
worlds = 4

[[imitation.stages.courses]]
scenario = "small"
overrides = { num_pms = 12, num_racks = 2, mnl = 3 }
plans = 4
worlds = 2

[[ppo]]
rollout_steps = 8
total_steps = 128
batch_size = 32
epochs = 1

[[ppo.batches]]
scenario = "small"
overrides = { num_pms = 10, num_racks = 2, mnl = 4 }
worlds = 4
"""


class KilledError(Exception):
    pass


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(CONFIG)
    return path


def _quiet(what, done, total):
    pass


def _kill_at(event, at):
    def report(what, done, total):
        if event in what and done >= at:
            raise KilledError

    return report


def test_resumed_run_ends_in_the_same_weights(config, tmp_path):
    whole = load_weights(train(config, tmp_path / "whole", resume=False, report=_quiet))
    for event, at in (("lessons", 2), ("PPO", 64)):
        with pytest.raises(KilledError):
            train(config, tmp_path / "cut", resume=True, report=_kill_at(event, at))
    cut = load_weights(train(config, tmp_path / "cut", resume=True, report=_quiet))
    for name, value in whole.state_dict().items():
        assert torch.equal(value, cut.state_dict()[name]), name
    folder = tmp_path / "whole"
    assert (folder / "config.json").exists()
    assert list((folder / "tensorboard").rglob("events.*"))


def test_a_folder_with_a_run_is_not_overwritten(config, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    with pytest.raises(ScenarioError, match="--resume"):
        train(config, folder, resume=False, report=_quiet)
    with pytest.raises(ScenarioError, match="another configuration"):
        train(config, folder, resume=True, report=_quiet)


def test_damaged_checkpoint_is_refused(config, tmp_path):
    with pytest.raises(KilledError):
        train(config, tmp_path / "run", resume=False, report=_kill_at("lessons", 1))
    (tmp_path / "run" / "imitation.safetensors").write_bytes(b"no")
    with pytest.raises(PolicyError, match=r"imitation\.safetensors"):
        train(config, tmp_path / "run", resume=True, report=_quiet)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("width = 8", "widht = 8", "did you mean 'width'"),
        ("width = 8", 'width = "8"', "of type int"),
        ("plans = 8", "plan = 8", "did you mean 'plans'"),
        ('name = "tiny"', "", "'name' is missing"),
        ("[[ppo]]", "[[ppo", "tiny.toml"),
    ],
)
def test_bad_configuration_is_one_clear_error(config, old, new, message):
    config.write_text(CONFIG.replace(old, new, 1))
    with pytest.raises(ScenarioError, match=message):
        load_config(config)
