"""Caching policies for experts, each runnable by name."""

from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fleetgym.baselines.expert_cache.clairvoyant import ClairvoyantPolicy
from fleetgym.baselines.expert_cache.online import (
    RULES,
    SUMMARIES,
    TUNED,
    TUNED_SUMMARIES,
    RulePolicy,
    TunedPolicy,
)
from fleetgym.baselines.policy import Baseline, RandomLegal
from fleetgym.envs.core.view import View


class Hold:
    """Admits nothing: the cache stays what the warm-up left."""

    name = "hold"
    information: Literal["online", "clairvoyant"] = "online"

    def reset(self, view: View, worlds: NDArray[np.int64]) -> None:
        """Keeps nothing."""

    def act(self, view: View) -> NDArray[np.int64]:
        """``(B,)`` zeros: do not admit, do not prefetch."""
        return np.zeros(view.num_worlds, np.int64)


def _rule(name: str, seconds: float, seed: int) -> RulePolicy:
    return RulePolicy(name, seed)


def _tuned(name: str, seconds: float, seed: int) -> TunedPolicy:
    return TunedPolicy(name)


BASELINES: tuple[Baseline, ...] = (
    Baseline("random", "uniform over the legal actions", lambda seconds, seed: RandomLegal(seed)),
    Baseline("hold", "admits nothing", lambda seconds, seed: Hold()),
    *(Baseline(name, SUMMARIES[name], partial(_rule, name)) for name in RULES),
    *(Baseline(name, TUNED_SUMMARIES[name], partial(_tuned, name)) for name in TUNED),
    Baseline(
        "static-best",
        "clairvoyant: the experts used most, loaded once",
        lambda seconds, seed: ClairvoyantPolicy("static-best"),
    ),
    Baseline(
        "min",
        "clairvoyant: Belady's MIN, which admits always",
        lambda seconds, seed: ClairvoyantPolicy("min"),
    ),
    Baseline(
        "min-bypass",
        "clairvoyant: MIN that may leave out, the most hits without prefetch",
        lambda seconds, seed: ClairvoyantPolicy("min-bypass"),
    ),
)
