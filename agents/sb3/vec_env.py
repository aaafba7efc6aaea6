"""Stable-Baselines3's ``VecEnv`` straight over the batch: one call steps all worlds."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn

from fleetgym.envs.core.vector import FleetVectorEnv

Observation = dict[str, NDArray[Any]]


class FleetVecEnv(VecEnv):
    """The vector face as Stable-Baselines3 wants it.

    Observations are copies: SB3 keeps the last one across a step. Worlds that are over begin anew
    in the same step; ``info["terminal_observation"]`` is what they ended with, and
    ``info["episode"]`` their return and length.

    Args:
        env: of which the autoreset mode must be SAME_STEP and ``copy`` on.
    """

    def __init__(self, env: FleetVectorEnv) -> None:
        if env.metadata["autoreset_mode"] is not AutoresetMode.SAME_STEP:
            raise ValueError("FleetVecEnv needs an environment with autoreset_mode SAME_STEP")
        self.env = env
        self.render_mode = None
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)
        self._actions: Any = None
        self._returns = np.zeros(env.num_envs)
        self._lengths = np.zeros(env.num_envs, np.int64)
        self._began = time.time()

    def reset(self) -> Observation:
        """Starts every world; seeds are those of the last ``seed()`` call."""
        seeds = [None if seed is None else int(seed) for seed in self._seeds]
        given = seeds if any(seed is not None for seed in seeds) else None
        observation, info = self.env.reset(seed=given)
        self._reset_seeds()
        self._reset_options()
        self._returns[:], self._lengths[:] = 0.0, 0
        workload_seeds = info["workload_seed"]
        self.reset_infos = [{"workload_seed": int(seed)} for seed in workload_seeds]
        return observation

    def step_async(self, actions: NDArray[Any]) -> None:
        """Keeps the actions for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Steps all worlds."""
        observation, reward, terminated, truncated, info = self.env.step(self._actions)
        done = terminated | truncated
        self._returns += reward
        self._lengths += 1
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for i in np.flatnonzero(done):
            infos[i] = {
                "terminal_observation": info["final_obs"][i],
                "TimeLimit.truncated": bool(truncated[i] and not terminated[i]),
                "episode": {
                    "r": float(self._returns[i]),
                    "l": int(self._lengths[i]),
                    "t": time.time() - self._began,
                },
                "episode_metrics": {
                    name: float(value[i])
                    for name, value in info["final_info"]["episode_metrics"].items()
                    if not name.startswith("_")
                },
            }
        self._returns[done], self._lengths[done] = 0.0, 0
        return observation, reward.astype(np.float32), done, infos

    def now(self) -> NDArray[np.int64]:
        """The time of every world, ``(B,)`` ns."""
        return self.env.simulator.now()

    def action_masks(self) -> NDArray[np.bool_]:
        """The legal actions of every world, ``(B, n)``."""
        return self.env.action_masks()

    def env_method(
        self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any
    ) -> list[Any]:
        """``action_masks`` of the worlds; sb3-contrib asks for it by name.

        Raises:
            AttributeError: another method: worlds have none of their own.
        """
        if method_name != "action_masks":
            raise AttributeError(f"the worlds of a batch have no method {method_name!r}")
        masks = self.action_masks()
        return [masks[i] for i in self._get_indices(indices)]

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """The attribute of the vector environment, once for each world asked for."""
        value = getattr(self, attr_name) if attr_name == "action_masks" else None
        if value is None:
            value = getattr(self.env, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Worlds have no attributes of their own.

        Raises:
            AttributeError: always.
        """
        raise AttributeError(f"cannot set {attr_name!r} of single worlds of a batch")

    def env_is_wrapped(self, wrapper_class: type[Any], indices: VecEnvIndices = None) -> list[bool]:
        """Worlds of a batch are never wrapped singly."""
        return [False for _ in self._get_indices(indices)]

    def close(self) -> None:
        """Nothing is held."""

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """None: render one world by ``gymnasium.make``."""
        return [None] * self.num_envs
