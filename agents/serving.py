"""The serving agent: a network that chooses among rules; the likeliest action of all worlds."""

from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray

from fleetgym.agents.advisors import Advisors
from fleetgym.agents.networks.requests import RequestNet, RequestTables
from fleetgym.envs.core.errors import PolicyError
from fleetgym.envs.core.view import View
from fleetgym.envs.request_preemption.layout import Actions
from fleetgym.envs.request_preemption.scenario import RequestPreemptionScenario
from fleetgym.envs.request_preemption.simulator import SCHEDULER
from fleetgym.envs.request_preemption.types import MODES


def look(view: View, worlds: NDArray[np.int64], advisors: Advisors) -> RequestTables:
    """Tables ``(M, ...)`` of M worlds of one instance each, with what rules advise in them."""
    shown = view.observation()[SCHEDULER]
    return RequestTables(
        torch.from_numpy(shown["requests"][worlds, 0]),
        torch.from_numpy(shown["instances"][worlds, 0, 0]),
        torch.from_numpy(shown["world"][worlds, 0]),
        torch.from_numpy(advisors.advise(view)[worlds]),
        torch.from_numpy(advisors.costs(view)[worlds]),
    )


class RequestAgent:
    """Edits the running set of one instance as the rule does that a network chooses; greedy.

    Args:
        name: of the policy.
        network: chooses.
    """

    information: Literal["online", "clairvoyant"] = "online"

    def __init__(self, name: str, network: RequestNet) -> None:
        self.name, self._network, self._advisors = name, network, Advisors()

    def reset(self, view: View, worlds: NDArray[np.int64]) -> None:
        """The rules begin anew.

        Raises:
            PolicyError: the scenario asks for other actions than edits of one running set.
        """
        scenario = cast(RequestPreemptionScenario, view.scenario)
        edits = MODES + scenario.slots
        if scenario.action != "pointer" or Actions.of(scenario).central != edits:
            raise PolicyError(
                f"policy {self.name!r} edits the running set of one instance: it plays "
                f"action='pointer' with one way of preemption, no ttls_s and instances=1, not "
                f"scenario {scenario.name!r}"
            )
        if SCHEDULER not in view.roles:
            raise PolicyError(f"policy {self.name!r} plays control='central'")
        self._advisors.reset(view, worlds)

    def act(self, view: View) -> dict[str, NDArray[np.int64]]:
        """The likeliest legal action; the network is asked where there are several."""
        mask = view.action_mask()[SCHEDULER][:, 0]
        action: NDArray[np.int64] = mask.argmax(1)
        several = np.flatnonzero(mask.sum(1) > 1)
        if len(several):
            with torch.inference_mode():
                logits = self._network.logits(look(view, several, self._advisors))
            action[several] = logits.argmax(1).numpy()
        return {SCHEDULER: action[:, None]}
