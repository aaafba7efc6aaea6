"""What a planner is given: the loads seen and the placement, with what serving and moving cost."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from fleetgym.envs.core.errors import PolicyError
from fleetgym.envs.core.view import View
from fleetgym.envs.expert_placement.layout import rules_of, scratch_of
from fleetgym.envs.expert_placement.scenario import ExpertPlacementScenario
from fleetgym.envs.expert_placement.serving import count_all, window_ns
from fleetgym.envs.expert_placement.types import Rules, Scratch, State

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Float64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Situation:
    """One world as a window is to be planned.

    Attributes:
        history: ``(H, L, E)`` tokens of the windows served, the last one first.
        plan: ``(L, R)`` expert of each slot.
        left: windows still to be served, this one included.
        scenario: sizes and costs.
        rules, room: what the machine's kernels take.
        future: ``(left, L, E)`` tokens of those windows, for clairvoyant planners, or None.
    """

    history: Int32
    plan: Int32
    left: int
    scenario: ExpertPlacementScenario
    rules: Rules
    room: Scratch
    future: Int32 | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Groups and nodes that a hierarchical plan keeps together; 1, 1 where it cannot."""
        groups, nodes = self.scenario.groups, self.scenario.nodes
        return (groups, nodes) if groups % nodes == 0 else (1, 1)

    def serving_ns(self, plan: Int32, loads: Int32) -> float:
        """Mean time of serving windows by a placement, ns.

        Args:
            plan: ``(L, R)``.
            loads: ``(windows, L, E)`` tokens.
        """
        replicas = np.empty((self.scenario.layers, self.scenario.experts), np.int32)
        count_all(plan, replicas)
        times = [window_ns(plan, replicas, load, self.rules, self.room) for load in loads]
        return float(np.mean(times))

    def stall_ns(self, plan: Int32) -> int:
        """What moving to a placement costs at once, ns: overlapping would only spread it."""
        copies = new_experts(plan, self.plan, self.scenario.gpus)
        return int(copies.sum(axis=0).max()) * self.scenario.copy_ns


def new_experts(plan: Int32, held: Int32, gpus: int) -> Int64:
    """Experts each GPU would have to copy in, ``(L, G)``.

    Args:
        plan: ``(L, R)`` wanted.
        held: ``(L, R)`` there.
        gpus: G.
    """
    wanted = np.sort(plan.reshape(len(plan), gpus, -1), axis=2)
    there = held.reshape(len(held), gpus, -1)
    known = (wanted[..., None] == there[..., None, :]).any(axis=-1)
    again = np.zeros_like(known)
    again[..., 1:] = wanted[..., 1:] == wanted[..., :-1]
    lacking: Int64 = (~known & ~again).sum(axis=2)
    return lacking


@cache
def _machine(scenario: ExpertPlacementScenario) -> tuple[Rules, Scratch]:
    return rules_of(scenario), scratch_of(scenario)


def situation_of(view: View, world: int, *, clairvoyant: bool = False) -> Situation:
    """What one world shows now.

    Raises:
        PolicyError: the scenario is of another family, or the future is asked for by a policy
            that did not declare itself clairvoyant.
    """
    scenario, state = view.scenario, view.state()
    if not isinstance(scenario, ExpertPlacementScenario) or not isinstance(state, State):
        raise PolicyError(f"scenario {scenario.name!r} is no expert placement")
    rules, room = _machine(scenario)
    window = int(state.window[world])
    future = None
    if clairvoyant:
        loads: Int32 = np.asarray(vars(view.future(world))["loads"], np.int32)
        future = loads[scenario.history + window :]
    return Situation(
        history=state.history[world],
        plan=state.plan[world].copy(),
        left=scenario.windows - window,
        scenario=scenario,
        rules=rules,
        room=room,
        future=future,
    )
