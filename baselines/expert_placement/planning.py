"""From the simulator to a planner and back: policies that plan window by window."""

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fleetgym.baselines.expert_placement.planners import Planner
from fleetgym.baselines.expert_placement.realise_kernels import next_edit
from fleetgym.baselines.expert_placement.situation import Float64, Int32, Situation, situation_of
from fleetgym.envs.core.errors import PolicyError
from fleetgym.envs.core.view import View
from fleetgym.envs.expert_placement.planners import SELECTABLE
from fleetgym.envs.expert_placement.scenario import ExpertPlacementScenario
from fleetgym.envs.expert_placement.types import State

LASTS = 4  # windows over which a plan has to earn its stall, where it has to


class PlacementPolicy:
    """Plans each window, and carries the plan out in the form the scenario asks for.

    Edits are made layer by layer, as many as the scenario allows. With ``action="select"`` the
    policy needs a planner of its name in the machine, with ``"forecast"`` a forecast.

    Args:
        name: of the policy.
        planner: the placement wanted, from what is seen.
        every: windows from one plan to the next.
        earns: a plan is taken only where, served the last window again for ``LASTS`` windows, it
            saves more than its stall.
        forecast: ``(H, L, E)`` to ``(L, E)``, of policies that plan by one.
        information: "online" or "clairvoyant".
    """

    def __init__(
        self,
        name: str,
        planner: Planner,
        *,
        every: int = 1,
        earns: bool = False,
        forecast: Callable[[Int32], Float64] | None = None,
        information: Literal["online", "clairvoyant"] = "online",
    ) -> None:
        self.name = name
        self.information: Literal["online", "clairvoyant"] = information
        self._planner, self._every, self._earns = planner, every, earns
        self._forecast = forecast
        self._plans: dict[int, tuple[int, Int32]] = {}  # window it is for, and the plan

    def reset(self, view: View, worlds: NDArray[np.int64]) -> None:
        """Forgets the plans of the named worlds."""
        for world in worlds.tolist():
            self._plans.pop(world, None)

    def act(self, view: View) -> dict[str, NDArray[np.int64]]:
        """The next action of every world."""
        scenario, state = view.scenario, view.state()
        if not isinstance(scenario, ExpertPlacementScenario) or not isinstance(state, State):
            raise PolicyError(f"policy {self.name!r} plays expert placement, not {scenario.name!r}")
        (role,) = view.roles
        if scenario.action == "select":
            return {role: np.full((view.num_worlds, 1), self._index(), np.int64)}
        if scenario.action == "forecast":
            return {role: self._predict(state, scenario)}
        shape = (view.num_worlds, len(view.roles[role].agents))
        actions = np.zeros(shape, np.int64)
        for world in range(view.num_worlds):
            plan = self._planned(view, world, int(state.window[world]), scenario)
            if scenario.control == "distributed":
                for layer in range(scenario.layers):
                    actions[world, layer] = _stage(state, world, layer, plan, scenario)
            else:
                actions[world, 0] = _next(state, world, plan, scenario)
        return {role: actions}

    def _planned(
        self, view: View, world: int, window: int, scenario: ExpertPlacementScenario
    ) -> Int32:
        """The plan of the window: made at its first action, kept until its last."""
        known = self._plans.get(world)
        if known is not None and known[0] == window:
            return known[1]
        plan: Int32
        if window == scenario.windows or window % self._every:
            plan = view.state()._asdict()["plan"][world].copy()
        else:
            plan = self._plan(view, world).copy()
        self._plans[world] = (window, plan)
        return plan

    def _plan(self, view: View, world: int) -> Int32:
        """The placement wanted for the window that begins."""
        situation = situation_of(view, world, clairvoyant=self.information == "clairvoyant")
        return self._worthwhile(situation, self._planner(situation))

    def _worthwhile(self, situation: Situation, plan: Int32) -> Int32:
        if not self._earns:
            return plan
        seen = situation.history[:1]
        saved = situation.serving_ns(situation.plan, seen) - situation.serving_ns(plan, seen)
        pays = min(situation.left, LASTS) * saved > situation.stall_ns(plan)
        return plan if pays else situation.plan

    def _index(self) -> int:
        if self.name not in SELECTABLE:
            raise PolicyError(
                f"policy {self.name!r} is none of the planners that action='select' offers "
                f"({', '.join(SELECTABLE)}): use action='edit'"
            )
        return SELECTABLE.index(self.name)

    def _predict(self, state: State, scenario: ExpertPlacementScenario) -> NDArray[np.int64]:
        if self._forecast is None:
            raise PolicyError(f"policy {self.name!r} makes no forecast: use action='edit'")
        loads = [self._forecast(history) for history in state.history]
        due = (state.window % self._every == 0)[:, None, None]
        asked: NDArray[np.int64] = np.rint(np.maximum(loads, 0)).astype(np.int64) * due
        return asked[:, None]


def _next(state: State, world: int, plan: Int32, scenario: ExpertPlacementScenario) -> int:
    """The planner's next stage: the first layer with something to do, or done."""
    layer = int(state.layer[world])
    if layer >= 0:
        return _stage(state, world, layer, plan, scenario)
    for i in range(scenario.layers):
        if state.edits_left[world, i] > 0 and _edit(state, world, i, plan, scenario)[0] >= 0:
            return i
    return scenario.layers


def _stage(
    state: State, world: int, layer: int, plan: Int32, scenario: ExpertPlacementScenario
) -> int:
    """A layer's next stage: a slot, its target, or pass (which only an agent is asked for)."""
    if state.edits_left[world, layer] < 1 or state.passed[world, layer]:
        return scenario.slots
    slot, target = _edit(state, world, layer, plan, scenario)
    if state.slot[world, layer] >= 0:
        return target
    return slot if slot >= 0 else scenario.slots


def _edit(
    state: State, world: int, layer: int, plan: Int32, scenario: ExpertPlacementScenario
) -> tuple[int, int]:
    slot, target = next_edit(
        plan[layer],
        state.plan[world, layer],
        state.begun[world, layer],
        state.replicas[world, layer],
        scenario.slots_per_gpu,
    )
    return int(slot), int(target)
