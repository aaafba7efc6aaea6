"""Training by a configuration: what comes first, then MaskablePPO; RLlib; Com-DDPG. Resumable."""

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from fleetgym._version import __version__
from fleetgym.agents.com_ddpg.config import ComDDPGConfig, load_com_ddpg_config
from fleetgym.agents.config import TrainConfig, load_config
from fleetgym.agents.rllib.config import (
    LayersConfig,
    RLlibConfig,
    SharedConfig,
    load_rllib_config,
)
from fleetgym.envs.core.errors import MissingExtraError, ScenarioError

Report = Callable[[str, int, int], None]


def train(
    config: Path, folder: Path, *, resume: bool, report: Report, ray_address: str = ""
) -> Path:
    """Runs a training configuration and returns the path of the weights.

    Args:
        config: TOML file.
        folder: of the run: resolved configuration, checkpoints, TensorBoard logs, weights.
        resume: goes on from the checkpoint in the folder.
        report: told of progress: what, how far, of how much.
        ray_address: of a Ray cluster that runs with RLlib join; none if empty.

    Raises:
        ScenarioError: the configuration is wrong; the folder holds a run and ``resume`` is off,
            or another run's configuration.
        MissingExtraError: the extra ``sb3``, or for a cluster ``rllib``, is not installed.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    cluster = load_rllib_config(config)
    if cluster is not None:
        return _train_rllib(cluster, folder, resume=resume, report=report, address=ray_address)
    talking = load_com_ddpg_config(config)
    if talking is not None:
        return _train_com_ddpg(talking, folder, resume=resume, report=report)
    settings = load_config(config)
    try:
        import torch

        from fleetgym.agents.forecasting import Forecaster
        from fleetgym.agents.fresh import Fresh
        from fleetgym.agents.load_forecasts import LoadForecaster
        from fleetgym.agents.lookahead import Improver
        from fleetgym.agents.sb3.ppo import improve
        from fleetgym.agents.teaching import Teacher
        from fleetgym.agents.weights import Network, save_weights
    except ImportError as error:
        raise MissingExtraError(
            f"training needs {error.name}: pip install fleetgym[sb3]"
        ) from error
    torch.set_num_threads(1)
    _note(settings, folder, resume=resume)
    first: Improver | Forecaster | LoadForecaster | Teacher | Fresh
    if settings.lookahead:
        first = Improver(settings, folder, report)
    elif settings.forecasting:
        first = Forecaster(settings, folder, report)
    elif settings.loads:
        first = LoadForecaster(settings, folder, report)
    elif settings.imitation.stages:
        first = Teacher(settings, folder, report)
    else:
        first = Fresh(settings)
    network: Network = first.run()
    for phase in range(len(settings.ppo)):
        network = improve(settings, phase, network, folder, report, first.curve)
    weights = folder / f"{settings.name}.safetensors"
    about = {"version": __version__, "config": asdict(settings), "curve": first.curve}
    save_weights(network, weights, about)
    return weights


def _train_rllib(
    config: RLlibConfig, folder: Path, *, resume: bool, report: Report, address: str
) -> Path:
    try:
        from fleetgym.agents.rllib.train import train_cluster
        from fleetgym.agents.rllib.train_layers import train_layers
        from fleetgym.agents.rllib.train_shared import train_shared
    except ImportError as error:
        raise MissingExtraError(
            f"training with RLlib needs {error.name}: pip install fleetgym[rllib,multi,sb3]"
        ) from error
    _note(config, folder, resume=resume)
    if isinstance(config, SharedConfig):
        return train_shared(config, folder, report, address)
    if isinstance(config, LayersConfig):
        return train_layers(config, folder, report, address)
    return train_cluster(config, folder, report, address)


def _train_com_ddpg(config: ComDDPGConfig, folder: Path, *, resume: bool, report: Report) -> Path:
    try:
        import torch

        from fleetgym.agents.com_ddpg.train import train_com_ddpg
    except ImportError as error:
        raise MissingExtraError(
            f"training needs {error.name}: pip install fleetgym[sb3]"
        ) from error
    torch.set_num_threads(1)
    _note(config, folder, resume=resume)
    return train_com_ddpg(config, folder, report)


def _note(
    settings: TrainConfig | RLlibConfig | ComDDPGConfig,
    folder: Path,
    *,
    resume: bool,
) -> None:
    """Makes the folder of a run, and writes its resolved configuration there."""
    resolved = json.dumps({"version": __version__, **asdict(settings)}, indent=2) + "\n"
    noted = folder / "config.json"
    if noted.exists() and not resume:
        raise ScenarioError(f"{folder} holds a run: add --resume to go on, or name another folder")
    if noted.exists() and noted.read_text(encoding="utf-8") != resolved:
        raise ScenarioError(f"{folder} holds a run of another configuration or version")
    folder.mkdir(parents=True, exist_ok=True)
    noted.write_text(resolved, encoding="utf-8")
