"""The offloading network as RLlib's ``RLModule``: its default encoder refuses nested tables."""

from typing import Any

import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.utils import make_target_network
from ray.rllib.core.rl_module.apis.target_network_api import (
    TARGET_NETWORK_ACTION_DIST_INPUTS,
    TargetNetworkAPI,
)
from ray.rllib.core.rl_module.apis.value_function_api import ValueFunctionAPI
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from torch import Tensor

from fleetgym.agents.networks.offloading import OffloadNet, OffloadTables
from fleetgym.agents.rllib.networks import FORBIDDEN


class OffloadModule(TorchRLModule, ValueFunctionAPI, TargetNetworkAPI):  # type: ignore[misc]
    """A device's agent under distributed control: the no-op, then places."""

    def setup(self) -> None:
        """Builds the network; RLlib adds settings of its own to ``model_config``."""
        self.network = OffloadNet(self.model_config["width"])

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Tensor]:
        return {Columns.ACTION_DIST_INPUTS: _masked(self.network, batch[Columns.OBS])}

    def compute_values(self, batch: dict[str, Any], embeddings: Any = None) -> Tensor:
        """Values ``(B,)``."""
        return self.network.values(_tables(batch[Columns.OBS]))

    def make_target_networks(self) -> None:
        """The older network from which APPO measures how far it has gone."""
        self.old_network = make_target_network(self.network)

    def get_target_network_pairs(self) -> list[tuple[Any, Any]]:
        """The network, and what follows it."""
        return [(self.network, self.old_network)]

    def forward_target(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Logits of the older network."""
        return {TARGET_NETWORK_ACTION_DIST_INPUTS: _masked(self.old_network, batch[Columns.OBS])}


def _masked(network: OffloadNet, seen: dict[str, Tensor]) -> Tensor:
    """Logits ``(B, 1 + P)`` of the no-op and the places."""
    logits = network.logits(_tables(seen))
    whole = torch.cat((torch.zeros(len(logits), 1), logits), 1)
    return whole.masked_fill(seen["action_mask"] == 0, FORBIDDEN)


def _tables(seen: dict[str, Tensor]) -> OffloadTables:
    return OffloadTables(*(seen[name].float() for name in OffloadTables._fields))
