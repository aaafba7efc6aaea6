"""From the simulator to a planner and back: policies that carry out a plan of migrations."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fleetgym.baselines.vm_rescheduling.problem import Moves, Problem
from fleetgym.envs.core.view import View
from fleetgym.envs.vm_rescheduling.scenario import VMReschedulingScenario
from fleetgym.envs.vm_rescheduling.types import State

Planner = Callable[[Problem, float, int], Moves]


def problem_of(view: View, world: int) -> tuple[Problem, NDArray[np.int64]]:
    """The problem one world poses now, and the simulator's index of each of its VMs."""
    scenario, state = view.scenario, view.state()
    assert isinstance(scenario, VMReschedulingScenario)
    assert isinstance(state, State)
    vms = np.flatnonzero(state.vm_pm[world] >= 0)
    vm_type = state.vm_type[world, vms]
    problem = Problem(
        free_cores=state.free_cores[world].copy(),
        free_memory=state.free_memory[world].copy(),
        free_gpu=state.free_gpu[world].copy(),
        vm_slot=2 * state.vm_pm[world, vms] + state.vm_numa[world, vms],
        vm_cores=state.type_cores[world, vm_type],
        vm_memory=state.type_memory[world, vm_type],
        vm_gpu=state.type_gpu[world, vm_type],
        vm_double=state.type_double[world, vm_type] == 1,
        vm_movable=state.vm_movable[world, vms] == 1,
        vm_group=state.class_group[world, state.vm_class[world, vms]],
        group_max=state.group_max[world].copy(),
        moves_left=int(state.moves_left[world]),
        objective=scenario,
    )
    return problem, vms


class PlanCarrier(ABC):
    """Plans once at the start of an episode, then carries the plan out, then stops.

    A migration that the world has made illegal meanwhile is left out of the plan: what the mask
    forbids is not asked for.

    Args:
        name: of the policy.
    """

    information: Literal["online", "clairvoyant"] = "online"

    def __init__(self, name: str) -> None:
        self.name = name
        self._plans: dict[int, list[tuple[int, int]]] = {}
        self._fresh: set[int] = set()

    @abstractmethod
    def _plan(self, view: View, world: int) -> list[tuple[int, int]]:
        """VMs (the simulator's indices) and target slots, in order."""

    def reset(self, view: View, worlds: NDArray[np.int64]) -> None:
        """Forgets the plans of the named worlds."""
        self._fresh.update(worlds.tolist())

    def act(self, view: View) -> NDArray[np.int64]:
        """The next stage of each world's plan."""
        mask = view.action_mask()["scheduler"][:, 0]
        state, scenario = view.state(), view.scenario
        assert isinstance(state, State)
        assert isinstance(scenario, VMReschedulingScenario)
        pair = scenario.action == "pair"
        num_vms = state.vm_pm.shape[1]
        actions = np.zeros((view.num_worlds, 2 if pair else 1), np.int64)
        actions[:, 0] = num_vms  # STOP
        for world in range(view.num_worlds):
            if world in self._fresh:
                self._fresh.discard(world)
                self._plans[world] = self._plan(view, world)
            plan = self._plans[world]
            if not pair and state.chosen[world] >= 0:
                actions[world] = self._target(plan, mask[world], num_vms)
            else:
                while plan and not (mask[world, plan[0][0]] and state.moves_left[world] > 0):
                    plan.pop(0)
                if plan:
                    actions[world] = plan.pop(0) if pair else plan[0][0]
        return actions if pair else actions[:, 0]

    def _target(self, plan: list[tuple[int, int]], mask: NDArray[np.int8], num_vms: int) -> int:
        """The planned target, or any legal one where the plan's has become illegal."""
        _, slot = plan.pop(0)
        wanted = num_vms + 1 + slot
        return wanted if mask[wanted] else int(np.argmax(mask))


class PlanPolicy(PlanCarrier):
    """Carries out the plan of a planner.

    Args:
        name: of the policy.
        planner: ``planner(problem, seconds, seed)``.
        seconds: its budget for a plan.
        seed: its own.
    """

    def __init__(self, name: str, planner: Planner, seconds: float, seed: int) -> None:
        super().__init__(name)
        self._planner, self._seconds, self._seed = planner, seconds, seed

    def _plan(self, view: View, world: int) -> list[tuple[int, int]]:
        problem, vms = problem_of(view, world)
        moves = self._planner(problem, self._seconds, self._seed)
        return [(int(vms[vm]), int(slot)) for vm, slot in moves]
