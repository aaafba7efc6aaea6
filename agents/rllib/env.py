"""The serving cluster as RLlib's ``MultiAgentEnv``, over ``fleetgym.parallel_env``.

In the parallel face all agents act at every step, though one of them decides and the others do
nothing. Here only the one that has a choice is asked: decisions with a single legal action are
made for it. What the team is paid meanwhile goes to every agent; RLlib adds it up until an agent
acts again.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ray.rllib.env.multi_agent_env import MultiAgentEnv

from fleetgym.envs.core.parallel import Infos, Observation
from fleetgym.envs.core.registration import parallel_env

Table = dict[str, Observation]


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
        self._seen: Table = {}
        self.possible_agents: list[str] = list(self._env.possible_agents)
        self.agents = list(self.possible_agents)
        self.observation_spaces = self._env.observation_spaces
        self.action_spaces = self._env.action_spaces

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Table, Infos]:
        """Starts the next episode, and runs it to the first choice."""
        self._seen, _ = self._env.reset(seed=seed)
        asked, action = self._next()
        while action is not None:
            self._step(asked, action)
            asked, action = self._next()
        return {asked: _copied(self._seen[asked])}, {}

    def step(
        self, action_dict: Mapping[str, Any]
    ) -> tuple[Table, dict[str, float], dict[str, bool], dict[str, bool], Infos]:
        """Applies the choice of the agent asked, and runs on to the next one."""
        ((asked, action),) = action_dict.items()
        paid, choice = 0.0, int(action)
        while True:
            reward, ended, cut = self._step(asked, choice)
            paid += reward
            over = ended or cut
            if over:
                break
            asked, forced = self._next()
            if forced is None:
                break
            choice = forced
        shown = self.possible_agents if over else [asked]
        return (
            {agent: _copied(self._seen[agent]) for agent in shown},
            dict.fromkeys(self.possible_agents, paid),
            {"__all__": ended, **dict.fromkeys(self.possible_agents, ended)},
            {"__all__": cut, **dict.fromkeys(self.possible_agents, cut)},
            {},
        )

    def _step(self, asked: str, action: int) -> tuple[float, bool, bool]:
        """The team's reward, and whether the episode has terminated or been truncated."""
        actions = dict.fromkeys(self.possible_agents, 0) | {asked: action}
        self._seen, rewards, terminated, truncated, _ = self._env.step(actions)
        return rewards[asked], terminated[asked], truncated[asked]

    def _next(self) -> tuple[str, int | None]:
        """The agent that decides next, and its action where only one is legal."""
        for agent in self.possible_agents:
            mask: NDArray[np.int8] = self._seen[agent]["action_mask"]
            count = int(np.count_nonzero(mask))
            if count > 1:
                return agent, None
            if mask[0] == 0:
                return agent, int(mask.argmax())
        return self.possible_agents[0], 0


def _copied(seen: Observation) -> Observation:
    return {name: table.copy() for name, table in seen.items()}
