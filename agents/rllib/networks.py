"""Networks of the agents of a serving cluster, of any number of requests and instances.

Each request (or instance) is encoded by itself; their sums and maxima, with what is known of the
whole, make the context; an action that points at one of them is scored from both.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fleetgym.envs.request_preemption.observe import (
    ARRIVAL_FEATURES,
    INSTANCE_FEATURES,
    REQUEST_FEATURES,
    WORLD_FEATURES,
)
from fleetgym.envs.request_preemption.types import MODES

RUNNING, WAITING, SWAPPED = (REQUEST_FEATURES.index(n) for n in ("running", "waiting", "swapped"))
FORBIDDEN = -1e9  # logit
FREE, QUEUED_BLOCKS = (INSTANCE_FEATURES.index(n) for n in ("free", "queued_blocks"))
# A fresh policy goes on, admits what fits, rarely preempts or migrates, and leans to instances that
# have room: at random it would learn from engines that thrash, and episodes without end.
GO_ON, ADMIT, PREEMPT, MIGRATE, ROOM = 2.0, 4.0, -6.0, -4.0, 6.0
CROWD = 32.0  # requests, or instances, by which sums are divided

Seen = Mapping[str, Tensor]


def _perceptron(inputs: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())


class InstanceNet(nn.Module):
    """Scores of an instance's actions, and the value of its state.

    Args:
        width: H, of every hidden layer.
        ways: of preemption that may be chosen: 1 or 2.
        pins: choices of a pin, 0 without turns.
    """

    def __init__(self, width: int, ways: int, pins: int) -> None:
        super().__init__()
        whole = len(INSTANCE_FEATURES) + len(WORLD_FEATURES)
        self.rows = _perceptron(len(REQUEST_FEATURES), width)
        self.context = _perceptron(3 * width + whole, width)
        self.key, self.query = nn.Linear(width, width), nn.Linear(width, width)
        self.point = nn.Linear(width, ways)
        self.fixed = nn.Linear(width, MODES + pins)
        self.value = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))
        with torch.no_grad():
            self.fixed.bias[0] += GO_ON

    def forward(self, seen: Seen) -> tuple[Tensor, Tensor]:
        """Logits ``(B, A)``, masked, and values ``(B,)``."""
        requests = seen["requests"]
        rows = self.rows(requests)
        running = requests[..., RUNNING : RUNNING + 1]
        queued = requests[..., WAITING : WAITING + 1] + requests[..., SWAPPED : SWAPPED + 1]
        sums = ((rows * running).sum(1) / CROWD, (rows * queued).sum(1) / CROWD)
        most = (rows * (running + queued)).amax(1)
        context = self.context(torch.cat((*sums, most, seen["instance"], seen["world"]), 1))
        hidden = torch.relu(self.key(rows) + self.query(context).unsqueeze(1))
        points = self.point(hidden) + running * PREEMPT + queued * ADMIT
        fixed = self.fixed(context)
        parts = (fixed[:, :MODES], points.transpose(1, 2).flatten(1), fixed[:, MODES:])
        return _masked(torch.cat(parts, 1), seen["action_mask"]), self.value(context).squeeze(1)


class RouterNet(nn.Module):
    """Scores of the router's actions, and the value of its state.

    Args:
        width: H, of every hidden layer.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        whole = len(ARRIVAL_FEATURES) + len(WORLD_FEATURES)
        self.rows = _perceptron(len(INSTANCE_FEATURES), width)
        self.context = _perceptron(2 * width + whole, width)
        self.key, self.query = nn.Linear(width, width), nn.Linear(width, width)
        self.target = nn.Linear(width, 1)
        self.lean = nn.Linear(len(INSTANCE_FEATURES), 1, bias=False)
        self.giver, self.taker = nn.Linear(width, width), nn.Linear(width, width)
        self.stay = nn.Linear(width, 1)
        self.value = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))
        with torch.no_grad():
            self.lean.weight.zero_()
            self.lean.weight[0, FREE], self.lean.weight[0, QUEUED_BLOCKS] = ROOM, -ROOM

    def forward(self, seen: Seen) -> tuple[Tensor, Tensor]:
        """Logits ``(B, 1 + I + I * I)``, masked, and values ``(B,)``."""
        rows = self.rows(seen["instances"])
        pooled = (rows.mean(1), rows.amax(1))
        context = self.context(torch.cat((*pooled, seen["arrival"], seen["world"]), 1))
        query = self.query(context).unsqueeze(1)
        targets = self.target(torch.relu(self.key(rows) + query)) + self.lean(seen["instances"])
        takers = torch.relu(self.taker(rows) + query)
        pairs = self.giver(rows) @ takers.transpose(1, 2) / rows.shape[2] ** 0.5 + MIGRATE
        logits = torch.cat((self.stay(context), targets.squeeze(2), pairs.flatten(1)), 1)
        return _masked(logits, seen["action_mask"]), self.value(context).squeeze(1)


def _masked(logits: Tensor, mask: Tensor) -> Tensor:
    return logits.masked_fill(mask == 0, FORBIDDEN)
