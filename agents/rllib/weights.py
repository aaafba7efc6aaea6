"""Weights of the two networks of a cluster: a safetensors file and a JSON file beside it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from fleetgym.agents.rllib.networks import InstanceNet, RouterNet
from fleetgym.envs.core.errors import PolicyError


class ClusterNet(nn.Module):
    """The networks of the router and of the instances.

    Args:
        width: H, of every hidden layer of both.
        ways, pins: see `InstanceNet`.
    """

    def __init__(self, width: int, ways: int, pins: int) -> None:
        super().__init__()
        self.shape = {"width": width, "ways": ways, "pins": pins}
        self.router = RouterNet(width)
        self.instance = InstanceNet(width, ways, pins)


def save_cluster(network: ClusterNet, path: Path, about: Mapping[str, Any]) -> None:
    """Writes ``path`` (.safetensors) and its .json; each to a temporary file, then renamed.

    Args:
        network: whose weights.
        path: ends in .safetensors.
        about: how they were trained; the network's shape is added.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, part)
    part.replace(path)
    text = json.dumps({"network": "ClusterNet", **network.shape, **about}, indent=2)
    part.write_text(text + "\n", encoding="utf-8")
    part.replace(path.with_suffix(".json"))


def load_cluster(path: Path) -> ClusterNet:
    """The networks of a .safetensors file and the .json beside it, in evaluation mode.

    Raises:
        PolicyError: a file is missing or malformed, or does not fit the networks.
    """
    try:
        about = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        network = ClusterNet(*(int(about[name]) for name in ("width", "ways", "pins")))
        network.load_state_dict(load_file(path))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise PolicyError(f"{path}: not the weights of a ClusterNet: {error}") from error
    return network.eval()
