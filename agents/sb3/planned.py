"""A ``VecEnv`` of offloading that shows one device, and where planners would send its task."""

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from fleetgym.agents.offloading import ADVISORS, PlanAdvisors
from fleetgym.agents.sb3.vec_env import FleetVecEnv, Observation
from fleetgym.envs.core.vector import FleetVectorEnv
from fleetgym.envs.core.view import View

SHOWN = ("places", "progress", "action_mask")  # as they are


class PlannedVecEnv(FleetVecEnv):
    """`FleetVecEnv` whose tasks are those of the device that is asked, with ``"advice"`` (K,).

    The observation with which a world ended shows none (place 0): nothing is decided there.

    Args:
        env: as of `FleetVecEnv`; control is central, actions are places.
    """

    def __init__(self, env: FleetVectorEnv) -> None:
        super().__init__(env)
        self._advisors, self._view = PlanAdvisors(), View(env.simulator)
        known, actions = env.single_observation_space, env.single_action_space
        assert isinstance(known, spaces.Dict)
        assert isinstance(actions, spaces.Discrete)
        tasks = spaces.Box(0.0, 1.0, known["tasks"].shape[1:], np.float32)  # type: ignore[index]
        advice = spaces.Box(0, int(actions.n) - 1, (len(ADVISORS),), np.int64)
        shown = {name: known[name] for name in SHOWN}
        self.observation_space = spaces.Dict({"tasks": tasks, **shown, "advice": advice})

    def reset(self) -> Observation:
        """Starts every world, and the planners."""
        seen = super().reset()
        self._advisors.reset(self._view, np.arange(self.num_envs))
        return self._advised(seen)

    def step_wait(self) -> VecEnvStepReturn:
        """Steps all worlds."""
        seen, reward, done, infos = super().step_wait()
        for i in np.flatnonzero(done):
            ended = infos[i]["terminal_observation"]
            shown = {name: ended[name] for name in SHOWN}
            advice = np.zeros(len(ADVISORS), np.int64)
            infos[i]["terminal_observation"] = {
                "tasks": ended["tasks"][0],
                **shown,
                "advice": advice,
            }
        self._advisors.reset(self._view, np.flatnonzero(done))
        assert isinstance(seen, dict)
        return self._advised(seen), reward, done, infos

    def _advised(self, seen: Observation) -> Observation:
        worlds = np.arange(self.num_envs)
        tasks = seen["tasks"][worlds, seen["focus"].argmax(1)]
        advice = self._advisors.advise(self._view)[:, 0]
        return {"tasks": tasks, **{name: seen[name] for name in SHOWN}, "advice": advice}
