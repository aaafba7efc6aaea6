"""Rules that read the observation alone, so that they see what the agents see, as late.

They play every form of action: a place, a place behind the no-op, scores, messages (silence).
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fleetgym.envs.core.view import View
from fleetgym.envs.mec_offloading.scenario import MECOffloadingScenario
from fleetgym.envs.mec_offloading.types import PLACE_FEATURES

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

END, LOCAL = PLACE_FEATURES.index("end"), PLACE_FEATURES.index("local")
FULL_SHARE = 255  # of frequency and power


class PlaceRule:
    """The legal place with the lowest cost; of equals the first.

    Subclasses say what a place costs.
    """

    name: str
    information: Literal["online", "clairvoyant"] = "online"

    def reset(self, view: View, worlds: NDArray[np.int64]) -> None:
        """Keeps nothing."""

    def costs(self, places: NDArray[np.float32]) -> Float64:
        """``(B, A, P)`` of places ``(B, A, P, len(PLACE_FEATURES))``."""
        raise NotImplementedError

    def act(self, view: View) -> dict[str, Int64]:
        """The action of each agent of each world."""
        ((role, observation),) = view.observation().items()
        places, mask = observation["places"], observation["action_mask"]
        scenario = view.scenario
        if not isinstance(scenario, MECOffloadingScenario):
            raise TypeError(f"{scenario.name!r} is no scenario of offloading")
        count, continuous = places.shape[2], scenario.action == "continuous"
        first = 1 if scenario.control == "distributed" and not continuous else 0
        legal = mask[:, :, first : first + count] > 0
        costs = np.where(legal, self.costs(places), np.inf)
        chosen = np.argmin(costs, axis=2)
        if continuous:
            scores = np.zeros((*chosen.shape, count + 2), np.int64)
            np.put_along_axis(scores, chosen[..., None], FULL_SHARE, axis=2)
            scores[:, :, count:] = FULL_SHARE
            return {role: scores}
        action = np.where(legal.any(axis=2), chosen + first, 0)
        if scenario.symbols:
            action = np.stack([action, np.zeros_like(action)], axis=2)
        return {role: action}


class Random(PlaceRule):
    """Uniform over the legal places."""

    name = "random"

    def __init__(self, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)

    def costs(self, places: NDArray[np.float32]) -> Float64:
        """Drawn anew."""
        return self._rng.random(places.shape[:3])


class AllLocal(PlaceRule):
    """The device at its highest frequency, else what ends soonest."""

    name = "all-local"

    def costs(self, places: NDArray[np.float32]) -> Float64:
        """Places elsewhere come after the device's."""
        ends: Float64 = places[:, :, :, END] + 2.0 * (1.0 - places[:, :, :, LOCAL])
        return ends


class AllEdge(PlaceRule):
    """The server or cloud where the task ends soonest, else the device."""

    name = "all-edge"

    def costs(self, places: NDArray[np.float32]) -> Float64:
        """The device's places come after the others."""
        ends: Float64 = places[:, :, :, END] + 2.0 * places[:, :, :, LOCAL]
        return ends


class GreedyEFT(PlaceRule):
    """The place where the task is seen to end soonest: inputs, backlog and work together."""

    name = "greedy-eft"

    def costs(self, places: NDArray[np.float32]) -> Float64:
        """The end, as the observation estimates it."""
        return places[:, :, :, END].astype(np.float64)
