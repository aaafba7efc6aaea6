"""A ``VecEnv`` of offloading that shows of all devices the one whose task is asked about."""

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from fleetgym.agents.sb3.vec_env import FleetVecEnv, Observation
from fleetgym.envs.core.vector import FleetVectorEnv

SHOWN = ("places", "progress", "action_mask")  # as they are


class FocusedVecEnv(FleetVecEnv):
    """`FleetVecEnv` whose tasks are those of one device.

    Args:
        env: as of `FleetVecEnv`; control is central, actions are places.
    """

    def __init__(self, env: FleetVectorEnv) -> None:
        super().__init__(env)
        known = env.single_observation_space
        assert isinstance(known, spaces.Dict)
        every = known["tasks"].shape
        assert every is not None
        tasks = spaces.Box(0.0, 1.0, every[1:], np.float32)
        shown = {name: known[name] for name in SHOWN}
        self.observation_space = spaces.Dict({"tasks": tasks, **shown})

    def reset(self) -> Observation:
        """Starts every world."""
        return _focused(super().reset())

    def step_wait(self) -> VecEnvStepReturn:
        """Steps all worlds."""
        seen, reward, done, infos = super().step_wait()
        for i in np.flatnonzero(done):
            ended = infos[i]["terminal_observation"]
            alone = _focused({name: table[None] for name, table in ended.items()})
            infos[i]["terminal_observation"] = {name: table[0] for name, table in alone.items()}
        assert isinstance(seen, dict)
        return _focused(seen), reward, done, infos


def _focused(seen: Observation) -> Observation:
    worlds, device = np.arange(len(seen["tasks"])), seen["focus"].argmax(1)
    return {"tasks": seen["tasks"][worlds, device], **{name: seen[name] for name in SHOWN}}
