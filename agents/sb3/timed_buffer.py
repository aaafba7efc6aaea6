"""A rollout buffer that discounts by the time that passes between two actions."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sb3_contrib.common.maskable.buffers import MaskableDictRolloutBuffer
from torch import Tensor

NS_PER_S = 1e9


class TimedRolloutBuffer(MaskableDictRolloutBuffer):
    """Advantages and returns under ``exp(-elapsed / horizon)``: 1 between edits of one instant.

    Args:
        args: of MaskableDictRolloutBuffer.
        clock: the time of each world now, ``(n_envs,)`` ns.
        horizon_s: seconds over which a reward falls to 1 / e of its worth.
        kwargs: of MaskableDictRolloutBuffer.
    """

    def __init__(
        self,
        *args: Any,
        clock: Callable[[], NDArray[np.int64]],
        horizon_s: float,
        **kwargs: Any,
    ) -> None:
        self._clock, self._horizon_ns = clock, horizon_s * NS_PER_S
        super().__init__(*args, **kwargs)

    def reset(self) -> None:
        """Empties the buffer."""
        super().reset()
        self._discounts = np.ones((self.buffer_size, self.n_envs), np.float32)
        self._before = self._clock().copy()

    def begin(self) -> None:
        """Notes the time at which a rollout begins."""
        self._before = self._clock().copy()

    def add(self, *args: Any, **kwargs: Any) -> None:
        """Keeps a step of every world, after it was taken; a world begun anew starts at 0."""
        now = self._clock()
        elapsed = np.maximum(0, now - self._before)
        self._discounts[self.pos] = np.exp(-elapsed / self._horizon_ns)
        self._before = now.copy()
        super().add(*args, **kwargs)

    def compute_returns_and_advantage(self, last_values: Tensor, dones: NDArray[np.bool_]) -> None:
        """GAE with a discount for each step; see the class it overrides."""
        following = last_values.detach().cpu().numpy().flatten()
        goes_on = 1.0 - dones.astype(np.float32)
        advantage = np.zeros(self.n_envs, np.float32)
        for step in reversed(range(self.buffer_size)):
            kept = self._discounts[step] * goes_on
            delta = self.rewards[step] + kept * following - self.values[step]
            advantage = delta + kept * self.gae_lambda * advantage
            self.advantages[step] = advantage
            following = self.values[step]
            goes_on = 1.0 - self.episode_starts[step]
        self.returns = self.advantages + self.values
