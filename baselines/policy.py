"""The Policy protocol: who decides, from what it may see."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal, Protocol

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from fleetgym.envs.core.errors import PolicyError
from fleetgym.envs.core.registration import Family
from fleetgym.envs.core.view import View
from fleetgym.traces.errors import nearest


class Policy(Protocol):
    """Decides for B worlds at once.

    Attributes:
        name: stands in records and on the leaderboard.
        information: "online" (sees the past only) or "clairvoyant".
    """

    name: str
    information: Literal["online", "clairvoyant"]

    def reset(self, view: View, worlds: NDArray[np.int64]) -> None:
        """Says that the named worlds have begun a new episode."""
        ...

    def act(self, view: View) -> Any:
        """Actions of every world: integers ``(B, ...)``, or a mapping by role.

        What is said for a world that is over is ignored.
        """
        ...


class RandomLegal:
    """Uniform over the legal actions; of a pair, over VMs first, then over its targets.

    Where an action is an array of numbers (scores, forecasts), each is drawn from its range.
    """

    name = "random"
    information: Literal["online", "clairvoyant"] = "online"

    def __init__(self, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)

    def reset(self, view: View, worlds: NDArray[np.int64]) -> None:
        """Keeps nothing."""

    def act(self, view: View) -> dict[str, NDArray[np.int64]]:
        """One draw for each agent of each world."""
        return {role: self._drawn(view, role, mask) for role, mask in view.action_mask().items()}

    def _drawn(self, view: View, role: str, mask: NDArray[np.int8]) -> NDArray[np.int64]:
        space = view.roles[role].action_space
        if isinstance(space, spaces.Box):
            shape = (*mask.shape[:2], *space.shape)
            return self._rng.integers(space.low, space.high, shape, dtype=np.int64, endpoint=True)
        if isinstance(space, spaces.MultiDiscrete) and mask.shape[2] < space.nvec.sum():
            return self._rng.integers(space.nvec, size=(*mask.shape[:2], *space.shape))
        drawn: NDArray[np.int64] = np.argmax(self._rng.random(mask.shape) * mask, axis=-1)
        return drawn


@dataclass(frozen=True)
class Baseline:
    """A policy that can be run by name.

    Attributes:
        name: as on the command line.
        summary: one line with the source.
        make: ``make(seconds, seed)``: the policy with its budget on decision time (seconds, where
            it has one) and its own seed.
        seconds: default budget.
    """

    name: str
    summary: str
    make: Callable[[float, int], Policy]
    seconds: float = 1.0


def baselines_of(family: Family) -> Mapping[str, Baseline]:
    """The baselines of a family, by name: its folder's ``BASELINES``."""
    module = import_module(f"fleetgym.baselines.{family.folder}")
    return {baseline.name: baseline for baseline in module.BASELINES}


def make_baseline(family: Family, name: str, seconds: float | None = None, seed: int = 0) -> Policy:
    """The named baseline.

    Raises:
        PolicyError: there is none of this name; the message names the nearest.
    """
    known = baselines_of(family)
    if name not in known:
        raise PolicyError(f"{family.id} has no policy {name!r}: {nearest(name, known)}")
    baseline = known[name]
    return baseline.make(baseline.seconds if seconds is None else seconds, seed)
