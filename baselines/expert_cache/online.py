"""The online policies by name: a rule each."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fleetgym.baselines.expert_cache.predictor import WEIGHTS
from fleetgym.baselines.expert_cache.rules import (
    BLEND,
    LEARNED,
    RANDOM,
    Rule,
    decide,
    decide_all,
)
from fleetgym.envs.core.view import View
from fleetgym.envs.expert_cache.scenario import ExpertCacheScenario
from fleetgym.envs.expert_cache.types import AGED, COUNT, FREQUENCY, LAST, LOG_SCORE, MRS

_NONE = np.zeros(len(WEIGHTS))

RULES: dict[str, Rule] = {
    "random-evict": Rule(RANDOM, False, False, _NONE),
    # What is missed was used just now: it is left out only where all tenants were, too.
    "lru": Rule(LAST, True, False, _NONE),
    "lfu": Rule(COUNT, False, False, _NONE),
    "lfu-ageing": Rule(AGED, False, False, _NONE),
    "ema-frequency": Rule(FREQUENCY, False, False, _NONE),
    "ema-score": Rule(LOG_SCORE, True, False, _NONE),
    "mrs": Rule(MRS, False, False, _NONE),
    "hybrimoe": Rule(MRS, False, True, _NONE),
    "learned": Rule(LEARNED, True, False, np.array(WEIGHTS)),
}
SUMMARIES = {
    "random-evict": "admits always, into a random slot",
    "lru": "least recently used",
    "lfu": "least frequently used since the warm-up began",
    "lfu-ageing": "the same, counts halved every 16 steps",
    "ema-frequency": "least moving average of being used",
    "ema-score": "least moving average of the log router score, with bypass",
    "mrs": "HybriMoE's minus recent score (a = 0.5, p = 2K)",
    "hybrimoe": "the same, and fetches what scores more for the next layer (needs prefetch > 0)",
    "learned": "linear prediction of the next use, fitted to generated routing, with bypass",
}
# By name and locality: margin, rate and share of the best of all rules that `tuning` tries, for the
# hit rate and for tokens/s. A captured trace is played as the scenario's locality says.
TUNED: dict[str, dict[str, Rule]] = {
    "tuned": {
        "low": Rule(BLEND, True, False, _NONE, margin=0.0, rate=0.18, share=0.5),
        "medium": Rule(BLEND, True, False, _NONE, margin=0.0, rate=0.35, share=0.75),
        "high": Rule(BLEND, True, False, _NONE, margin=0.0, rate=0.5, share=1.0),
    },
    "tuned-thrifty": {
        "low": Rule(BLEND, True, False, _NONE, margin=0.04, rate=0.125, share=0.75),
        "medium": Rule(BLEND, True, False, _NONE, margin=0.06, rate=0.18, share=1.0),
        "high": Rule(BLEND, True, False, _NONE, margin=0.08, rate=0.5, share=1.0),
    },
}
TUNED_SUMMARIES = {
    "tuned": "moving average and mean of log scores with bypass, tuned to each locality's hits",
    "tuned-thrifty": "the same with a margin, tuned to each locality's tokens/s",
}


class RulePolicy:
    """Plays a rule in every world.

    Attributes:
        kernel, parameters: what `ExpertCacheSimulator.rollout` takes to play the same.
    """

    information: Literal["online", "clairvoyant"] = "online"
    kernel = staticmethod(decide)

    def __init__(self, name: str, seed: int = 0, rule: Rule | None = None) -> None:
        self.name = name
        self.parameters = rule or RULES[name]
        self._seed = seed
        self._random = np.zeros(0, np.uint64)

    def reset(self, view: View, worlds: NDArray[np.int64]) -> None:
        """Draws the states of the random rule anew where the number of worlds has changed."""
        if len(self._random) != view.num_worlds:
            rng = np.random.default_rng(self._seed)
            self._random = rng.integers(2**64, size=view.num_worlds, dtype=np.uint64)

    def act(self, view: View) -> NDArray[np.int64]:
        """The rule's action in each world, ``(B,)``."""
        actions = np.zeros(view.num_worlds, np.int64)
        state: Any = view.state()  # this family's State
        decide_all(state, self.parameters, self._random, actions)
        return actions


class TunedPolicy(RulePolicy):
    """Plays the rule that is tuned to the scenario's locality."""

    def __init__(self, name: str) -> None:
        super().__init__(name, rule=TUNED[name]["medium"])

    def reset(self, view: View, worlds: NDArray[np.int64]) -> None:
        """Looks up the scenario's locality."""
        super().reset(view, worlds)
        scenario = view.scenario
        assert isinstance(scenario, ExpertCacheScenario)
        self.parameters = TUNED[self.name][scenario.locality]
