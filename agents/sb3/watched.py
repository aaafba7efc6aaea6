"""A ``VecEnv`` of expert caches that shows what the cache network looks at."""

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from fleetgym.agents.cache_features import CANDIDATE, ROUTING, Watcher, state_of
from fleetgym.agents.sb3.vec_env import FleetVecEnv, Observation
from fleetgym.envs.core.vector import FleetVectorEnv
from fleetgym.envs.core.view import View
from fleetgym.envs.expert_cache.types import EVENT, State

SHOWN = ("progress", "action_mask")  # of the observation
NS_PER_STEP = 1e9


class WatchedVecEnv(FleetVecEnv):
    """`FleetVecEnv` whose observations are candidates, routing, progress and mask.

    The observation with which a world ended shows candidates and routing of zeros: nothing is
    decided there.

    Args:
        env: of expert caches without prefetch, as of `FleetVecEnv`.
    """

    def __init__(self, env: FleetVectorEnv) -> None:
        super().__init__(env)
        self._view, self._watcher = View(env.simulator), Watcher()
        known = env.single_observation_space
        assert isinstance(known, spaces.Dict)
        (slots,) = known["action_mask"].shape or ()
        whole = {name: known[name] for name in SHOWN}
        whole["candidates"] = _unbounded((slots, len(CANDIDATE)))
        whole["routing"] = _unbounded((len(ROUTING),))
        self.observation_space = spaces.Dict(whole)

    def now(self) -> NDArray[np.int64]:
        """A clock by which a step through all layers takes a second, ``(B,)`` ns.

        Rewards are minus the time or minus 1 a miss: by the simulated time, or by the number of
        decisions, discounted sums of them would all be alike.
        """
        state = self._state()
        layers = state.table.shape[1]
        return np.asarray(state.scalars[:, EVENT] * (NS_PER_STEP / layers), np.int64)

    def reset(self) -> Observation:
        """Starts every world."""
        return self._watched(super().reset(), np.arange(self.num_envs))

    def step_wait(self) -> VecEnvStepReturn:
        """Steps all worlds."""
        seen, reward, done, infos = super().step_wait()
        for i in np.flatnonzero(done):
            known = self.observation_space
            assert isinstance(known, spaces.Dict)
            ended = infos[i]["terminal_observation"]
            infos[i]["terminal_observation"] = {
                name: ended.get(name, np.zeros(space.shape or (), np.float32))
                for name, space in known.spaces.items()
            }
        assert isinstance(seen, dict)
        return self._watched(seen, np.flatnonzero(done)), reward, done, infos

    def _state(self) -> State:
        return state_of(self._view)

    def _watched(self, seen: Observation, begun: NDArray[np.int64]) -> Observation:
        state = self._state()
        if len(begun):
            self._watcher.begin(state, begun)
        tables: dict[str, Any] = self._watcher.look(state, np.arange(self.num_envs))._asdict()
        return {**{name: seen[name] for name in SHOWN}, **tables}


def _unbounded(shape: tuple[int, ...]) -> spaces.Box:
    return spaces.Box(-np.inf, np.inf, shape, np.float32)
