"""Published weights: a safetensors file and a JSON file beside it, never a pickle."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from fleetgym.agents.networks.cache import CacheNet
from fleetgym.agents.networks.experts import ExpertNet
from fleetgym.agents.networks.fleet import FleetNet
from fleetgym.agents.networks.offloading import OffloadNet
from fleetgym.agents.networks.requests import RequestNet
from fleetgym.envs.core.errors import PolicyError

Network = FleetNet | RequestNet | CacheNet | ExpertNet | OffloadNet
Kind = TypeVar("Kind", FleetNet, RequestNet, CacheNet, ExpertNet, OffloadNet)
NETWORKS: dict[str, type[Network]] = {
    "FleetNet": FleetNet,
    "RequestNet": RequestNet,
    "CacheNet": CacheNet,
    "ExpertNet": ExpertNet,
    "OffloadNet": OffloadNet,
}


def save_weights(network: Network, path: Path, about: Mapping[str, Any]) -> None:
    """Writes ``path`` (.safetensors) and its .json; each to a temporary file, then renamed.

    Args:
        network: whose weights.
        path: ends in .safetensors.
        about: how they were trained; the network's kind and width are added.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, part)
    part.replace(path)
    kind = type(network).__name__
    text = json.dumps({"network": kind, "width": network.width, **about}, indent=2)
    part.write_text(text + "\n", encoding="utf-8")
    part.replace(path.with_suffix(".json"))


def load_weights(path: Path) -> Network:
    """The network of a .safetensors file and the .json beside it, in evaluation mode.

    Raises:
        PolicyError: a file is missing or malformed, or does not fit the network.
    """
    try:
        about = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        network = NETWORKS[about["network"]](int(about["width"]))
        network.load_state_dict(load_file(path))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise PolicyError(f"{path}: not the weights of a network: {error}") from error
    return network.eval()


def load_network(path: Path, kind: type[Kind]) -> Kind:
    """As `load_weights`, of a network of one kind.

    Raises:
        PolicyError: likewise, or the file holds another network.
    """
    network = load_weights(path)
    if not isinstance(network, kind):
        raise PolicyError(
            f"{path} holds a {type(network).__name__}, where a {kind.__name__} is needed"
        )
    return network
