"""The exact solver for few tasks over the machine itself, with all it shares: branch and bound."""

from typing import Literal, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from fleetgym.baselines.mec_offloading.lookahead import GREEDY, Rules, costs_of, follow
from fleetgym.baselines.mec_offloading.problem import Float64, Int64
from fleetgym.baselines.mec_offloading.simple import END
from fleetgym.envs.core.errors import PolicyError
from fleetgym.envs.core.view import View
from fleetgym.envs.mec_offloading.scenario import MECOffloadingScenario
from fleetgym.envs.mec_offloading.simulator import MECOffloadingSimulator
from fleetgym.envs.mec_offloading.types import (
    FD_RATE,
    FD_SHARE,
    FD_START,
    FD_TIME,
    NOBODY,
    V_MISSES,
    State,
)
from fleetgym.envs.mec_offloading.workloads import MECWorkload

MAX_TASKS = 8


class Played(NamedTuple):
    """The best course of an episode."""

    actions: tuple[int, ...]
    cost: float  # of all devices, as the reward counts it
    nodes: int  # decisions looked at


def solve(start: MECOffloadingSimulator) -> Played:
    """The best actions from the present of a one-world simulator on, its future known.

    Args:
        start: under central control, with places as actions; left as it is.

    Raises:
        PolicyError: another form of control or action, or more than ``MAX_TASKS`` tasks.
    """
    scenario = start.scenario
    if scenario.control != "central" or scenario.action != "place":
        raise PolicyError("the exact solver plays control='central' with action='place'")
    workload = start.workloads[0]
    assert isinstance(workload, MECWorkload)
    tasks = sum(graph.num_tasks for graph in workload.applications.graphs)
    if tasks > MAX_TASKS:
        raise PolicyError(f"{tasks} tasks are too many for the exact solver; at most {MAX_TASKS}")
    search = _Search(start.fork(0, 1))
    if not start.over()[0]:
        search.go(start.fork(0, 1), ())
    return Played(search.best, search.least, search.nodes)


class _Search:
    """Depth first, the place where the task would end first before others; greedy EFT to start."""

    def __init__(self, greedy: MECOffloadingSimulator) -> None:
        actions, counts = greedy.rollout(follow, Rules(0, np.array([GREEDY])), 4 * MAX_TASKS + 64)
        self.best = tuple(int(action) for action in actions[0, : counts[0], 0, 0])
        self.least = float(costs_of(greedy.state(), greedy.scenario)[0])
        self.nodes = 0
        (self.role,) = greedy.roles

    def go(self, node: MECOffloadingSimulator, actions: tuple[int, ...]) -> None:
        """Tries all that may follow the decisions made so far."""
        legal = np.flatnonzero(node.action_mask()[self.role][0, 0])
        end = node.observation()[self.role]["places"][0, 0, :, END]
        tried = legal[np.argsort(end[legal], kind="stable")]
        children = node.fork(0, len(tried))
        children.step({self.role: tried[:, None]})
        over, so_far = children.over(), costs_so_far(children.state(), children.scenario)
        self.nodes += len(tried)
        for k, action in enumerate(tried.tolist()):
            if so_far[k] >= self.least - 1e-12:
                continue
            if over[k]:
                self.least, self.best = float(so_far[k]), (*actions, action)
            else:
                self.go(children.fork(k, 1), (*actions, action))


def costs_so_far(state: State, scenario: MECOffloadingScenario) -> Float64:
    """``(B,)`` what all devices have cost up to now; it never falls as an episode goes on."""
    floats = state.device_floats
    unfinished = floats[:, :, FD_RATE] * state.clock[:, None] - floats[:, :, FD_START]
    cost = (
        scenario.weight_time * (floats[:, :, FD_TIME] + unfinished)
        + scenario.weight_energy * floats[:, :, FD_SHARE]
        + scenario.weight_miss * state.devices[:, :, V_MISSES]
    )
    return np.asarray(cost.sum(axis=1), np.float64)


class ExactPolicy:
    """Plays what `solve` finds for an episode of few tasks.

    Attributes:
        name: of the policy.
    """

    name = "exact"
    information: Literal["online", "clairvoyant"] = "clairvoyant"

    def __init__(self) -> None:
        self._left: list[list[int]] = []

    def reset(self, view: View, worlds: NDArray[np.int64]) -> None:
        """Solves the episodes that begin. Raises as `solve`."""
        if len(self._left) != view.num_worlds:
            self._left = [[] for _ in range(view.num_worlds)]
        for world in worlds.tolist():
            true = cast(MECOffloadingSimulator, view.imagine(world, 1))
            true.reset([view.future(world)])
            self._left[world] = list(solve(true).actions)

    def act(self, view: View) -> Int64:
        """``(B, 1)`` the next action of each world."""
        asked = cast(State, view.state()).asked[:, 0] != NOBODY
        chosen = [
            left.pop(0) if there and left else 0
            for left, there in zip(self._left, asked.tolist(), strict=True)
        ]
        return np.array(chosen, np.int64)[:, None]
