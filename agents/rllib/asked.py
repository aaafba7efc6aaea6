"""What the agent sees that is asked, under central or distributed control alike."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleetgym.agents.rllib.advisors import by_router, options
from fleetgym.envs.core.view import View
from fleetgym.envs.request_preemption.simulator import INSTANCE, ROUTER, SCHEDULER
from fleetgym.envs.request_preemption.types import FOCUS, State

Tables = dict[str, NDArray[Any]]
OF_ROLE = {ROUTER: ("instances", "arrival", "world"), INSTANCE: ("requests", "instance", "world")}


class Asked:
    """Who is asked in each world, and what is left to choose from.

    Args:
        view: of the worlds.
        advice: ``(B, ADVISORS)``, as under central control.
        first: number of the router's first action under central control, that of an instance's
            actions.

    Attributes:
        routed: where the router is asked, ``(B,)``.
        focus: the instance that is asked where the router is not, ``(B,)``.
        left: what is left to choose from, ``(B, A)`` as under central control.
    """

    def __init__(self, view: View, advice: NDArray[np.int64], first: int) -> None:
        state: State = view.state()  # type: ignore[assignment]
        self._view, self._advice, self._first = view, advice, first
        self.routed, self.focus = by_router(state), state.scalars[:, FOCUS]
        self.left = options(state, advice)

    def tables(self, role: str, worlds: NDArray[np.int64]) -> Tables:
        """Rows of worlds in which an agent of the role is asked, actions numbered as it does."""
        left, advice, first = self.left[worlds], self._advice[worlds], self._first
        if role == ROUTER:
            left = np.concatenate((left[:, :1], left[:, first:]), 1)
            advice = np.where(advice > 0, advice - first + 1, 0)
        else:
            left = left[:, :first]
        return self._seen(role, worlds) | {"advice": advice, "action_mask": left}

    def central(self, role: str, chosen: NDArray[np.int64]) -> NDArray[np.int64]:
        """Actions of agents of a role, numbered as under central control."""
        if role == INSTANCE:
            return chosen
        return np.where(chosen > 0, chosen + self._first - 1, 0)

    def _seen(self, role: str, worlds: NDArray[np.int64]) -> Tables:
        shown, focus = self._view.observation(), self.focus[worlds]
        if SCHEDULER not in shown:
            at = focus if role == INSTANCE else np.zeros_like(focus)
            return {name: shown[role][name][worlds, at] for name in OF_ROLE[role]}
        whole = {name: table[worlds, 0] for name, table in shown[SCHEDULER].items()}
        whole["instance"] = whole["instances"][np.arange(len(worlds)), focus]
        return {name: whole[name] for name in OF_ROLE[role]}
