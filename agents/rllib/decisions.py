"""Choices of rows that share a network, and their decisions as RLlib's episodes.

A row is an agent of a world. All that it decides in an episode becomes one ``SingleAgentEpisode``,
made from arrays when the episode has ended; what it is paid between two decisions goes to the first
of them, what it is paid before the first to none.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from ray.rllib.core.columns import Columns
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.env.utils.infinite_lookback_buffer import InfiniteLookbackBuffer

from fleetgym.agents.rllib.networks import FORBIDDEN

Tables = dict[str, NDArray[Any]]
Float64 = NDArray[np.float64]


def choose(
    module: Any, seen: Tables, generator: torch.Generator, *, explore: bool, at_random: bool
) -> Tables:
    """Actions of rows, their log-probabilities and logits, by the names of RLlib's columns.

    Args:
        module: whose logits are masked.
        seen: observations, with ``action_mask``.
        generator: of what is drawn.
        explore: draws actions; else the likeliest are taken.
        at_random: draws any legal action, whatever the module says.
    """
    given = {name: torch.from_numpy(table) for name, table in seen.items()}
    with torch.no_grad():
        if at_random:
            logits = torch.where(given["action_mask"] == 1, 0.0, FORBIDDEN)
        else:
            found = module.forward_exploration({Columns.OBS: given})
            logits = found[Columns.ACTION_DIST_INPUTS]
        likely = torch.log_softmax(logits, 1)
        if explore or at_random:
            action = torch.multinomial(likely.exp(), 1, generator=generator)[:, 0]
        else:
            action = likely.argmax(1)
        logp = likely.gather(1, action[:, None])[:, 0]
    return {
        Columns.ACTIONS: action.numpy(),
        Columns.ACTION_LOGP: logp.numpy(),
        Columns.ACTION_DIST_INPUTS: logits.numpy(),
    }


class Decisions:
    """What rows saw, chose and were paid, until all their worlds are over.

    Args:
        rows: how many there are.
    """

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._who: list[NDArray[np.intp]] = []
        self._steps: list[int] = []
        self._seen: list[Tables] = []
        self._choices: list[Tables] = []
        self._paid: list[Float64] = []

    def chose(self, who: NDArray[np.intp], seen: Tables, choices: Tables) -> None:
        """Notes the choices of rows at the present step."""
        self._who.append(who)
        self._steps.append(len(self._paid))
        self._seen.append(seen)
        self._choices.append(choices)

    def paid(self, amount: Float64) -> None:
        """Notes what each row is paid for the present step, which ends; ``(rows,)``."""
        self._paid.append(amount)

    def episodes(
        self, observation: spaces.Space[Any], action: spaces.Space[Any]
    ) -> Iterator[tuple[int, SingleAgentEpisode]]:
        """Each row that decided anything, and its decisions; all have ended."""
        if not self._who:
            return
        row, step = np.concatenate(self._who), np.repeat(self._steps, [len(w) for w in self._who])
        order = np.argsort(row, kind="stable")
        row, step = row[order], step[order]
        total = np.concatenate((np.zeros((1, self._rows)), np.cumsum(self._paid, 0)))
        seen, choices = _joined(self._seen, order), _joined(self._choices, order)
        first = np.flatnonzero(np.diff(row, prepend=-1))
        for begin, end in zip(first, np.append(first[1:], len(row)), strict=True):
            until = np.append(step[begin + 1 : end], len(self._paid))
            reward = total[until, row[begin]] - total[step[begin:end], row[begin]]
            # After the last decision nothing is seen that counts: the episode has ended.
            kept = np.append(np.arange(begin, end), end - 1)
            made = {name: _buffer(table[begin:end]) for name, table in choices.items()}
            yield (
                int(row[begin]),
                SingleAgentEpisode(
                    observations=_buffer({name: table[kept] for name, table in seen.items()}),
                    observation_space=observation,
                    actions=made.pop(Columns.ACTIONS),
                    action_space=action,
                    rewards=_buffer(reward.astype(np.float32)),
                    infos=_buffer([{}] * (end - begin + 1)),
                    extra_model_outputs=made,
                    terminated=True,
                    t_started=0,
                    len_lookback_buffer=0,
                ),
            )


def _joined(tables: list[Tables], order: NDArray[np.intp]) -> Tables:
    return {name: np.concatenate([one[name] for one in tables])[order] for name in tables[0]}


def _buffer(data: Any) -> InfiniteLookbackBuffer:
    return InfiniteLookbackBuffer(data=data, lookback=0)
