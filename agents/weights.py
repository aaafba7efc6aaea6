"""Published weights: a safetensors file and a JSON file beside it, never a pickle."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from fleetgym.agents.networks.fleet import FleetNet
from fleetgym.envs.core.errors import PolicyError


def save_weights(network: FleetNet, path: Path, about: Mapping[str, Any]) -> None:
    """Writes ``path`` (.safetensors) and its .json; each to a temporary file, then renamed.

    Args:
        network: whose weights.
        path: ends in .safetensors.
        about: how they were trained; the width is added.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, part)
    part.replace(path)
    text = json.dumps({"network": "FleetNet", "width": network.width, **about}, indent=2)
    part.write_text(text + "\n", encoding="utf-8")
    part.replace(path.with_suffix(".json"))


def load_weights(path: Path) -> FleetNet:
    """The network of a .safetensors file and the .json beside it, in evaluation mode.

    Raises:
        PolicyError: a file is missing or malformed, or does not fit the network.
    """
    try:
        about = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        network = FleetNet(int(about["width"]))
        network.load_state_dict(load_file(path))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise PolicyError(f"{path}: not the weights of a FleetNet: {error}") from error
    return network.eval()
