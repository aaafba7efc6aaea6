"""A ``VecEnv`` of one expert placement whose actions are styles of the layers, for a window."""

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from fleetgym.agents.following import Follower, Twin
from fleetgym.agents.networks.experts import ExpertNet
from fleetgym.agents.placement import TABLES, TRAINING_SAMPLES, Hands
from fleetgym.agents.sb3.vec_env import FleetVecEnv, Observation
from fleetgym.agents.styles import STYLES
from fleetgym.envs.core.vector import FleetVectorEnv
from fleetgym.envs.expert_placement.scenario import ExpertPlacementScenario


class StyledVecEnv(FleetVecEnv):
    """`FleetVecEnv` of one world whose steps are windows, paid beside those of its twin.

    Args:
        env: of one world of expert placement under central edits, as of `FleetVecEnv`.
        network: forecasts; it does not learn here.
    """

    def __init__(self, env: FleetVectorEnv, network: ExpertNet) -> None:
        super().__init__(env)
        scenario, known = env.scenario, env.single_observation_space
        assert isinstance(scenario, ExpertPlacementScenario)
        assert isinstance(known, spaces.Dict)
        assert env.num_envs == 1
        self._layers = scenario.layers
        self.observation_space = spaces.Dict({name: known[name] for name in TABLES})
        self.action_space = spaces.MultiDiscrete([len(STYLES)] * self._layers)
        hands = Hands(network, TRAINING_SAMPLES)
        self._follower = Follower(env.simulator, hands)
        self._twin = Twin(env.simulator.like(1), hands, self._layers)

    def reset(self) -> Observation:
        """Starts the world."""
        seen = super().reset()
        self._begin()
        return {name: seen[name] for name in TABLES}

    def _begin(self) -> None:
        self._follower.begin()
        self._twin.begin(self.env.simulator.workloads[0])

    def step_wait(self) -> VecEnvStepReturn:
        """Serves a window."""
        window, paid, over = self._follower.window(), 0.0, False
        self._follower.plan(np.asarray(self._actions)[0].tolist())
        while not over and self._follower.window() == window:
            super().step_async(self._follower.act())
            seen, reward, done, infos = super().step_wait()
            paid, over = paid + float(reward[0]), bool(done[0])
        assert isinstance(seen, dict)
        better = self._twin.better(window, paid)
        if over:
            ended: Observation = infos[0]["terminal_observation"]
            infos[0]["terminal_observation"] = {name: ended[name] for name in TABLES}
            self._begin()
        shown = {name: seen[name] for name in TABLES}
        return shown, np.array([better], np.float32), np.array([over]), infos

    def action_masks(self) -> NDArray[np.bool_]:
        """Every style may be chosen."""
        return np.ones((1, self._layers * len(STYLES)), np.bool_)
