"""Several ``VecEnv``s of the same spaces as one: worlds of different scenarios side by side."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn

from fleetgym.agents.sb3.vec_env import FleetVecEnv, Observation


class JoinedVecEnv(VecEnv):
    """The worlds of all parts, in their order.

    Args:
        parts: of the same observation and action spaces.
    """

    def __init__(self, parts: Sequence[FleetVecEnv]) -> None:
        first = parts[0]
        for part in parts[1:]:
            if (part.observation_space, part.action_space) != (
                first.observation_space,
                first.action_space,
            ):
                raise ValueError("batches that are learnt on together need the same spaces")
        self.parts, self.render_mode = tuple(parts), None
        self._ends = np.cumsum([part.num_envs for part in parts])
        total = int(self._ends[-1])
        super().__init__(total, first.observation_space, first.action_space)

    def now(self) -> NDArray[np.int64]:
        """The time of every world, ns."""
        return np.concatenate([part.now() for part in self.parts])

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Seeds of all worlds at their next reset: one after the other."""
        seeds: list[int | None] = []
        for part in self.parts:
            seeds += part.seed(None if seed is None else seed + len(seeds))
        return seeds

    def reset(self) -> Observation:
        """Starts every world."""
        return _together([part.reset() for part in self.parts])

    def step_async(self, actions: NDArray[Any]) -> None:
        """Hands every part its actions."""
        for part, given in zip(self.parts, np.split(actions, self._ends[:-1]), strict=True):
            part.step_async(given)

    def step_wait(self) -> VecEnvStepReturn:
        """Steps all worlds."""
        seen, rewards, dones, infos = zip(*(part.step_wait() for part in self.parts), strict=True)
        told = [info for part in infos for info in part]
        return _together(seen), np.concatenate(rewards), np.concatenate(dones), told

    def action_masks(self) -> NDArray[np.bool_]:
        """The legal actions of every world, ``(B, n)``."""
        return np.concatenate([part.action_masks() for part in self.parts])

    def env_method(
        self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any
    ) -> list[Any]:
        """As of `FleetVecEnv`."""
        found: list[Any] = []
        for part in self.parts:
            found += part.env_method(method_name, *args, **kwargs)
        return [found[i] for i in self._get_indices(indices)]

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """As of `FleetVecEnv`."""
        found = [value for part in self.parts for value in part.get_attr(attr_name)]
        return [found[i] for i in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """As of `FleetVecEnv`.

        Raises:
            AttributeError: always.
        """
        self.parts[0].set_attr(attr_name, value)

    def env_is_wrapped(self, wrapper_class: type[Any], indices: VecEnvIndices = None) -> list[bool]:
        """Worlds of a batch are never wrapped singly."""
        return [False for _ in self._get_indices(indices)]

    def close(self) -> None:
        """Nothing is held."""


def _together(seen: Sequence[Any]) -> Observation:
    return {name: np.concatenate([part[name] for part in seen]) for name in seen[0]}
