"""RLlib's ``EnvRunner`` over a batch: agents of all worlds as rows of one policy.

RLlib's own multi-agent runner steps worlds one by one and handles every agent's step in Python.
Here each agent's decisions of an episode are one ``SingleAgentEpisode``, made from arrays at its
end; what it is paid between two decisions goes to the first of them. Where nothing is to be decided
(only the no-op, action 0, is legal) an agent is not asked.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from ray.rllib.core.columns import Columns
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.env.utils.infinite_lookback_buffer import InfiniteLookbackBuffer

from fleetgym.agents.rllib.rows import AgentRows, Tables

Float32 = NDArray[np.float32]


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
        rows.begin()
        shown: list[Tables] = []
        made: list[dict[str, Float32]] = []
        asked: list[NDArray[np.intp]] = []
        paid: list[NDArray[np.float64]] = []
        while not rows.simulator.over().all():
            seen = rows.seen()
            alive = np.repeat(~rows.simulator.over(), rows.agents)
            who = np.flatnonzero(alive & (seen["action_mask"][:, 0] == 0))
            own = {name: table[who] for name, table in seen.items()}
            choice = self._choose(own, explore, random_actions)
            actions = np.zeros(rows.num_envs, np.int64)
            actions[who] = choice[Columns.ACTIONS]
            result = rows.take(actions)
            shown.append(own)
            made.append(choice)
            asked.append(who)
            paid.append(np.where(alive, result.reward.reshape(-1), 0.0))
        return _episodes(rows, shown, made, asked, np.array(paid))

    def _choose(self, own: Tables, explore: bool, random_actions: bool) -> dict[str, Float32]:
        """Actions of the rows that are asked, their log-probabilities and logits."""
        batch = {Columns.OBS: {name: torch.from_numpy(table) for name, table in own.items()}}
        with torch.no_grad():
            logits = self.module.forward_exploration(batch)[Columns.ACTION_DIST_INPUTS]
            if random_actions:
                logits = torch.where(batch[Columns.OBS]["action_mask"] == 1, 0.0, -1e9)
            likely = torch.log_softmax(logits, 1)
            if explore or random_actions:
                action = torch.multinomial(likely.exp(), 1, generator=self._generator)[:, 0]
            else:
                action = likely.argmax(1)
            logp = likely.gather(1, action[:, None])[:, 0]
        return {
            Columns.ACTIONS: action.numpy(),
            Columns.ACTION_LOGP: logp.numpy(),
            Columns.ACTION_DIST_INPUTS: logits.numpy(),
        }


def _episodes(
    rows: AgentRows,
    shown: list[Tables],
    made: list[dict[str, Float32]],
    asked: list[NDArray[np.intp]],
    paid: NDArray[np.float64],
) -> list[SingleAgentEpisode]:
    """The decisions of each row that made any, as an episode that has ended."""
    row, step = np.concatenate(asked), np.repeat(np.arange(len(asked)), [len(who) for who in asked])
    order = np.argsort(row, kind="stable")
    row, step = row[order], step[order]
    total = np.concatenate((np.zeros((1, rows.num_envs)), paid.cumsum(0)))
    tables = {name: np.concatenate([one[name] for one in shown])[order] for name in shown[0]}
    choices = {name: np.concatenate([one[name] for one in made])[order] for name in made[0]}
    first = np.flatnonzero(np.diff(row, prepend=-1))
    last = np.append(first[1:], len(row))
    episodes = []
    for begin, end in zip(first, last, strict=True):
        until = np.append(step[begin + 1 : end], len(paid))
        reward = total[until, row[begin]] - total[step[begin:end], row[begin]]
        # After the last decision nothing is seen that counts: the episode has ended.
        kept = np.append(np.arange(begin, end), end - 1)
        episodes.append(
            SingleAgentEpisode(
                observations=_buffer({name: table[kept] for name, table in tables.items()}),
                observation_space=rows.single_observation_space,
                actions=_buffer(choices[Columns.ACTIONS][begin:end]),
                action_space=rows.single_action_space,
                rewards=_buffer(reward.astype(np.float32)),
                infos=InfiniteLookbackBuffer([{}] * (end - begin + 1), lookback=0),
                extra_model_outputs={
                    name: _buffer(choices[name][begin:end])
                    for name in (Columns.ACTION_LOGP, Columns.ACTION_DIST_INPUTS)
                },
                terminated=True,
                t_started=0,
                len_lookback_buffer=0,
            )
        )
    return episodes


def _buffer(data: Any) -> InfiniteLookbackBuffer:
    return InfiniteLookbackBuffer(data=data, lookback=0)
