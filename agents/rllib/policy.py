"""Trained networks of a cluster as a policy: the likeliest legal action of whoever is asked."""

from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray

from fleetgym.agents.rllib.advisors import ClusterAdvisors
from fleetgym.agents.rllib.asked import Asked
from fleetgym.agents.rllib.weights import ClusterNet, load_cluster
from fleetgym.baselines.request_preemption.kernel_policy import by_role
from fleetgym.envs.core.errors import PolicyError
from fleetgym.envs.core.view import View
from fleetgym.envs.request_preemption.layout import Actions
from fleetgym.envs.request_preemption.scenario import RequestPreemptionScenario
from fleetgym.envs.request_preemption.simulator import INSTANCE, ROUTER
from fleetgym.envs.request_preemption.types import State


class ClusterPolicy:
    """Plays the networks under central or distributed control, on any number of instances.

    Args:
        name: of the policy.
        network: what decides.
    """

    information: Literal["online", "clairvoyant"] = "online"

    def __init__(self, name: str, network: ClusterNet) -> None:
        self.name, self.network, self._advisors = name, network, ClusterAdvisors()

    @classmethod
    def load(cls, path: Path) -> "ClusterPolicy":
        """The policy of a weights file, named as the file."""
        return cls(path.stem, load_cluster(path))

    def reset(self, view: View, worlds: NDArray[np.int64]) -> None:
        """The rules begin anew.

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
        self._advisors.reset(view, worlds)

    def act(self, view: View) -> dict[str, NDArray[np.int64]]:
        """The likeliest of what is left to choose, by the agent that is asked; 0 of all others."""
        first = Actions.of(cast(RequestPreemptionScenario, view.scenario)).instance
        asked = Asked(view, self._advisors.advise(view), first)
        chosen: NDArray[np.int64] = asked.left.argmax(1)
        several = asked.left.sum(1) > 1
        for role, network, here in (
            (ROUTER, self.network.router, asked.routed),
            (INSTANCE, self.network.instance, ~asked.routed),
        ):
            worlds = np.flatnonzero(several & here)
            if len(worlds):
                seen = asked.tables(role, worlds)
                with torch.inference_mode():
                    given = {name: torch.from_numpy(table) for name, table in seen.items()}
                    likeliest = network.logits(given).argmax(1).numpy()
                chosen[worlds] = asked.central(role, likeliest)
        state: State = view.state()  # type: ignore[assignment]
        return by_role(view, state, chosen)


def shape_of(scenario: RequestPreemptionScenario) -> dict[str, int]:
    """What of an instance's actions does not depend on the number of requests."""
    return {
        "ways": 2 if scenario.preemption == "chosen" else 1,
        "pins": len(scenario.ttls_s) + 1 if scenario.ttls_s else 0,
    }
