"""Rollouts: every place of a task is tried in imagined futures that simple rules play to the end.

One step of policy improvement (Bertsekas, Tsitsiklis and Wu, Journal of Heuristics 3, 1997). It
imagines from the present of all devices and servers: it is a policy with a full view. Nobody
new arrives there and the fading to come is another.
"""

from typing import Literal, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from fleetgym.baselines.mec_offloading.problem import Float64, Int64
from fleetgym.baselines.mec_offloading.simple import END
from fleetgym.envs.core.errors import PolicyError
from fleetgym.envs.core.jit import kernel
from fleetgym.envs.core.view import View
from fleetgym.envs.mec_offloading.scenario import MECOffloadingScenario
from fleetgym.envs.mec_offloading.simulator import MECOffloadingSimulator
from fleetgym.envs.mec_offloading.types import (
    FD_SHARE,
    FD_TIME,
    NOBODY,
    V_MISSES,
    Shown,
    State,
)

GREEDY = -1  # in place of the place that a rule prefers


class Rules(NamedTuple):
    """How imagined worlds are played."""

    first: int  # action of the first place
    place: Int64  # (B,) where all tasks go that may, or GREEDY


@kernel
def follow(shown: Shown, b: int, rules: Rules, action: Int64) -> None:
    """To the place that the rule prefers, else where it would end first, as far as is seen.

    Args:
        shown: what the worlds show.
        b: which world.
        rules: of the worlds.
        action: ``(agents, parts)``, written.
    """
    first, wanted = rules.first, rules.place[b]
    for agent in range(len(action)):
        places, mask = shown.places[b, agent], shown.mask[b, agent]
        best = wanted if wanted >= 0 and mask[first + wanted] else -1
        if best < 0:
            for k in range(len(places)):
                if mask[first + k] and (best < 0 or places[k, END] < places[best, END]):
                    best = k
        action[agent, :] = 0
        if best >= 0 and not (first and mask[0]):
            action[agent, 0] = first + best


class RolloutPolicy:
    """Tries the places of one task at a time and takes the one whose best future costs least.

    Args:
        name: of the policy.
        parallel: whether each place's future is played by greedy EFT and, besides, with all tasks
            to each of the places; else by greedy EFT alone.

    The best of several rules is no worse than the best of them (parallel rollout; Chang, Givan and
    Chong, AIPS 2000).
    """

    information: Literal["online", "clairvoyant"] = "online"

    def __init__(self, name: str, *, parallel: bool) -> None:
        self.name, self._parallel = name, parallel

    def reset(self, view: View, worlds: NDArray[np.int64]) -> None:
        """Keeps nothing.

        Raises:
            PolicyError: the scenario's actions are continuous.
        """
        if cast(MECOffloadingScenario, view.scenario).action != "place":
            raise PolicyError("the rollout policy tries places one by one; set action='place'")

    def act(self, view: View) -> dict[str, NDArray[np.int64]]:
        """The place of each agent's task, the others' being greedy."""
        (role,) = view.roles
        scenario = cast(MECOffloadingScenario, view.scenario)
        state = cast(State, view.state())
        first = int(scenario.control == "distributed")
        mask = view.action_mask()[role]
        places = view.observation()[role]["places"]
        legal = mask[:, :, first : first + places.shape[2]] == 1
        end = np.where(legal, places[..., END], np.inf).argmin(axis=2)
        asked = state.asked != NOBODY
        parts = 1 + bool(scenario.symbols)
        choice = np.zeros((*asked.shape, parts), np.int64)
        choice[..., 0] = np.where(asked, first + end, 0)
        better = choice.copy()
        for b, agent in np.argwhere(asked & (legal.sum(axis=2) > 1)):
            tried = np.flatnonzero(legal[b, agent])
            costs = self._costs(view, role, int(b), int(agent), choice[b], first + tried, first)
            least = costs == costs.min()
            if not least[tried == end[b, agent]].any():
                better[b, agent, 0] = first + tried[np.argmax(least)]
        return {role: better if parts > 1 else better[..., 0]}

    def _costs(
        self, view: View, role: str, b: int, agent: int, others: Int64, tried: Int64, first: int
    ) -> Float64:
        """What each action of one agent comes to at the end of its best imagined episode."""
        places = view.observation()[role]["places"].shape[2]
        rules = np.arange(GREEDY, places if self._parallel else 0)
        future = view.imagine(b, len(tried) * len(rules))
        assert isinstance(future, MECOffloadingSimulator)
        actions = np.repeat(others[None], len(tried) * len(rules), axis=0)
        actions[:, agent, 0] = np.repeat(tried, len(rules))
        future.step({role: actions})
        future.rollout(follow, Rules(first, np.tile(rules, len(tried))), 2 * future.sizes.tasks)
        costs = costs_of(future.state(), future.scenario)
        return np.asarray(costs.reshape(len(tried), len(rules)).min(axis=1))


def costs_of(state: State, scenario: MECOffloadingScenario) -> Float64:
    """``(B,)`` what the finished applications have cost all devices, as the reward counts it."""
    floats, misses = state.device_floats, state.devices[:, :, V_MISSES]
    cost = (
        scenario.weight_time * floats[:, :, FD_TIME]
        + scenario.weight_energy * floats[:, :, FD_SHARE]
        + scenario.weight_miss * misses
    )
    return np.asarray(cost.sum(axis=1), np.float64)
