"""RLlib's ``EnvRunner`` over serving clusters that are stepped together: all loads, whole episodes.

RLlib's own steps clusters one by one, and handles each agent's step in Python.
"""

from collections.abc import Iterator

import numpy as np
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.env.multi_agent_env_runner import MultiAgentEnvRunner
from ray.rllib.env.multi_agent_episode import MultiAgentEpisode

from fleetgym.agents.rllib.cluster_rows import ClusterRows
from fleetgym.agents.rllib.decisions import Decisions, choose


class ClusterRunner(MultiAgentEnvRunner):  # type: ignore[misc]
    """Plays a batch of clusters of each load; ``env_config`` says of what.

    It holds ``id``, ``scenario``, ``worlds`` of each batch (see `ClusterRows`), and ``batches``:
    the ``overrides`` of each.
    """

    def make_env(self) -> None:
        """Makes the batches."""
        torch.set_num_threads(1)
        config, number = self.config, self.worker_index or 0
        played = dict(config.env_config)
        batches = played.pop("batches")
        self._batches = [
            ClusterRows(**played, overrides=fields, seed=[config.seed or 0, number, n])
            for n, fields in enumerate(batches)
        ]
        self.env = self._batches[0]  # whose spaces are those of all
        self.num_envs = sum(batch.num_envs for batch in self._batches)
        self._generator = torch.Generator().manual_seed((config.seed or 0) + number)

    def _sample(
        self,
        *,
        num_timesteps: int | None = None,
        num_episodes: int | None = None,
        explore: bool,
        random_actions: bool = False,
        force_reset: bool = False,
    ) -> list[MultiAgentEpisode]:
        """Whole episodes of all batches, until there are so many decisions or episodes."""
        found: list[MultiAgentEpisode] = []
        steps = 0
        while steps < (num_timesteps or 1) or len(found) < (num_episodes or 0):
            for batch in self._batches:
                for episode in self._play(batch, explore, random_actions):
                    steps += self._increase_sampled_metrics(len(episode), (), episode)
                    found.append(episode)
        self._done_episodes_for_metrics.extend(found)
        return found

    def _play(
        self, rows: ClusterRows, explore: bool, random_actions: bool
    ) -> Iterator[MultiAgentEpisode]:
        """An episode of every cluster."""
        made = {role: Decisions(rows.num_envs * len(of)) for role, of in rows.agents.items()}
        rows.begin()
        while not rows.over().all():
            chosen = {}
            for role, worlds, agents, seen in rows.choices():
                choice = choose(
                    self.module[role],
                    seen,
                    self._generator,
                    explore=explore,
                    at_random=random_actions,
                )
                made[role].chose(worlds * len(rows.agents[role]) + agents, seen, choice)
                chosen[role] = worlds, choice[Columns.ACTIONS]
            paid = rows.take(chosen)
            for role, of in rows.agents.items():
                made[role].paid(np.repeat(paid, len(of)))
        return _episodes(rows, made)


def _episodes(rows: ClusterRows, made: dict[str, Decisions]) -> Iterator[MultiAgentEpisode]:
    """What each cluster's agents decided."""
    teams = [MultiAgentEpisode(terminateds=True) for _ in range(rows.num_envs)]
    for role, decisions in made.items():
        spaces = rows.shown[role], rows.actions[role]
        for row, episode in decisions.episodes(*spaces):
            world, number = divmod(row, len(rows.agents[role]))
            team, agent = teams[world], rows.agents[role][number]
            episode.agent_id, episode.module_id = agent, role
            episode.multi_agent_episode_id = team.id_
            team.agent_episodes[agent] = episode
            team.env_t += len(episode)
    return (team for team in teams if len(team))
