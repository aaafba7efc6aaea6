"""RLlib's ``EnvRunner`` over a batch: agents of all worlds as rows of one policy.

RLlib's own multi-agent runner steps worlds one by one and handles every agent's step in Python.
Here all rows are stepped in one call. Where nothing is to be decided (only the no-op, action 0, is
legal) an agent is not asked.
"""

import numpy as np
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

from fleetgym.agents.rllib.decisions import Decisions, choose
from fleetgym.agents.rllib.rows import AgentRows


class BatchEnvRunner(SingleAgentEnvRunner):  # type: ignore[misc]
    """Plays whole episodes of a batch; ``env_config`` says of what (see `AgentRows`)."""

    def make_env(self) -> None:
        """Makes the batch."""
        torch.set_num_threads(1)
        config = self.config
        seed = (config.seed or 0) + 1_000 * (self.worker_index or 0)
        self.env = AgentRows(**config.env_config, seed=seed)
        self.num_envs = self.env.num_envs
        self._generator = torch.Generator().manual_seed(seed)

    def _sample(
        self,
        *,
        num_timesteps: int | None = None,
        num_episodes: int | None = None,
        explore: bool,
        random_actions: bool = False,
        force_reset: bool = False,
    ) -> list[SingleAgentEpisode]:
        """Whole episodes of all worlds, until there are so many decisions or agents' episodes."""
        found: list[SingleAgentEpisode] = []
        steps = 0
        while steps < (num_timesteps or 1) or len(found) < (num_episodes or 0):
            played = self._play(explore, random_actions)
            found += played
            steps += sum(len(episode) for episode in played)
        self._increase_sampled_metrics(steps, len(found))
        self._done_episodes_for_metrics.extend(found)
        return found

    def _play(self, explore: bool, random_actions: bool) -> list[SingleAgentEpisode]:
        """One episode of every world."""
        rows: AgentRows = self.env
        made = Decisions(rows.num_envs)
        rows.begin()
        while not rows.simulator.over().all():
            seen = rows.seen()
            alive = np.repeat(~rows.simulator.over(), rows.agents)
            who = np.flatnonzero(alive & (seen["action_mask"][:, 0] == 0))
            own = {name: table[who] for name, table in seen.items()}
            choice = choose(
                self.module, own, self._generator, explore=explore, at_random=random_actions
            )
            made.chose(who, own, choice)
            actions = np.zeros(rows.num_envs, np.int64)
            actions[who] = choice[Columns.ACTIONS]
            made.paid(np.where(alive, rows.take(actions).reward.reshape(-1), 0.0))
        spaces = rows.single_observation_space, rows.single_action_space
        return [episode for _, episode in made.episodes(*spaces)]
