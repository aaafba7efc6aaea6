"""Checkpoints of a run: weights, the optimiser's moments, and how far it has come; no pickle."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fleetgym.envs.core.errors import PolicyError


def write_checkpoint(
    path: Path, network: nn.Module, optimizer: torch.optim.Optimizer, about: Mapping[str, Any]
) -> None:
    """Writes a checkpoint to a temporary file, then renames it.

    Args:
        path: .safetensors.
        network: whose weights.
        optimizer: Adam, whose moments.
        about: how far the run has come, as JSON.
    """
    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"adam.{index}.{name}": value for name, value in moments.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    contiguous = {name: value.contiguous() for name, value in tensors.items()}
    save_file(contiguous, part, {"about": json.dumps(about)})
    part.replace(path)


def read_checkpoint(
    path: Path, network: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Any] | None:
    """Loads a checkpoint into the network and the optimiser; None where there is none.

    Raises:
        PolicyError: the file is malformed or of another network.
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            about: dict[str, Any] = json.loads(file.metadata()["about"])
        tensors = load_file(path)
        network.load_state_dict(dict(_under("network.", tensors)))
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in _under("adam.", tensors):
            index, moment = name.split(".")
            state.setdefault(int(index), {})[moment] = value
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": state, "param_groups": groups})
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise PolicyError(f"{path}: not a checkpoint of this run: {error}") from error
    return about


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    for name, value in tensors.items():
        if name.startswith(prefix):
            yield name.removeprefix(prefix), value
