"""The offloading agent: a network that corrects where planners would send each task."""

from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray

from fleetgym.agents.networks.offloading import OffloadNet, OffloadTables
from fleetgym.baselines.mec_offloading.planned import PLANNERS, PlannedPolicy
from fleetgym.envs.core.errors import PolicyError
from fleetgym.envs.core.view import View
from fleetgym.envs.mec_offloading.scenario import MECOffloadingScenario
from fleetgym.envs.mec_offloading.simulator import SCHEDULER
from fleetgym.envs.mec_offloading.types import NOBODY, State

ADVISORS = ("peft", "heft")  # planners that plan anew at each task; the strongest first
Asked = tuple[NDArray[np.int64], NDArray[np.int64]]  # worlds and agents that are asked


class PlanAdvisors:
    """Planners on the view of each device, ready to be asked.

    Args:
        count: so many, the strongest.
    """

    def __init__(self, count: int = len(ADVISORS)) -> None:
        names = ADVISORS[:count]
        self._planners = [PlannedPolicy(name, PLANNERS[name], 0, again=True) for name in names]

    def reset(self, view: View, worlds: NDArray[np.int64]) -> None:
        """Begins anew in the worlds."""
        for planner in self._planners:
            planner.reset(view, worlds)

    def advise(self, view: View) -> NDArray[np.int64]:
        """The place each would choose, ``(B, agents, K)``; 0 for who is not asked."""
        first = first_place(view)
        said = [np.zeros((*_agents(view), 0), np.int64)]
        for planner in self._planners:
            (action,) = planner.act(view).values()
            said.append(np.maximum(action - first, 0)[..., None])
        return np.concatenate(said, 2)


def first_place(view: View) -> int:
    """The action of the first place: the no-op stands before it under distributed control.

    Raises:
        PolicyError: actions are scores or have messages.
    """
    scenario = cast(MECOffloadingScenario, view.scenario)
    if scenario.action != "place" or scenario.symbols:
        raise PolicyError(
            f"scenario {scenario.name!r} has action={scenario.action!r} and "
            f"symbols={scenario.symbols}: the agent chooses places: action='place', symbols=0"
        )
    return int(scenario.control == "distributed")


def _agents(view: View) -> tuple[int, int]:
    """Worlds and agents of each."""
    (role,) = view.roles.values()
    return view.num_worlds, len(role.agents)


def asked_of(view: View) -> Asked:
    """Worlds and agents that are asked about a task."""
    state = cast(State, view.state())
    worlds, agents = np.nonzero(state.asked != NOBODY)
    return worlds, agents


def tables_of(view: View, asked: Asked) -> dict[str, NDArray[np.float32]]:
    """What the devices of those asked show: tasks ``(M, N, F)``, places, progress."""
    ((role, shown),) = view.observation().items()
    worlds, agents = asked
    if role == SCHEDULER:
        device = shown["focus"][worlds, 0].argmax(1)
        tasks = shown["tasks"][worlds, 0, device]
    else:
        tasks = shown["tasks"][worlds, agents]
    return {
        "tasks": tasks,
        "places": shown["places"][worlds, agents],
        "progress": shown["progress"][worlds, agents],
    }


class OffloadAgent:
    """Places each task where the network finds it likeliest; greedy, central or distributed.

    Args:
        name: of the policy.
        network: decides.
    """

    information: Literal["online", "clairvoyant"] = "online"

    def __init__(self, name: str, network: OffloadNet) -> None:
        self.name, self._network = name, network
        self._advisors = PlanAdvisors(network.planners)

    def reset(self, view: View, worlds: NDArray[np.int64]) -> None:
        """The planners begin anew.

        Raises:
            PolicyError: the scenario's actions are no places.
        """
        first_place(view)
        self._advisors.reset(view, worlds)

    def act(self, view: View) -> dict[str, NDArray[np.int64]]:
        """The likeliest legal place of each agent that is asked."""
        ((role, mask),) = view.action_mask().items()
        action: NDArray[np.int64] = mask.argmax(2)
        asked, first = asked_of(view), first_place(view)
        if len(asked[0]):
            seen = tables_of(view, asked)
            advice = self._advisors.advise(view)[asked]
            with torch.inference_mode():
                tables = OffloadTables(*map(torch.from_numpy, (*seen.values(), advice)))
                logits = self._network.logits(tables).numpy()
            legal = mask[asked][:, first:] == 1
            action[asked] = first + np.where(legal, logits, -np.inf).argmax(1)
        return {role: action}
