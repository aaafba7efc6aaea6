"""The offloading agent: each device's task goes where a network finds it likeliest."""

from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray

from fleetgym.agents.networks.offloading import OffloadNet, OffloadTables
from fleetgym.envs.core.errors import PolicyError
from fleetgym.envs.core.view import View
from fleetgym.envs.mec_offloading.scenario import MECOffloadingScenario
from fleetgym.envs.mec_offloading.simulator import SCHEDULER
from fleetgym.envs.mec_offloading.types import NOBODY, State


def look(view: View, worlds: NDArray[np.int64], agents: NDArray[np.int64]) -> OffloadTables:
    """Tables ``(M, ...)`` of M agents that are asked; under central control of whose task it is."""
    ((role, shown),) = view.observation().items()
    devices = agents
    tasks = shown["tasks"]
    if role == SCHEDULER:
        tasks, devices = tasks[:, 0], shown["focus"][worlds, 0].argmax(1)
    return OffloadTables(
        torch.from_numpy(tasks[worlds, devices]),
        torch.from_numpy(shown["places"][worlds, agents]),
        torch.from_numpy(shown["progress"][worlds, agents]),
    )


class OffloadAgent:
    """Places each task where the network finds it likeliest; greedy, central or distributed.

    Args:
        name: of the policy.
        network: decides.
    """

    information: Literal["online", "clairvoyant"] = "online"

    def __init__(self, name: str, network: OffloadNet) -> None:
        self.name, self._network = name, network

    def reset(self, view: View, worlds: NDArray[np.int64]) -> None:
        """Keeps nothing.

        Raises:
            PolicyError: the scenario's actions are not places alone.
        """
        scenario = cast(MECOffloadingScenario, view.scenario)
        if scenario.action != "place" or scenario.symbols:
            raise PolicyError(
                f"policy {self.name!r} chooses places: it plays action='place' with symbols=0, not "
                f"scenario {scenario.name!r} with {scenario.action!r} and {scenario.symbols}"
            )
        self._first = int(scenario.control == "distributed")  # behind the no-op

    def act(self, view: View) -> dict[str, NDArray[np.int64]]:
        """The likeliest legal place of each agent that is asked."""
        ((role, mask),) = view.action_mask().items()
        action: NDArray[np.int64] = mask.argmax(2)
        worlds, agents = np.nonzero(cast(State, view.state()).asked != NOBODY)
        if len(worlds):
            with torch.inference_mode():
                logits = self._network.logits(look(view, worlds, agents)).numpy()
            legal = mask[worlds, agents, self._first :] == 1
            action[worlds, agents] = self._first + np.where(legal, logits, -np.inf).argmax(1)
        return {role: action}
