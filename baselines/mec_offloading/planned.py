"""Planners as policies: an application is planned when it is first asked about, or at each task."""

from collections.abc import Callable
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from fleetgym.baselines.mec_offloading.annealing import anneal, tabu
from fleetgym.baselines.mec_offloading.branch_bound import MAX_TASKS, solve
from fleetgym.baselines.mec_offloading.genetic import breed
from fleetgym.baselines.mec_offloading.list_schedulers import cpop, edf, heft, peft
from fleetgym.baselines.mec_offloading.problem import Int32
from fleetgym.baselines.mec_offloading.simple import END
from fleetgym.baselines.mec_offloading.situation import Looker, Situation
from fleetgym.envs.core.view import View
from fleetgym.envs.mec_offloading.scenario import MECOffloadingScenario
from fleetgym.envs.mec_offloading.types import (
    NOBODY,
    SCORES,
    T_APP,
    State,
)

Planner = Callable[[Situation, int], Int32]  # the place of each task, given a seed


class PlannedPolicy:
    """Asks a planner where an application's tasks go, and sends them there.

    Args:
        name: of the policy.
        planner: whose plans are followed.
        seed: of the planner.
        full: whether it sees all at once, or what the device's own view shows.
        again: whether an application is planned anew at each of its tasks, with what has happened
            since; else once.

    A task that may not go where the plan says goes where it would end first, as far as is seen.
    """

    information: Literal["online", "clairvoyant"] = "online"

    def __init__(
        self,
        name: str,
        planner: Planner,
        seed: int,
        *,
        full: bool = False,
        again: bool = False,
    ) -> None:
        self.name = name
        self._planner, self._seed = planner, seed
        self._again, self._full = again, full
        self._plans: list[dict[int, int]] = []  # of each world: node by row of the task

    def reset(self, view: View, worlds: NDArray[np.int64]) -> None:
        """Forgets the plans of worlds that begin anew."""
        if len(self._plans) != view.num_worlds:
            self._plans = [{} for _ in range(view.num_worlds)]
        for world in worlds:
            self._plans[int(world)] = {}
        scenario = view.scenario
        assert isinstance(scenario, MECOffloadingScenario)
        self._looker = Looker(scenario, full=self._full)

    def act(self, view: View) -> dict[str, NDArray[np.int64]]:
        """The place of each agent's task; an agent that is not asked does nothing."""
        (role,) = view.roles
        scenario = cast(MECOffloadingScenario, view.scenario)
        state = cast(State, view.state())
        mask, observation = view.action_mask()[role], view.observation()[role]
        continuous = scenario.action == "continuous"
        first = int(scenario.control == "distributed" and not continuous)
        levels = state.levels.shape[1]
        home = first + int(np.argmax(state.levels[0]))
        places = levels + state.seen.shape[1] + 1
        choice = np.zeros(state.asked.shape, np.int64)
        for b, agent in np.argwhere(state.asked != NOBODY):
            node = self._node(state, int(b), int(state.asked[b, agent]))
            action = home if node < 0 else first + levels + node
            legal = mask[b, agent, first : first + places]
            if not legal[action - first]:
                end = np.where(legal == 1, observation["places"][b, agent, :, END], np.inf)
                action = first + int(np.argmin(end))
            choice[b, agent] = action
        return {role: as_parts(choice, scenario, places)}

    def _node(self, state: State, b: int, task: int) -> int:
        """Where a task goes: -1 the device, then servers, then the cloud."""
        plans = self._plans[b]
        if self._again or task not in plans:
            app = int(state.tasks[b, task, T_APP])
            situation = self._looker.look(state, b, app)
            assert situation is not None  # the task itself is left
            place = self._planner(situation, self._seed)
            plans.update(zip(situation.task.tolist(), (place - 1).tolist(), strict=True))
        return plans[task]


def as_parts(
    choice: NDArray[np.int64], scenario: MECOffloadingScenario, places: int
) -> NDArray[np.int64]:
    """Actions ``(B, agents)`` as the scenario's action space takes them: silent, at full power."""
    if scenario.action == "continuous":
        scores: NDArray[np.int64] = np.zeros((*choice.shape, places + 2), np.int64)
        np.put_along_axis(scores, choice[..., None], SCORES - 1, axis=2)
        scores[..., places:] = SCORES - 1
        return scores
    if scenario.symbols:
        return np.stack([choice, np.zeros_like(choice)], axis=2)
    return choice


EFFORT = {"anneal": 20_000, "tabu": 800, "generations": 200, "nodes": 300_000}  # of one plan


def _heft(situation: Situation, seed: int) -> Int32:
    return heft(situation.problem).place


def _cpop(situation: Situation, seed: int) -> Int32:
    return cpop(situation.problem).place


def _peft(situation: Situation, seed: int) -> Int32:
    return peft(situation.problem).place


def _edf(situation: Situation, seed: int) -> Int32:
    return edf(situation.problem, situation.deadline).place


def _anneal(situation: Situation, seed: int) -> Int32:
    return anneal(situation.problem, EFFORT["anneal"], seed).place


def _tabu(situation: Situation, seed: int) -> Int32:
    return tabu(situation.problem, EFFORT["tabu"], seed).place


def _breed(situation: Situation, seed: int) -> Int32:
    return breed(situation.problem, EFFORT["generations"], seed, seeded=False).place


def _seeded(situation: Situation, seed: int) -> Int32:
    return breed(situation.problem, EFFORT["generations"], seed, seeded=True).place


def _optimal(situation: Situation, seed: int) -> Int32:
    found = anneal(situation.problem, EFFORT["anneal"], seed)
    if len(situation.task) <= MAX_TASKS:
        found = solve(situation.problem, found, EFFORT["nodes"]).solution
    return found.place


PLANNERS: dict[str, Planner] = {
    "heft": _heft,
    "cpop": _cpop,
    "peft": _peft,
    "edf": _edf,
    "annealing": _anneal,
    "tabu": _tabu,
    "genetic": _breed,
    "seeded-genetic": _seeded,
    "optimal-plan": _optimal,
}
SUMMARIES = {
    "heft": "HEFT with insertion (Topcuoglu 2002)",
    "cpop": "the critical path at one place (Topcuoglu 2002)",
    "peft": "HEFT that looks ahead to the exit (Arabnejad 2014)",
    "edf": "earliest deadline first, where it ends first",
    "annealing": "simulated annealing of order and places, from HEFT",
    "tabu": "tabu search over order and places, from HEFT",
    "genetic": "a genetic algorithm over order and places",
    "seeded-genetic": "the same, from HEFT, CPOP and PEFT",
    "optimal-plan": "the best plan of up to 24 tasks, by annealing, then branch and bound",
}
