"""A pointer network over the requests of one serving instance, of any number.

Each request is encoded by itself; what runs and what waits, pooled apart, with the instance make
the context; a request is scored from both. Rows behind the last request of a batch are left out,
so that cost follows the requests present and not the slots.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from fleetgym.envs.request_preemption.observe import (
    INSTANCE_FEATURES,
    REQUEST_FEATURES,
    WORLD_FEATURES,
)
from fleetgym.envs.request_preemption.types import MODES

PRESENT, RUNNING, WAITING, SWAPPED, LACKING, BLOCKS_FULL, TOO_LATE = (
    REQUEST_FEATURES.index(name)
    for name in (
        "present",
        "running",
        "waiting",
        "swapped",
        "lacking",
        "blocks_full",
        "too_late",
    )
)
CROWD = 32.0  # requests by which the sum over those running is divided
COMPARED = 4  # numbers that set a request against the others that wait
FAR = 8.0  # by which a difference in blocks is stretched, up to 1
BEGUN = 2  # numbers of the iteration that is being put together, beside the pooled rows


class RequestTables(NamedTuple):
    """The observation of B instances as tensors."""

    requests: Tensor  # (B, N, len(REQUEST_FEATURES))
    instance: Tensor  # (B, len(INSTANCE_FEATURES))
    world: Tensor  # (B, len(WORLD_FEATURES))


def _perceptron(inputs: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())


class RequestNet(nn.Module):
    """Scores of going on and of each request, and the value of the state.

    Args:
        width: H, of every hidden layer.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        whole = len(INSTANCE_FEATURES) + len(WORLD_FEATURES) + BEGUN
        self.width = width
        self.rows = _perceptron(len(REQUEST_FEATURES) + COMPARED, width)
        self.context = _perceptron(4 * width + whole, 2 * width)
        self.key, self.query = nn.Linear(width, width), nn.Linear(2 * width, width)
        self.point = nn.Linear(width, 2)  # of one that runs, of one that does not
        self.modes = nn.Linear(2 * width, MODES)
        self.value = nn.Sequential(nn.Linear(2 * width, width), nn.ReLU(), nn.Linear(width, 1))

    def forward(self, seen: RequestTables) -> tuple[Tensor, Tensor]:
        """Logits ``(B, MODES + N)``, 0 where no request is, and values ``(B,)``."""
        slots = seen.requests.shape[1]
        present = seen.requests[..., PRESENT].any(0).nonzero()
        requests = seen.requests[:, : int(present.max()) + 1 if len(present) else 1]
        rows = self.rows(torch.cat((requests, _compared(requests)), 2))
        context = self.context(torch.cat((_pooled(rows, requests), seen.instance, seen.world), 1))
        hidden = torch.relu(self.key(rows) + self.query(context).unsqueeze(1))
        points = self.point(hidden)
        scores = torch.where(requests[..., RUNNING] > 0, points[..., 0], points[..., 1])
        scores = functional.pad(scores, (0, slots - scores.shape[1]))
        return torch.cat((self.modes(context), scores), 1), self.value(context).squeeze(1)


def _compared(requests: Tensor) -> Tensor:
    """How much more each request takes than the least that waits, and whether it is that one.

    Once among all, once among those that can still be in time: ``(B, N, COMPARED)``. A maximum
    over encoded rows would have to be learnt to say this, which takes long.
    """
    size = requests[..., BLOCKS_FULL]
    queued = (requests[..., WAITING] + requests[..., SWAPPED]) > 0
    timely = queued & (requests[..., TOO_LATE] == 0)
    parts = []
    for among in (queued, timely):
        least = size.masked_fill(~among, 1.0).amin(1, keepdim=True)
        more = (FAR * (size - least)).clamp(0, 1)
        parts += [more, (among & (size <= least)).float()]
    return torch.stack(parts, 2)


def _pooled(rows: Tensor, requests: Tensor) -> Tensor:
    """What runs (sum and maximum), what waits (mean and maximum), and the prefills begun."""
    running = requests[..., RUNNING : RUNNING + 1]
    waiting = requests[..., WAITING : WAITING + 1] + requests[..., SWAPPED : SWAPPED + 1]
    lacking = requests[..., LACKING] * running.squeeze(2)
    tokens = 512 * lacking / (1 - lacking).clamp(min=1e-3)  # as they were before the squash
    begun = torch.stack((tokens.sum(1) / 2048, (tokens > 1.5).sum(1) / CROWD), 1)
    parts = (
        (rows * running).sum(1) / CROWD,
        (rows * running).amax(1),
        (rows * waiting).sum(1) / waiting.sum(1).clamp(min=1),
        (rows * waiting).amax(1),
        begun,
    )
    return torch.cat(parts, 1)
