"""The replay: the last steps of every world, each kept once."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fleetgym.agents.com_ddpg.memory import LAGS, Float32, Int64


class Transitions(NamedTuple):
    """A batch: what was seen, done and paid, and what was seen next."""

    now: Tensor  # (B, T, U, X)
    heard: Tensor  # (B, T, U, X)
    action: Tensor  # (B, U, A)
    reward: Tensor  # (B, U)
    goes_on: Tensor  # (B,) 0 where the episode ended
    next_now: Tensor
    next_heard: Tensor


class Replay:
    """Steps of B worlds, in rings of one length.

    Args:
        length: of a ring.
        history: T.
    """

    def __init__(self, length: int, history: int) -> None:
        self._length, self._history, self._count = length, history, 0
        self._fields: dict[str, NDArray[np.float32]] = {}
        self._lag = np.zeros((0, length), np.int64)
        self._episode = np.zeros((0, length), np.int64)

    def add(self, fields: dict[str, Float32], lag: Int64, episode: Int64) -> None:
        """Keeps a step of every world.

        Args:
            fields: "seen" ``(B, U, X)``, "action" ``(B, U, A)``, "reward" ``(B, U)``,
                "goes_on" ``(B,)``.
            lag: as `Memory.note` said, ``(B,)``.
            episode: number of the world's episode, ``(B,)``.
        """
        if not self._fields:
            shape = (len(lag), self._length)
            self._fields = {
                name: np.zeros((*shape, *value.shape[1:]), np.float32)
                for name, value in fields.items()
            }
            self._lag, self._episode = np.zeros(shape, np.int64), np.full(shape, -1)
        at = self._count % self._length
        for name, value in fields.items():
            self._fields[name][:, at] = value
        self._lag[:, at], self._episode[:, at] = lag, episode
        self._count += 1

    def draw(self, size: int, rng: np.random.Generator) -> Transitions:
        """Transitions whose next step is known."""
        kept = min(self._count, self._length)
        oldest = self._count - kept
        world = rng.integers(len(self._lag), size=size)
        step = oldest + rng.integers(kept - 1, size=size)
        at = step % self._length
        fields = self._fields
        return Transitions(
            *self._windows(world, step),
            torch.from_numpy(fields["action"][world, at]),
            torch.from_numpy(fields["reward"][world, at]),
            torch.from_numpy(fields["goes_on"][world, at]),
            *self._windows(world, step + 1),
        )

    def _windows(self, world: Int64, step: Int64) -> tuple[Tensor, Tensor]:
        lag = self._lag[world, step % self._length]
        now = self._window(world, step, step)
        heard = self._window(world, step - lag, step)
        heard[lag == LAGS] = 0.0
        return torch.from_numpy(now), torch.from_numpy(heard)

    def _window(self, world: Int64, last: Int64, of: Int64) -> Float32:
        """``(B, T, U, X)`` up to ``last``, of the episode in which step ``of`` is; 0 elsewhere."""
        steps = last[:, None] + np.arange(1 - self._history, 1)
        oldest = self._count - min(self._count, self._length)
        at = steps % self._length
        rows = world[:, None]
        same = self._episode[rows, at] == self._episode[world, of % self._length][:, None]
        found: Float32 = self._fields["seen"][rows, at]
        found[~same | (steps < oldest)] = 0.0
        return found
