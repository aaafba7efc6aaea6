"""The shipped request network as a policy: the likeliest legal action, all worlds at once."""

from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray

from fleetgym.agents.networks.requests import RequestNet, RequestTables
from fleetgym.envs.core.errors import PolicyError
from fleetgym.envs.core.view import View
from fleetgym.envs.request_preemption.layout import Actions
from fleetgym.envs.request_preemption.scenario import RequestPreemptionScenario
from fleetgym.envs.request_preemption.simulator import SCHEDULER
from fleetgym.envs.request_preemption.types import MODES

FORBIDDEN = -1e9  # logit


def look(view: View, worlds: NDArray[np.int64]) -> tuple[RequestTables, torch.Tensor]:
    """Tables ``(M, ...)`` and legal actions ``(M, n)`` of M worlds of one instance each."""
    shown = view.observation()[SCHEDULER]
    seen = RequestTables(
        torch.from_numpy(shown["requests"][worlds, 0]),
        torch.from_numpy(shown["instances"][worlds, 0, 0]),
        torch.from_numpy(shown["world"][worlds, 0]),
    )
    return seen, torch.from_numpy(shown["action_mask"][worlds, 0] != 0)


class RequestAgent:
    """Edits the running set of one instance by a network; greedy.

    Args:
        name: of the policy.
        network: chooses.
    """

    information: Literal["online", "clairvoyant"] = "online"

    def __init__(self, name: str, network: RequestNet) -> None:
        self.name, self._network = name, network

    def reset(self, view: View, worlds: NDArray[np.int64]) -> None:
        """Keeps nothing.

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

    def act(self, view: View) -> dict[str, NDArray[np.int64]]:
        """The likeliest legal action; the network is asked where there are several."""
        mask = view.action_mask()[SCHEDULER][:, 0]
        action: NDArray[np.int64] = mask.argmax(1)
        several = np.flatnonzero(mask.sum(1) > 1)
        if len(several):
            seen, legal = look(view, several)
            with torch.inference_mode():
                logits = self._network(seen)[0].masked_fill(~legal, FORBIDDEN)
            action[several] = logits.argmax(1).numpy()
        return {SCHEDULER: action[:, None]}
