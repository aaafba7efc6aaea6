"""The serving cluster as RLlib's ``MultiAgentEnv``, over ``fleetgym.parallel_env``.

In the parallel face all agents act at every step, though one of them decides and the others do
nothing. Here only the one that has a choice is asked, and is told what rules would do; decisions
on which these agree are made for it. So the machine behind the face is stepped directly, many
times for one choice. What the team is paid meanwhile goes to every agent; RLlib adds it up until an
agent acts again.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from ray.rllib.env.multi_agent_env import MultiAgentEnv

from fleetgym.agents.rllib.advisors import ADVISORS, ClusterAdvisors
from fleetgym.agents.rllib.asked import Asked
from fleetgym.baselines.request_preemption.kernel_policy import by_role
from fleetgym.envs.core.parallel import Infos, Observation
from fleetgym.envs.core.registration import parallel_env
from fleetgym.envs.core.view import View
from fleetgym.envs.request_preemption.layout import Actions
from fleetgym.envs.request_preemption.simulator import INSTANCE, ROUTER
from fleetgym.envs.request_preemption.types import State

Table = dict[str, Observation]
ONLY = np.zeros(1, np.int64)  # the number of the one world


class ServingEnv(MultiAgentEnv):  # type: ignore[misc]
    """One cluster.

    Args:
        config: ``id``, ``scenario`` and ``overrides`` of the environment.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self._env = parallel_env(
            config["id"], config["scenario"], copy=False, **config["overrides"]
        )
        self._simulator = self._env.simulator
        self._view, self._advisors = View(self._simulator), ClusterAdvisors()
        self._first = Actions.of(self._env.scenario).instance
        self._asked: Asked
        self.possible_agents: list[str] = list(self._env.possible_agents)
        self.agents = list(self.possible_agents)
        self.observation_spaces = {
            agent: _with_advice(self._env.observation_space(agent), self._env.action_space(agent))
            for agent in self.possible_agents
        }
        self.action_spaces = self._env.action_spaces

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Table, Infos]:
        """Starts the next episode, and runs it to the first choice."""
        self._env.reset(seed=seed)
        self._advisors.reset(self._view, ONLY)
        self._run_on()
        return self._seen(), {}

    def step(
        self, action_dict: Mapping[str, Any]
    ) -> tuple[Table, dict[str, float], dict[str, bool], dict[str, bool], Infos]:
        """Applies the choice of the agent asked, and runs on to the next one."""
        ((agent, action),) = action_dict.items()
        chosen = self._asked.central(agent.split("_")[0], np.array([int(action)]))
        paid, ended, cut = self._step(chosen)
        if not ended and not cut:
            more, ended, cut = self._run_on()
            paid += more
        return (
            self._all() if ended or cut else self._seen(),
            dict.fromkeys(self.possible_agents, paid),
            {"__all__": ended, **dict.fromkeys(self.possible_agents, ended)},
            {"__all__": cut, **dict.fromkeys(self.possible_agents, cut)},
            {},
        )

    def _run_on(self) -> tuple[float, bool, bool]:
        """Does what the rules agree on: what is paid for it, and whether it ends or cuts short."""
        paid = 0.0
        while True:
            self._asked = Asked(self._view, self._advisors.advise(self._view), self._first)
            if np.count_nonzero(self._asked.left) > 1:
                return paid, False, False
            more, ended, cut = self._step(self._asked.left.argmax(1))
            paid += more
            if ended or cut:
                return paid, ended, cut

    def _step(self, chosen: np.ndarray[Any, np.dtype[np.int64]]) -> tuple[float, bool, bool]:
        """The team's reward, and whether the episode has terminated or been truncated."""
        state: State = self._view.state()  # type: ignore[assignment]
        actions = by_role(self._view, state, chosen)
        reward, terminated, truncated, _ = self._simulator.step(actions)
        return float(reward[0, 0]), bool(terminated[0]), bool(truncated[0])

    def _seen(self) -> Table:
        """What the agent sees that is asked; copied, for the machine overwrites it."""
        role = ROUTER if self._asked.routed[0] else INSTANCE
        agent = role if role == ROUTER else f"{role}_{self._asked.focus[0]}"
        return {agent: {n: t[0].copy() for n, t in self._asked.tables(role, ONLY).items()}}

    def _all(self) -> Table:
        """What all see at the end, when nobody is asked: nothing is decided from it."""
        return {
            agent: {name: _zeros(part) for name, part in space.spaces.items()}
            for agent, space in self.observation_spaces.items()
        }


def _zeros(space: spaces.Space[Any]) -> np.ndarray[Any, Any]:
    shape, dtype = space.shape, space.dtype
    assert shape is not None
    return np.zeros(shape, dtype)


def _with_advice(seen: spaces.Space[Any], actions: spaces.Space[Any]) -> spaces.Dict:
    """An agent's observation space, with what each rule would do."""
    last = int(getattr(actions, "n", 1)) - 1
    advice = spaces.Box(0, last, (ADVISORS,), np.int64)
    return spaces.Dict({**dict(getattr(seen, "spaces", {})), "advice": advice})
