"""A trained team as a policy, and its weights: a safetensors file and a JSON file beside it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from fleetgym.agents.com_ddpg.memory import Memory, Windows, vectors
from fleetgym.agents.com_ddpg.networks import Sizes, Team
from fleetgym.envs.core.errors import PolicyError
from fleetgym.envs.core.view import View
from fleetgym.envs.mec_offloading.scenario import MECOffloadingScenario
from fleetgym.envs.mec_offloading.simulator import DEVICE
from fleetgym.envs.mec_offloading.types import SCORES


def quantised(action: NDArray[np.float32]) -> NDArray[np.int64]:
    """Actions from 0 to 1 as the environment takes them."""
    return np.clip(np.rint(action * (SCORES - 1)), 0, SCORES - 1).astype(np.int64)


def chosen(team: Team, windows: Windows) -> NDArray[np.float32]:
    """What the actors do, ``(B, U, A)`` from 0 to 1."""
    with torch.inference_mode():
        action = team.actor(torch.from_numpy(windows.now), torch.from_numpy(windows.heard))
    found: NDArray[np.float32] = action.numpy()
    return found


class ComPolicy:
    """Plays the actors; each hears of others what has had time to arrive.

    Args:
        name: of the policy.
        team: whose actors play.
    """

    information: Literal["online", "clairvoyant"] = "online"

    def __init__(self, name: str, team: Team) -> None:
        self.name, self._team = name, team
        self._memory: Memory | None = None

    @classmethod
    def load(cls, path: Path) -> "ComPolicy":
        """The policy of a weights file, named as the file."""
        return cls(path.stem, load_team(path))

    def reset(self, view: View, worlds: NDArray[np.int64]) -> None:
        """Forgets those worlds.

        Raises:
            PolicyError: the scenario's agents or actions are not those that the team was made for.
        """
        scenario, sizes = cast(MECOffloadingScenario, view.scenario), self._team.sizes
        actions = scenario.places + 2
        fits = scenario.control == "distributed" and scenario.action == "continuous"
        agents = len(view.roles[DEVICE].agents) if fits else 0
        if not fits or (agents, actions) != (sizes.agents, sizes.actions):
            raise PolicyError(
                f"policy {self.name!r} is for control='distributed', action='continuous', "
                f"{sizes.agents} devices and {sizes.actions - 3} servers; scenario "
                f"{scenario.name!r} has {scenario.control!r}, {scenario.action!r}, "
                f"{scenario.devices} and {scenario.servers}"
            )
        if self._memory is None or len(worlds) == view.num_worlds:
            delay = round(scenario.view_delay_ms * 1e6)
            self._memory = Memory(view.num_worlds, sizes.history, delay)
        else:
            self._memory.forget(worlds)

    def act(self, view: View) -> dict[str, NDArray[np.int64]]:
        """The actors' actions."""
        assert self._memory is not None
        lag = self._memory.note(vectors(view), view.now())
        return {DEVICE: quantised(chosen(self._team, self._memory.windows(lag)))}


def save_team(team: Team, path: Path, about: Mapping[str, Any]) -> None:
    """Writes ``path`` (.safetensors) and its .json; each to a temporary file, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    save_file({k: v.contiguous() for k, v in team.state_dict().items()}, part)
    part.replace(path)
    text = json.dumps({"network": "Team", "sizes": team.sizes._asdict(), **about}, indent=2)
    part.write_text(text + "\n", encoding="utf-8")
    part.replace(path.with_suffix(".json"))


def load_team(path: Path) -> Team:
    """The team of a .safetensors file and the .json beside it, in evaluation mode.

    Raises:
        PolicyError: a file is missing or malformed, or does not fit the networks.
    """
    try:
        about = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        team = Team(Sizes(**{name: int(value) for name, value in about["sizes"].items()}))
        team.load_state_dict(load_file(path))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise PolicyError(f"{path}: not the weights of a Com-DDPG team: {error}") from error
    return team.eval()
