"""A network that chooses, for one serving instance of any number of requests, which rule to follow.

Each request is encoded by itself; what runs and what waits, pooled apart, with the instance make
the context. From it comes the gain of following each of some rules for a while, in requests that
meet their targets; an action is the likelier the more is gained by the rules that advise it. Rows
behind the last request of a batch are left out, so that cost follows the requests present and not
the slots.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fleetgym.agents.advisors import ADVISORS, COSTS
from fleetgym.envs.request_preemption.observe import (
    INSTANCE_FEATURES,
    REQUEST_FEATURES,
    WORLD_FEATURES,
)
from fleetgym.envs.request_preemption.types import MODES

PRESENT, RUNNING, WAITING, SWAPPED, LACKING, BLOCKS_FULL, TOO_LATE, STARTED, LATE_LEFT = (
    REQUEST_FEATURES.index(name)
    for name in (
        "present",
        "running",
        "waiting",
        "swapped",
        "lacking",
        "blocks_full",
        "too_late",
        "started",
        "late_left",
    )
)
CROWD = 32.0  # requests by which the sum over those running is divided
COMPARED = 4  # numbers that set a request against the others that wait
FAR = 8.0  # by which a difference in blocks is stretched, up to 1
BEGUN = 4  # numbers of the iteration that is being put together, beside the pooled rows
TEMPERATURE = 0.3  # requests gained that make a rule e times as likely, before training
NOBODY = -1e9  # logit of an action that no rule advises
FEW = 8.0  # requests by which the number of those that one more late gap loses is divided


class RequestTables(NamedTuple):
    """The observation of B instances as tensors."""

    requests: Tensor  # (B, N, len(REQUEST_FEATURES))
    instance: Tensor  # (B, len(INSTANCE_FEATURES))
    world: Tensor  # (B, len(WORLD_FEATURES))
    advice: Tensor  # (B, ADVISORS) int64: what each rule would do
    cost: Tensor  # (B, COSTS): requests that late gaps would lose


def _perceptron(inputs: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())


class _Trunk(nn.Module):
    """Encodes requests, and what they make together."""

    def __init__(self, width: int) -> None:
        super().__init__()
        whole = len(INSTANCE_FEATURES) + len(WORLD_FEATURES) + BEGUN + 2 * ADVISORS + 2 * COSTS
        self.rows = _perceptron(len(REQUEST_FEATURES) + COMPARED, width)
        self.context = _perceptron(4 * width + whole, 2 * width)

    def forward(self, requests: Tensor, rows: Tensor, seen: RequestTables) -> Tensor:
        """Of the whole ``(B, 2 H)``."""
        advice = seen.advice
        few = (seen.cost.clamp(max=1.0), (seen.cost / FEW).clamp(max=1.0))
        told = ((advice != advice[:, :1]).float(), (advice >= MODES).float(), *few)
        pooled = _pooled(self.rows(rows), requests)
        context: Tensor = self.context(torch.cat((pooled, seen.instance, seen.world, *told), 1))
        return context


class RequestNet(nn.Module):
    """What each rule gains, scores of actions, and the value of the state.

    Args:
        width: H, of every hidden layer.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.width = width
        self.actor, self.critic = _Trunk(width), _Trunk(width)
        self.gain = nn.Linear(2 * width, ADVISORS)
        self.value = nn.Sequential(nn.Linear(2 * width, width), nn.ReLU(), nn.Linear(width, 1))
        self.log_temperature = nn.Parameter(torch.tensor(math.log(TEMPERATURE)))

    def gains(self, seen: RequestTables) -> Tensor:
        """Requests that each rule gains over the first, ``(B, ADVISORS)``."""
        gain: Tensor = self.gain(self.actor(*_rows(seen), seen))
        return gain - gain[:, :1]

    def logits(self, seen: RequestTables) -> Tensor:
        """``(B, MODES + N)``: of each action the sum of the likelihoods of those that advise it."""
        likely = torch.log_softmax(self.gains(seen) / self.log_temperature.exp(), 1)
        actions = MODES + seen.requests.shape[1]
        total = torch.zeros(len(likely), actions).scatter_add(1, seen.advice, likely.exp())
        return torch.where(total > 0, total.clamp(min=1e-9).log(), NOBODY)

    def forward(self, seen: RequestTables) -> tuple[Tensor, Tensor]:
        """Logits ``(B, MODES + N)`` and values ``(B,)``."""
        value = self.value(self.critic(*_rows(seen), seen)).squeeze(1)
        return self.logits(seen), value


def _rows(seen: RequestTables) -> tuple[Tensor, Tensor]:
    """Requests as observed up to the last that is present, and with what compares them."""
    present = seen.requests[..., PRESENT].any(0).nonzero()
    requests = seen.requests[:, : int(present.max()) + 1 if len(present) else 1]
    return requests, torch.cat((requests, _compared(requests)), 2)


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
    """What runs (sum and maximum), what waits (mean and maximum), and the prefills begun.

    With the last go those running that one more late gap would lose: how many, and whether any.
    """
    running = requests[..., RUNNING : RUNNING + 1]
    waiting = requests[..., WAITING : WAITING + 1] + requests[..., SWAPPED : SWAPPED + 1]
    lacking = requests[..., LACKING] * running.squeeze(2)
    tokens = 512 * lacking / (1 - lacking).clamp(min=1e-3)  # as they were before the squash
    decodes = requests[..., RUNNING] * requests[..., STARTED]
    frail = decodes * ((requests[..., LATE_LEFT] == 0) & (requests[..., TOO_LATE] == 0))
    begun = torch.stack(
        (
            tokens.sum(1) / 2048,
            (tokens > 1.5).sum(1) / CROWD,
            (frail.sum(1) / FEW).clamp(max=1),
            frail.amax(1),
        ),
        1,
    )
    parts = (
        (rows * running).sum(1) / CROWD,
        (rows * running).amax(1),
        (rows * waiting).sum(1) / waiting.sum(1).clamp(min=1),
        (rows * waiting).amax(1),
        begun,
    )
    return torch.cat(parts, 1)
