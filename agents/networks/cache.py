"""A pointer network over the candidates of a cache miss, of any number.

Each candidate, a slot's tenant or the missed expert, is encoded by itself: its worth is the logit
of its being asked for soon. The one worth least is the likeliest to be left out. What an admission
costs beyond that (a copy over PCIe, which may be busy) is weighed from where the event stands.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from fleetgym.agents.cache_features import CANDIDATE, ROUTING
from fleetgym.envs.expert_cache.types import PROGRESS

PCIE = PROGRESS.index("pcie")
COMPARED = 4  # numbers that set the candidates against each other
CLOSED = 30.0  # worth of a tenant whose slot is closed: it stays
SHARPNESS = 12.0  # of choices when learning begins
SCALE = 64.0  # of values
# What an admission costs when learning begins, and how much more by each log(1 + copies queued):
# of a grid the best on training workloads. With too little PCIe is full for good, and where it is
# one admission more costs nothing: rewards would teach nothing.
FIRST_PRICE, FIRST_SLOPE = 0.4, 0.8


class CacheTables(NamedTuple):
    """What is known of B misses, as tensors."""

    candidates: Tensor  # (B, C + 1, len(CANDIDATE)) by slot, then the missed expert
    routing: Tensor  # (B, len(ROUTING))
    progress: Tensor  # (B, len(PROGRESS))
    mask: Tensor  # (B, 1 + C) the actions that are legal


class CacheNet(nn.Module):
    """Logits of not admitting and of each slot, and the value of the state.

    Args:
        width: H, of every hidden layer.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        whole = len(ROUTING) + len(PROGRESS) + 1 + COMPARED
        self.width = width
        self.candidate = nn.Linear(len(CANDIDATE), width)
        self.routing = nn.Linear(len(ROUTING), width)
        self.hidden = nn.Linear(width, width)
        self.out = nn.Linear(width, 1)
        self.sharpness = nn.Parameter(torch.tensor(SHARPNESS))
        self.price = nn.Sequential(
            nn.Linear(whole, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh()
        )
        self.price_out = nn.Linear(width, 1)
        nn.init.zeros_(self.price_out.weight)
        nn.init.constant_(self.price_out.bias, FIRST_PRICE)
        self.slope = nn.Parameter(torch.tensor(FIRST_SLOPE))
        self.value = nn.Sequential(nn.Linear(whole, 2 * width), nn.ReLU(), nn.Linear(2 * width, 1))

    def worth(self, candidates: Tensor, routing: Tensor) -> Tensor:
        """Logits of being asked for soon: ``(B, n)`` of candidates ``(B, n, len(CANDIDATE))``."""
        rows = self.candidate(candidates) + self.routing(routing).unsqueeze(1)
        rows = functional.silu(rows)
        worth: Tensor = self.out(functional.silu(self.hidden(rows)))
        return worth.squeeze(2)

    def forward(self, seen: CacheTables, priced: bool = True) -> tuple[Tensor, Tensor]:
        """Logits ``(B, 1 + C)`` and values ``(B,)``.

        Args:
            seen: of B misses. Logits of closed slots mean nothing.
            priced: weigh what an admission costs; without, only what experts are worth counts.
        """
        # What experts are worth `forecasting` has taught: rewards teach what admission costs.
        worth = self.worth(seen.candidates, seen.routing).detach()
        tenants, missed = worth[:, :-1], worth[:, -1:]
        staying = tenants.masked_fill(seen.mask[:, 1:] == 0, CLOSED)
        least = staying.amin(1, keepdim=True).clamp(max=missed + 1)
        held = tenants.sigmoid().mean(1, keepdim=True)
        compared = torch.cat((missed, least, missed - least, held), 1)
        # Of q / (q + move), which is seen: log(1 + q / move) tells long queues apart.
        queue = -torch.log((1 - seen.progress[:, PCIE : PCIE + 1]).clamp(min=1e-4))
        whole = torch.cat((seen.routing, seen.progress, queue / 4, compared), 1)
        price = self.price_out(self.price(whole)) + self.slope * queue
        if not priced:
            price = torch.zeros_like(price)
        logits = torch.cat((price - missed, -tenants), 1) * self.sharpness
        return logits, self.value(whole).squeeze(1) * SCALE
