"""Serving clusters stepped together, for RLlib: only who has a choice is asked.

In each cluster one agent decides at a time, the router or an instance. It is told what rules would
do; what these agree on is done for it. The team is paid together.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from fleetgym.agents.rllib.advisors import ADVISORS, ClusterAdvisors
from fleetgym.agents.rllib.asked import Asked, Tables
from fleetgym.baselines.request_preemption.kernel_policy import by_role
from fleetgym.envs.core.registration import family_of
from fleetgym.envs.core.simulator import Role
from fleetgym.envs.core.view import View
from fleetgym.envs.request_preemption.layout import Actions
from fleetgym.envs.request_preemption.scenario import RequestPreemptionScenario
from fleetgym.envs.request_preemption.simulator import INSTANCE, ROUTER
from fleetgym.envs.request_preemption.types import State

Float64 = NDArray[np.float64]
WORKLOADS = 2**30  # seeds are drawn below this


class Choice(NamedTuple):
    """Agents of a role that are asked, each of another world."""

    role: str
    worlds: NDArray[np.intp]  # (n,)
    agents: NDArray[np.int64]  # (n,) among those of the role
    seen: Tables  # (n, ...)


class ClusterRows(VectorEnv[Any, Any, Any]):
    """B clusters; spaces are by role.

    Args:
        id: environment.
        scenario: name of a scenario of a cluster.
        overrides: its fields to replace; control is distributed.
        worlds: B.
        seed: of the workloads that are drawn.

    Attributes:
        agents: names, by role.
        shown, actions: spaces of an agent, by role.
    """

    def __init__(
        self,
        id: str,
        scenario: str,
        overrides: Mapping[str, Any],
        worlds: int,
        seed: Sequence[int],
    ) -> None:
        family = family_of(id)
        resolved = family.scenario(scenario, {**overrides, "control": "distributed"})
        self._source, self._rng = family.workloads(resolved), np.random.default_rng(seed)
        self.simulator = family.simulate(resolved, self._source, worlds)
        self.num_envs = worlds
        self._view, self._advisors = View(self.simulator), ClusterAdvisors()
        self._first = Actions.of(cast(RequestPreemptionScenario, resolved)).instance
        self._asked: Asked
        roles = {name: self.simulator.roles[name] for name in (ROUTER, INSTANCE)}
        self.agents = {name: role.agents for name, role in roles.items()}
        self.shown: dict[str, spaces.Space[Any]] = {
            name: _with_advice(role) for name, role in roles.items()
        }
        self.actions = {name: role.action_space for name, role in roles.items()}
        self.observation_space = self.single_observation_space = spaces.Dict(self.shown)
        self.action_space = self.single_action_space = spaces.Dict(self.actions)

    def begin(self) -> None:
        """All begin anew on workloads drawn."""
        seeds = self._rng.integers(WORKLOADS, size=self.num_envs)
        self.simulator.reset([self._source.draw(int(seed)) for seed in seeds])
        self._advisors.reset(self._view, np.arange(self.num_envs))

    def over(self) -> NDArray[np.bool_]:
        """``(B,)``."""
        return self.simulator.over()

    def choices(self) -> Iterator[Choice]:
        """Who has a choice now, by role."""
        asked = Asked(self._view, self._advisors.advise(self._view), self._first)
        self._asked = asked
        several = asked.left.sum(1) > 1
        for role, here in ((ROUTER, asked.routed), (INSTANCE, ~asked.routed)):
            worlds = np.flatnonzero(several & here)
            if len(worlds):
                agents = asked.focus[worlds] if role == INSTANCE else np.zeros_like(worlds)
                yield Choice(role, worlds, agents, asked.tables(role, worlds))

    def take(self, chosen: Mapping[str, tuple[NDArray[np.intp], NDArray[np.int64]]]) -> Float64:
        """A step of all worlds that are not over.

        Args:
            chosen: worlds and actions of each role's agents that had a choice, of all others there
                is only one.

        Returns:
            What each team is paid, ``(B,)``.
        """
        actions: NDArray[np.int64] = self._asked.left.argmax(1)
        for role, (worlds, action) in chosen.items():
            actions[worlds] = self._asked.central(role, action)
        alive = ~self.over()
        state: State = self._view.state()  # type: ignore[assignment]
        result = self.simulator.step(by_role(self._view, state, actions), alive)
        return np.where(alive, result.reward[:, 0], 0.0)


def _with_advice(role: Role) -> spaces.Dict:
    """A role's observation space, with what each rule would do."""
    last = int(cast("spaces.Discrete[Any]", role.action_space).n) - 1
    advice = spaces.Box(0, last, (ADVISORS,), np.int64)
    return spaces.Dict({**role.observation_space.spaces, "advice": advice})
