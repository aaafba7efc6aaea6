"""Where nothing is taught before MaskablePPO: a fresh network."""

import torch

from fleetgym.agents.config import TrainConfig
from fleetgym.agents.sb3.policy import POLICIES
from fleetgym.agents.weights import Network
from fleetgym.envs.core.registration import family_of


class Fresh:
    """The network of the environment's family, as it is made.

    Args:
        config: of the run.
    """

    def __init__(self, config: TrainConfig) -> None:
        torch.manual_seed(config.seed)
        self._network = POLICIES[family_of(config.id).folder].kind(config.width)
        self.curve: list[dict[str, str | float]] = []

    def run(self) -> Network:
        """The network."""
        return self._network
