"""Training by a configuration: imitation, then MaskablePPO, each resumable."""

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from fleetgym._version import __version__
from fleetgym.agents.config import load_config
from fleetgym.envs.core.errors import MissingExtraError, ScenarioError

Report = Callable[[str, int, int], None]


def train(config: Path, folder: Path, *, resume: bool, report: Report) -> Path:
    """Runs a training configuration and returns the path of the weights.

    Args:
        config: TOML file.
        folder: of the run: resolved configuration, checkpoints, TensorBoard logs, weights.
        resume: goes on from the checkpoint in the folder.
        report: told of progress: what, how far, of how much.

    Raises:
        ScenarioError: the configuration is wrong; the folder holds a run and ``resume`` is off,
            or another run's configuration.
        MissingExtraError: the extra ``sb3`` is not installed.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    settings = load_config(config)
    try:
        import torch

        from fleetgym.agents.sb3.ppo import improve
        from fleetgym.agents.teaching import Teacher
        from fleetgym.agents.weights import save_weights
    except ImportError as error:
        raise MissingExtraError(
            f"training needs {error.name}: pip install fleetgym[sb3]"
        ) from error
    torch.set_num_threads(1)
    resolved = json.dumps({"version": __version__, **asdict(settings)}, indent=2) + "\n"
    noted = folder / "config.json"
    if noted.exists() and not resume:
        raise ScenarioError(f"{folder} holds a run: add --resume to go on, or name another folder")
    if noted.exists() and noted.read_text(encoding="utf-8") != resolved:
        raise ScenarioError(f"{folder} holds a run of another configuration or version")
    folder.mkdir(parents=True, exist_ok=True)
    noted.write_text(resolved, encoding="utf-8")
    teacher = Teacher(settings, folder, report)
    network = teacher.run()
    for phase in range(len(settings.ppo)):
        network = improve(settings, phase, network, folder, report)
    weights = folder / f"{settings.name}.safetensors"
    about = {"version": __version__, "config": asdict(settings), "curve": teacher.curve}
    save_weights(network, weights, about)
    return weights
