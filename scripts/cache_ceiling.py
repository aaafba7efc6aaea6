"""``python -m fleetgym.scripts.cache_ceiling``: how much of expert caching is chance.

A policy is played that knows how the routing is generated, and all of its present state, which
nobody sees: the popularity of every expert, what the topics mean to it, how strong they are, and
its own noise. What the future holds it does not know. It keeps those experts that are asked for
soonest, by the mean over futures drawn from the generator. What is between it and MIN with bypass,
no forecast can close.
"""

from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from fleetgym.envs.core.registration import family_of
from fleetgym.envs.core.view import View
from fleetgym.envs.expert_cache.scenario import ExpertCacheScenario
from fleetgym.envs.expert_cache.simulator import AGENT
from fleetgym.envs.expert_cache.types import ASKED, AT, EXPERT, LAYER, MISS, STAGE, STEP, State
from fleetgym.scripts.console import say
from fleetgym.scripts.leaderboard.evaluate import evaluate
from fleetgym.scripts.policies import make_policy
from fleetgym.traces.generators.expert_routing import Latents, latents, locality

ID, SCENARIO, SEEDS = "fleetgym/ExpertCache-v0", "dsv2-lite", range(16)
FUTURES, AHEAD, DISCOUNT = 48, 8, 0.7  # as the agent's forecasts are discounted
BESIDE = ("lru", "tuned", "agent", "min-bypass")

Float64 = NDArray[np.float64]


class KnowsTheGenerator:
    """Leaves out whichever expert is asked for latest, in the mean over drawn futures."""

    name = "knows-the-generator"
    information: Literal["online", "clairvoyant"] = "clairvoyant"

    def reset(self, view: View, worlds: NDArray[np.int64]) -> None:
        """Draws again what the worlds' workloads are made of."""
        scenario = cast(ExpertCacheScenario, view.scenario)
        self._of = locality(scenario.locality, scenario.num_experts, scenario.top_k)
        self._top = scenario.top_k
        self._rng = np.random.default_rng(0)
        self._latents: list[Latents] = []
        for world in range(view.num_worlds):
            workload = view.future(world)
            routing = vars(workload)["routing"]
            self._latents.append(
                latents(
                    tokens=len(routing.experts),
                    layers=routing.experts.shape[1],
                    num_experts=scenario.num_experts,
                    locality=self._of,
                    seed=2 * int(vars(workload)["seed"]) + (scenario.split == "test"),
                )
            )
        self._step = np.full(view.num_worlds, -1)
        self._worth: list[Float64] = [np.empty(0)] * view.num_worlds

    def act(self, view: View) -> dict[str, NDArray[np.int64]]:
        """The tenant, or the missed expert, that is worth least."""
        state = cast(State, view.state())
        mask = view.action_mask()[AGENT][:, 0]
        action: NDArray[np.int64] = mask.argmax(1)
        for b in np.flatnonzero(state.scalars[:, STAGE] == MISS):
            s = state.scalars[b]
            if self._step[b] != s[STEP]:
                self._step[b] = s[STEP]
                self._worth[b] = self._soon(self._latents[b], int(s[STEP]))
            worth = self._worth[b][s[LAYER]]
            tenants = state.tenants[b, s[LAYER], EXPERT]
            missed = worth[state.request[b, ASKED, s[AT]]]
            slots = np.concatenate(([missed], np.where(tenants >= 0, worth[tenants], -1.0)))
            legal = mask[b, : len(slots)] == 1
            action[b] = np.where(legal, slots, np.inf).argmin()
        return {AGENT: action[:, None]}

    def _soon(self, of: Latents, step: int) -> Float64:
        """Discounted uses to come ``(L, E)``, means over futures."""
        mood = np.repeat(of.mood[None, step], FUTURES, axis=0)
        own = np.repeat(of.own[None, step], FUTURES, axis=0)
        keep, own_keep = self._of.topic_memory, self._of.own_memory
        soon = np.zeros_like(of.popularity)
        for ahead in range(AHEAD):
            mood = keep * mood + np.sqrt(1 - keep**2) * self._rng.standard_normal(mood.shape)
            noise = self._rng.standard_normal(own.shape, np.float32)
            own = own_keep * own + np.sqrt(1 - own_keep**2) * noise
            logits = own + of.popularity + np.tensordot(mood, of.topics, 1)
            least = np.partition(logits, -self._top, axis=2)[..., -self._top :].min(2)
            soon += DISCOUNT**ahead * (logits >= least[..., None]).mean(0)
        return soon


def main() -> None:
    """Prints hit rates, and the shares of the way from LRU to MIN with bypass."""
    beside = [make_policy(family_of(ID), name, 1.0) for name in BESIDE]
    for name in ("low", "medium"):
        for policy in (*beside, KnowsTheGenerator()):
            records = evaluate(policy, ID, SCENARIO, SEEDS, num_worlds=len(SEEDS), locality=name)
            hits, closed = (
                float(np.mean([record.metrics[metric] for record in records]))
                for metric in ("hit_rate", "gap_closed")
            )
            say(f"{name:6} {records[0].policy:20} hits {hits:.4f}  closed {closed:.1%}")


if __name__ == "__main__":
    main()
