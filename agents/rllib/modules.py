"""The networks as RLlib's ``RLModule``: its default encoder refuses nested tables."""

from typing import Any

from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis.value_function_api import ValueFunctionAPI
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from torch import Tensor

from fleetgym.agents.rllib.networks import InstanceNet, RouterNet


class ServingModule(TorchRLModule, ValueFunctionAPI):  # type: ignore[misc]
    """An agent of a serving cluster; ``model_config`` says which, and of what size."""

    def setup(self) -> None:
        """Builds the network; RLlib adds settings of its own to ``model_config``."""
        role, *shape = (self.model_config[name] for name in ("role", "width", "ways", "pins"))
        self.network = build(role, *shape)

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Tensor]:
        return {Columns.ACTION_DIST_INPUTS: self.network.logits(batch[Columns.OBS])}

    def compute_values(self, batch: dict[str, Any], embeddings: Any = None) -> Tensor:
        """Values ``(B,)``."""
        found: Tensor = self.network.values(batch[Columns.OBS])
        return found


def build(role: str, width: int, ways: int, pins: int) -> RouterNet | InstanceNet:
    """The network of a role, "router" or "instance"."""
    return RouterNet(width) if role == "router" else InstanceNet(width, ways, pins)
