"""Networks of the agents of a serving cluster, of any number of requests and instances.

Each request (or instance) is encoded by itself; their sums and maxima, with what is known of the
whole, make the context. An action's score is what follows from the rules that advise it, the first
of which is trusted from the start, and a correction; an action that points at a request or an
instance is corrected from both. A fresh network corrects nothing: its likeliest action is the
first rule's. The value has a trunk of its own, so that it cannot disturb what is followed.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from fleetgym.agents.rllib.advisors import ADVISORS
from fleetgym.envs.request_preemption.observe import (
    ARRIVAL_FEATURES,
    INSTANCE_FEATURES,
    REQUEST_FEATURES,
    WORLD_FEATURES,
)
from fleetgym.envs.request_preemption.types import MODES

PRESENT, RUNNING, WAITING, SWAPPED = (
    REQUEST_FEATURES.index(n) for n in ("present", "running", "waiting", "swapped")
)
FORBIDDEN = -1e9  # logit
FOLLOW = 1.5  # logit of what the first rule advises, before training
CROWD = 32.0  # requests, or instances, by which sums are divided

Seen = Mapping[str, Tensor]


def _perceptron(inputs: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())


def _silent(inputs: int, outputs: int) -> nn.Linear:
    """A layer that says 0 until it has learnt."""
    layer = nn.Linear(inputs, outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _values(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))


def _told(advice: Tensor, first: int) -> Tensor:
    """What of the advice concerns the whole, ``(B, 2 ADVISORS)``: who differs, who points."""
    differs, points = advice != advice[:, :1], advice >= first
    return torch.cat((differs, points), 1).float()


def _pointed(advice: Tensor, first: int, rows: int) -> Tensor:
    """Which rules point at each row ``(B, rows, ADVISORS)``; ``first``: the action of row 0."""
    places = torch.arange(first, first + rows).reshape(1, rows, 1)
    return (advice.unsqueeze(1) == places).float()


def _followed(correction: Tensor, trust: Tensor, seen: Seen) -> Tensor:
    """Logits: corrections, what the rules are trusted, and the mask."""
    start = torch.zeros(ADVISORS)
    start[0] = FOLLOW
    logits = correction.scatter_add(1, seen["advice"], trust + start)
    return logits.masked_fill(seen["action_mask"] == 0, FORBIDDEN)


class _InstanceTrunk(nn.Module):
    """Encodes requests and what they make together."""

    def __init__(self, width: int) -> None:
        super().__init__()
        whole = len(INSTANCE_FEATURES) + len(WORLD_FEATURES) + 2 * ADVISORS
        self.rows = _perceptron(len(REQUEST_FEATURES) + ADVISORS, width)
        self.context = _perceptron(3 * width + whole, width)

    def forward(self, seen: Seen, requests: Tensor) -> tuple[Tensor, Tensor]:
        """Of each request ``(B, n, H)``, and of the whole ``(B, H)``."""
        pointed = _pointed(seen["advice"], MODES, requests.shape[1])
        rows = self.rows(torch.cat((requests, pointed), 2))
        running = requests[..., RUNNING : RUNNING + 1]
        queued = requests[..., WAITING : WAITING + 1] + requests[..., SWAPPED : SWAPPED + 1]
        sums = ((rows * running).sum(1) / CROWD, (rows * queued).sum(1) / CROWD)
        most = (rows * (running + queued)).amax(1)
        whole = (seen["instance"], seen["world"], _told(seen["advice"], MODES))
        return rows, self.context(torch.cat((*sums, most, *whole), 1))


class InstanceNet(nn.Module):
    """Scores of an instance's actions, and the value of its state.

    Args:
        width: H, of every hidden layer.
        ways: of preemption that may be chosen: 1 or 2.
        pins: choices of a pin, 0 without turns.
    """

    def __init__(self, width: int, ways: int, pins: int) -> None:
        super().__init__()
        self.actor, self.critic = _InstanceTrunk(width), _InstanceTrunk(width)
        self.key, self.query = nn.Linear(width, width), nn.Linear(width, width)
        self.point = _silent(width, ways)
        self.fixed = _silent(width, MODES + pins)
        self.trust = _silent(width, ADVISORS)
        self.value = _values(width)

    def logits(self, seen: Seen) -> Tensor:
        """Of actions ``(B, A)``, masked."""
        requests = _present(seen["requests"])
        rows, context = self.actor(seen, requests)
        hidden = torch.relu(self.key(rows) + self.query(context).unsqueeze(1))
        behind = seen["requests"].shape[1] - requests.shape[1]
        points = pad(self.point(hidden).transpose(1, 2), (0, behind)).flatten(1)
        fixed = self.fixed(context)
        correction = torch.cat((fixed[:, :MODES], points, fixed[:, MODES:]), 1)
        return _followed(correction, self.trust(context), seen)

    def values(self, seen: Seen) -> Tensor:
        """Of states, ``(B,)``."""
        _, context = self.critic(seen, _present(seen["requests"]))
        found: Tensor = self.value(context).squeeze(1)
        return found

    def forward(self, seen: Seen) -> tuple[Tensor, Tensor]:
        """Logits ``(B, A)`` and values ``(B,)``."""
        return self.logits(seen), self.values(seen)


def _present(requests: Tensor) -> Tensor:
    """Rows up to the last in which any of the batch has a request: cost follows these."""
    found = requests[..., PRESENT].any(0).nonzero()
    return requests[:, : int(found.max()) + 1 if len(found) else 1]


class _RouterTrunk(nn.Module):
    """Encodes instances and what they make together."""

    def __init__(self, width: int) -> None:
        super().__init__()
        whole = len(ARRIVAL_FEATURES) + len(WORLD_FEATURES) + 2 * ADVISORS
        self.rows = _perceptron(len(INSTANCE_FEATURES) + ADVISORS, width)
        self.context = _perceptron(2 * width + whole, width)

    def forward(self, seen: Seen) -> tuple[Tensor, Tensor]:
        """Of each instance ``(B, I, H)``, and of the whole ``(B, H)``."""
        instances = seen["instances"]
        pointed = _pointed(seen["advice"], 1, instances.shape[1])
        rows = self.rows(torch.cat((instances, pointed), 2))
        whole = (seen["arrival"], seen["world"], _told(seen["advice"], 1))
        return rows, self.context(torch.cat((rows.mean(1), rows.amax(1), *whole), 1))


class RouterNet(nn.Module):
    """Scores of the router's actions, and the value of its state.

    Args:
        width: H, of every hidden layer.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.actor, self.critic = _RouterTrunk(width), _RouterTrunk(width)
        self.key, self.query = nn.Linear(width, width), nn.Linear(width, width)
        self.target = _silent(width, 1)
        self.giver, self.taker = _silent(width, width), nn.Linear(width, width)
        self.stay = _silent(width, 1)
        self.trust = _silent(width, ADVISORS)
        self.value = _values(width)

    def logits(self, seen: Seen) -> Tensor:
        """Of actions ``(B, 1 + I + I * I)``, masked."""
        rows, context = self.actor(seen)
        query = self.query(context).unsqueeze(1)
        targets = self.target(torch.relu(self.key(rows) + query)).squeeze(2)
        takers = torch.relu(self.taker(rows) + query)
        pairs = self.giver(rows) @ takers.transpose(1, 2) / rows.shape[2] ** 0.5
        correction = torch.cat((self.stay(context), targets, pairs.flatten(1)), 1)
        return _followed(correction, self.trust(context), seen)

    def values(self, seen: Seen) -> Tensor:
        """Of states, ``(B,)``."""
        found: Tensor = self.value(self.critic(seen)[1]).squeeze(1)
        return found

    def forward(self, seen: Seen) -> tuple[Tensor, Tensor]:
        """Logits ``(B, 1 + I + I * I)`` and values ``(B,)``."""
        return self.logits(seen), self.values(seen)
