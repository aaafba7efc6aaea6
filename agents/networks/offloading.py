"""A network that places a task of a device: on itself, on a server, or in the cloud.

It sees what the device's agent sees: the device's tasks, the places as they look for the task that
is asked about, and where planners would send it. Each place is encoded with the context and scored;
a fresh network corrects nothing: its likeliest action is the first planner's, or where it knows of
none, the place where the task is seen to end first. One network serves any number of tasks, servers
and devices, under central and distributed control.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from fleetgym.envs.mec_offloading.types import PLACE_FEATURES, PROGRESS, TASK_FEATURES

ASKED, CYCLES = TASK_FEATURES.index("asked"), TASK_FEATURES.index("cycles")
END = PLACE_FEATURES.index("end")
FOLLOW = 1.0  # logit of what the first planner advises, before training
GREED = 20.0  # logits by which a place falls behind for each unit of the end, without planners


class OffloadTables(NamedTuple):
    """What B agents see, each of whom is asked about a task."""

    tasks: Tensor  # (B, N, len(TASK_FEATURES)) of the device
    places: Tensor  # (B, P, len(PLACE_FEATURES))
    progress: Tensor  # (B, len(PROGRESS))
    advice: Tensor  # (B, K) int64: the place that each planner would choose


def perceptron(inputs: int, width: int) -> nn.Sequential:
    """Two hidden layers."""
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())


class Context(nn.Module):
    """Encodes a device's tasks and progress: ``(B, N, F)`` and ``(B, F)`` to ``(B, H)``."""

    def __init__(self, width: int, extra: int = 0) -> None:
        super().__init__()
        self.rows = perceptron(len(TASK_FEATURES), width)
        inputs = 2 * width + len(TASK_FEATURES) + len(PROGRESS) + extra
        self.whole = perceptron(inputs, width)

    def forward(self, tasks: Tensor, *told: Tensor) -> Tensor:
        """``told``: progress, and whatever else is known of the whole."""
        present = (tasks[..., CYCLES : CYCLES + 1] > 0).float()
        rows = self.rows(tasks) * present
        asked = (tasks * tasks[..., ASKED : ASKED + 1]).sum(1)
        mean = rows.sum(1) / present.sum(1).clamp(min=1)
        found: Tensor = self.whole(torch.cat((mean, rows.amax(1), asked, *told), 1))
        return found


class OffloadNet(nn.Module):
    """Scores of places, and the value of the situation.

    Args:
        width: H, of every hidden layer.
        planners: K, that advise.
    """

    def __init__(self, width: int, planners: int = 2) -> None:
        super().__init__()
        self.width, self.planners = width, planners
        self.actor, self.critic = Context(width), Context(width)
        self.place = perceptron(len(PLACE_FEATURES) + planners + width, width)
        self.score = nn.Linear(width, 1)
        self.trust = nn.Linear(width, planners) if planners else None
        self.seen = perceptron(len(PLACE_FEATURES), width)
        self.value = nn.Sequential(perceptron(2 * width, width), nn.Linear(width, 1))
        for layer in (self.score, self.trust):
            if layer is not None:
                nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)
        if self.trust is not None:
            with torch.no_grad():
                self.trust.bias[0] = FOLLOW

    def logits(self, seen: OffloadTables) -> Tensor:
        """Of places, ``(B, P)``, without the mask."""
        context = self.actor(seen.tasks, seen.progress)
        count = seen.places.shape[1]
        numbers = torch.arange(count).reshape(1, count, 1)
        advised = (seen.advice.unsqueeze(1) == numbers).float()
        every = context.unsqueeze(1).expand(-1, count, -1)
        places = self.place(torch.cat((seen.places, advised, every), 2))
        if self.trust is None:
            start = -GREED * seen.places[..., END]
        else:
            start = (advised * self.trust(context).unsqueeze(1)).sum(2)
        scores: Tensor = start + self.score(places).squeeze(2)
        return scores

    def values(self, seen: OffloadTables) -> Tensor:
        """Of situations, ``(B,)``."""
        places = self.seen(seen.places).mean(1)
        told = torch.cat((self.critic(seen.tasks, seen.progress), places), 1)
        found: Tensor = self.value(told).squeeze(1)
        return found

    def forward(self, seen: OffloadTables) -> tuple[Tensor, Tensor]:
        """Logits ``(B, P)`` and values ``(B,)``."""
        return self.logits(seen), self.values(seen)


class AloneNet(OffloadNet):
    """An `OffloadNet` that nobody advises."""

    def __init__(self, width: int) -> None:
        super().__init__(width, 0)
