"""Trained networks of a cluster as a policy: the likeliest legal action of whoever is asked."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray

from fleetgym.agents.rllib.weights import ClusterNet, load_cluster
from fleetgym.envs.core.errors import PolicyError
from fleetgym.envs.core.view import View
from fleetgym.envs.request_preemption.layout import Actions
from fleetgym.envs.request_preemption.observe import WORLD_FEATURES
from fleetgym.envs.request_preemption.scenario import RequestPreemptionScenario
from fleetgym.envs.request_preemption.simulator import INSTANCE, ROUTER, SCHEDULER

Tables = Mapping[str, NDArray[Any]]
ROUTED = [WORLD_FEATURES.index("dispatch"), WORLD_FEATURES.index("rebalance")]


class ClusterPolicy:
    """Plays the networks under central or distributed control, on any number of instances.

    Args:
        name: of the policy.
        network: what decides.
    """

    information: Literal["online", "clairvoyant"] = "online"

    def __init__(self, name: str, network: ClusterNet) -> None:
        self.name = name
        self.network = network

    @classmethod
    def load(cls, path: Path) -> "ClusterPolicy":
        """The policy of a weights file, named as the file."""
        return cls(path.stem, load_cluster(path))

    def reset(self, view: View, worlds: NDArray[np.int64]) -> None:
        """Keeps nothing.

        Raises:
            PolicyError: the scenario's actions are not those the networks were made for.
        """
        scenario = cast(RequestPreemptionScenario, view.scenario)
        shape = shape_of(scenario)
        if scenario.instances < 2 or any(self.network.shape[n] != v for n, v in shape.items()):
            raise PolicyError(
                f"policy {self.name!r} is for clusters with actions of {self.network.shape}; "
                f"scenario {scenario.name!r} has {scenario.instances} instance(s) and {shape}"
            )

    def act(self, view: View) -> dict[str, NDArray[np.int64]]:
        """The likeliest action of each agent that is asked; 0 of all others."""
        seen = view.observation()
        if SCHEDULER in seen:
            actions = Actions.of(cast(RequestPreemptionScenario, view.scenario)).instance
            return {SCHEDULER: self._central(seen[SCHEDULER], actions)}
        chosen = {}
        for role, net in ((ROUTER, self.network.router), (INSTANCE, self.network.instance)):
            worlds, agents = seen[role]["action_mask"].shape[:2]
            flat = {name: table.reshape(-1, *table.shape[2:]) for name, table in seen[role].items()}
            chosen[role] = _likeliest(net, flat).reshape(worlds, agents)
        return chosen

    def _central(self, seen: Tables, actions: int) -> NDArray[np.int64]:
        """Actions ``(B, 1)`` of one agent, of which ``actions`` are an instance's."""
        mask, world, count = seen["action_mask"][:, 0], seen["world"][:, 0], len(seen["world"])
        focus = seen["focus"][:, 0].argmax(1)
        instance = {
            "requests": seen["requests"][:, 0],
            "instance": seen["instances"][np.arange(count), 0, focus],
            "world": world,
            "action_mask": mask[:, :actions],
        }
        router = {
            "instances": seen["instances"][:, 0],
            "arrival": seen["arrival"][:, 0],
            "world": world,
            "action_mask": np.concatenate((mask[:, :1], mask[:, actions:]), 1),
        }
        routed: NDArray[np.bool_] = world[:, ROUTED].max(1) > 0
        chosen = np.zeros(count, np.int64)
        chosen[~routed] = _likeliest(self.network.instance, _rows(instance, ~routed))
        target = _likeliest(self.network.router, _rows(router, routed))
        chosen[routed] = np.where(target > 0, target - 1 + actions, 0)
        return chosen[:, None]


def shape_of(scenario: RequestPreemptionScenario) -> dict[str, int]:
    """What of an instance's actions does not depend on the number of requests."""
    return {
        "ways": 2 if scenario.preemption == "chosen" else 1,
        "pins": len(scenario.ttls_s) + 1 if scenario.ttls_s else 0,
    }


def _rows(tables: Tables, chosen: NDArray[np.bool_]) -> Tables:
    return {name: table[chosen] for name, table in tables.items()}


@torch.no_grad()
def _likeliest(net: torch.nn.Module, seen: Tables) -> NDArray[np.int64]:
    """The likeliest legal action of each row; the network is asked where there are several."""
    mask = seen["action_mask"]
    action: NDArray[np.int64] = mask.argmax(1)
    several = mask.sum(1) > 1
    if several.any():
        given = {name: torch.from_numpy(table[several]) for name, table in seen.items()}
        action[several] = net(given)[0].argmax(1).numpy()
    return action
