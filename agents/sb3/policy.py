"""The networks as policies of sb3-contrib's MaskablePPO."""

from typing import Any

import torch
from gymnasium import spaces
from sb3_contrib.common.maskable.distributions import MaskableDistribution
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import Tensor

from fleetgym.agents.networks.cache import CacheNet, CacheTables
from fleetgym.agents.networks.experts import ExpertNet
from fleetgym.agents.networks.fleet import FleetNet, Observation
from fleetgym.agents.networks.offloading import OffloadNet, OffloadTables
from fleetgym.agents.networks.requests import RequestNet, RequestTables
from fleetgym.agents.weights import Network
from fleetgym.envs.vm_rescheduling.types import VM_CHOSEN


class TablePolicy(MaskableActorCriticPolicy):
    """Actor and critic in one network; the observation's tables go to it as they are.

    Attributes:
        kind: of network.
        network: made by the width alone.
    """

    kind: type[Network]
    network: Network

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        width: int = 32,
        **kwargs: Any,
    ) -> None:
        self._width = width
        super().__init__(observation_space, action_space, lr_schedule, **kwargs)

    def _build(self, lr_schedule: Schedule) -> None:
        self.network = self.kind(self._width)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr_schedule(1))

    def _look(self, obs: PyTorchObs) -> tuple[Tensor, Tensor]:
        """Logits ``(B, n)`` of the flat action, and values ``(B, 1)``."""
        raise NotImplementedError

    def _masked(self, logits: Tensor, action_masks: Any) -> MaskableDistribution:
        distribution = self.action_dist.proba_distribution(action_logits=logits)
        if action_masks is not None:
            distribution.apply_masking(action_masks)
        return distribution

    def forward(
        self, obs: PyTorchObs, deterministic: bool = False, action_masks: Any = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Actions, values and log-probabilities."""
        logits, values = self._look(obs)
        distribution = self._masked(logits, action_masks)
        actions = distribution.get_actions(deterministic=deterministic)
        return actions, values, distribution.log_prob(actions)

    def evaluate_actions(
        self, obs: PyTorchObs, actions: Tensor, action_masks: Any = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Values, log-probabilities and entropy of actions taken."""
        logits, values = self._look(obs)
        distribution = self._masked(logits, action_masks)
        return values, distribution.log_prob(actions), distribution.entropy()

    def get_distribution(self, obs: PyTorchObs, action_masks: Any = None) -> MaskableDistribution:
        """The masked distribution over actions."""
        return self._masked(self._look(obs)[0], action_masks)

    def predict_values(self, obs: PyTorchObs) -> Tensor:
        """Values ``(B, 1)``."""
        return self._look(obs)[1]

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {**super()._get_constructor_parameters(), "width": self._width}


class FleetPolicy(TablePolicy):
    """A `FleetNet`: which VM, then where to."""

    kind = FleetNet
    network: FleetNet

    def _look(self, obs: PyTorchObs) -> tuple[Tensor, Tensor]:
        assert isinstance(obs, dict)
        seen = Observation(
            obs["pms"].float(), obs["vms"].float(), obs["vm_host"].long(), obs["progress"].float()
        )
        encoding = self.network.encode(seen)
        fleet = self.network.summary(encoding, seen.progress)
        chosen = seen.vms[..., VM_CHOSEN].argmax(1)
        logits = (
            self.network.score_vms(encoding, fleet),
            self.network.score_slots(encoding, fleet, seen, chosen),
        )
        return torch.cat(logits, 1), self.network.values(fleet).unsqueeze(1)


class RequestPolicy(TablePolicy):
    """A `RequestNet`: one edit of the running set, or going on."""

    kind = RequestNet
    network: RequestNet

    def _look(self, obs: PyTorchObs) -> tuple[Tensor, Tensor]:
        assert isinstance(obs, dict)
        seen = RequestTables(
            obs["requests"], obs["instances"][:, 0], obs["world"], obs["advice"].long(), obs["cost"]
        )
        logits, values = self.network(seen)
        return logits, values.unsqueeze(1)


class CachePolicy(TablePolicy):
    """A `CacheNet`: which candidate is left out of the cache."""

    kind = CacheNet
    network: CacheNet

    def _look(self, obs: PyTorchObs) -> tuple[Tensor, Tensor]:
        assert isinstance(obs, dict)
        seen = CacheTables(
            obs["candidates"], obs["routing"], obs["progress"], obs["action_mask"].float()
        )
        logits, values = self.network(seen)
        return logits, values.unsqueeze(1)


class LayerPolicy(TablePolicy):
    """An `ExpertNet`, shared by the layers: a style of each."""

    kind = ExpertNet
    network: ExpertNet

    def _look(self, obs: PyTorchObs) -> tuple[Tensor, Tensor]:
        assert isinstance(obs, dict)
        count, layers = obs["layers"].shape[:2]
        progress = obs["progress"].repeat_interleave(layers, 0)
        logits, values = self.network.decide(
            obs["experts"].flatten(0, 1), obs["layers"].flatten(0, 1), progress
        )
        return logits.reshape(count, -1), values.reshape(count, -1).mean(1, keepdim=True)


class OffloadPolicy(TablePolicy):
    """An `OffloadNet`: the place of one task."""

    kind = OffloadNet
    network: OffloadNet

    def _look(self, obs: PyTorchObs) -> tuple[Tensor, Tensor]:
        assert isinstance(obs, dict)
        seen = OffloadTables(obs["tasks"], obs["places"], obs["progress"])
        logits, values = self.network(seen)
        return logits, values.unsqueeze(1)


POLICIES: dict[str, type[TablePolicy]] = {
    "vm_rescheduling": FleetPolicy,
    "request_preemption": RequestPolicy,
    "expert_cache": CachePolicy,
    "expert_placement": LayerPolicy,
    "mec_offloading": OffloadPolicy,
}
