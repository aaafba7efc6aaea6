"""Thinking takes time: how long the world goes on before a decision is applied.

Models: ``"none"`` (the world waits), ``"fixed:SECONDS"`` (charged at the first stage of each
decision), ``"measured"`` (wall-clock time of the policy, charged as it passes; one world only).
"""

import math
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from fleetgym.envs.core.errors import ScenarioError


@dataclass(frozen=True)
class DecisionLatency:
    """A latency model; ``nanoseconds`` is what a fixed one charges for each decision."""

    kind: Literal["none", "fixed", "measured"] = "none"
    nanoseconds: int = 0

    @classmethod
    def parse(cls, text: str) -> Self:
        """From ``none``, ``fixed:SECONDS`` or ``measured``.

        Raises:
            ScenarioError: it is none of these.
        """
        if text == "none":
            return cls()
        if text == "measured":
            return cls("measured")
        kind, _, seconds = text.partition(":")
        try:
            value = float(seconds)
        except ValueError:
            value = math.nan
        if kind != "fixed" or not 0 <= value < 1e9:
            raise ScenarioError(
                f"decision latency {text!r}: it must be 'none', 'fixed:SECONDS' (0 to 1e9) or "
                "'measured'"
            )
        return cls("fixed", round(value * 1e9))

    def charge(self, starts: NDArray[np.bool_], spent_ns: int) -> NDArray[np.int64]:
        """Nanoseconds by which each world goes on, ``(B,)``.

        Args:
            starts: which worlds begin a decision, ``(B,)``.
            spent_ns: wall-clock time the policy took for this action.
        """
        if self.kind == "fixed":
            return np.where(starts, self.nanoseconds, 0)
        return np.full(len(starts), spent_ns if self.kind == "measured" else 0, np.int64)
