"""A network that places a task of a device: on itself, on a server, or in the cloud.

It sees what the device's agent sees: the device's tasks, and the places as they look for the task
that is asked about. Each place is encoded with the context and scored; a fresh network corrects
nothing: its likeliest action is the place where the task is seen to end first. One network serves
any number of tasks, servers and devices, under central and distributed control.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from fleetgym.envs.mec_offloading.types import PLACE_FEATURES, PROGRESS, TASK_FEATURES

ASKED, CYCLES = TASK_FEATURES.index("asked"), TASK_FEATURES.index("cycles")
END = PLACE_FEATURES.index("end")
GREED = 20.0  # logits by which a place falls behind for each unit of the end, before training


class OffloadTables(NamedTuple):
    """What B agents see, each of whom is asked about a task."""

    tasks: Tensor  # (B, N, len(TASK_FEATURES)) of the device
    places: Tensor  # (B, P, len(PLACE_FEATURES))
    progress: Tensor  # (B, len(PROGRESS))


def _perceptron(inputs: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())


class _Context(nn.Module):
    """Encodes a device's tasks and progress, ``(B, H)``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.rows = _perceptron(len(TASK_FEATURES), width)
        self.whole = _perceptron(2 * width + len(TASK_FEATURES) + len(PROGRESS), width)

    def forward(self, seen: OffloadTables) -> Tensor:
        present = (seen.tasks[..., CYCLES : CYCLES + 1] > 0).float()
        rows = self.rows(seen.tasks) * present
        asked = (seen.tasks * seen.tasks[..., ASKED : ASKED + 1]).sum(1)
        mean = rows.sum(1) / present.sum(1).clamp(min=1)
        told = torch.cat((mean, rows.amax(1), asked, seen.progress), 1)
        found: Tensor = self.whole(told)
        return found


class OffloadNet(nn.Module):
    """Scores of places, and the value of the situation.

    Args:
        width: H, of every hidden layer.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.actor, self.critic = _Context(width), _Context(width)
        self.place = _perceptron(len(PLACE_FEATURES) + width, width)
        self.score = nn.Linear(width, 1)
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.score.bias)
        self.seen = _perceptron(len(PLACE_FEATURES), width)
        self.value = nn.Sequential(_perceptron(2 * width, width), nn.Linear(width, 1))

    def logits(self, seen: OffloadTables) -> Tensor:
        """Of places, ``(B, P)``, without the mask."""
        every = self.actor(seen).unsqueeze(1).expand(-1, seen.places.shape[1], -1)
        places = self.place(torch.cat((seen.places, every), 2))
        scores: Tensor = self.score(places).squeeze(2) - GREED * seen.places[..., END]
        return scores

    def values(self, seen: OffloadTables) -> Tensor:
        """Of situations, ``(B,)``."""
        places = self.seen(seen.places).mean(1)
        found: Tensor = self.value(torch.cat((self.critic(seen), places), 1)).squeeze(1)
        return found

    def forward(self, seen: OffloadTables) -> tuple[Tensor, Tensor]:
        """Logits ``(B, P)`` and values ``(B,)``."""
        return self.logits(seen), self.values(seen)
