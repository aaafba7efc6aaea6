"""A ``VecEnv`` that shows, beside each observation, what some rules would do."""

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from fleetgym.agents.advisors import ADVISORS, COSTS, Advisors
from fleetgym.agents.sb3.vec_env import FleetVecEnv, Observation
from fleetgym.envs.core.vector import FleetVectorEnv
from fleetgym.envs.core.view import View

ADVICE, COST = "advice", "cost"


class AdvisedVecEnv(FleetVecEnv):
    """`FleetVecEnv` whose observations have ``"advice"``, an action of each rule, and ``"cost"``.

    The observation with which a world ended shows none (action 0): nothing is decided there.

    Args:
        env: as of `FleetVecEnv`; control is central.
    """

    def __init__(self, env: FleetVectorEnv) -> None:
        super().__init__(env)
        self._advisors, self._view = Advisors(), View(env.simulator)
        known, actions = env.single_observation_space, env.single_action_space
        assert isinstance(known, spaces.Dict)
        assert isinstance(actions, spaces.Discrete)
        advice = spaces.Box(0, int(actions.n) - 1, (ADVISORS,), np.int64)
        cost = spaces.Box(0.0, np.inf, (COSTS,), np.float32)
        self.observation_space = spaces.Dict({**known.spaces, ADVICE: advice, COST: cost})

    def reset(self) -> Observation:
        """Starts every world, and the rules."""
        seen = super().reset()
        return self._advised(seen, np.arange(self.num_envs))

    def step_wait(self) -> VecEnvStepReturn:
        """Steps all worlds."""
        seen, reward, done, infos = super().step_wait()
        for i in np.flatnonzero(done):
            infos[i]["terminal_observation"] |= {
                ADVICE: np.zeros(ADVISORS, np.int64),
                COST: np.zeros(COSTS, np.float32),
            }
        assert isinstance(seen, dict)
        return self._advised(seen, np.flatnonzero(done)), reward, done, infos

    def _advised(self, seen: Observation, begun: NDArray[np.int64]) -> Observation:
        if len(begun):
            self._advisors.reset(self._view, begun)
        rules, view = self._advisors, self._view
        return {**seen, ADVICE: rules.advise(view), COST: rules.costs(view)}
