"""The expert network: what a layer's loads will be, how surely, and how eagerly to follow them.

Each expert is encoded by itself, with how much all of the layer drifts; their mean is the layer's
context. So one network serves layers of any number of experts, GPUs and slots. The forecast is a
mixture of two futures of the whole layer, that loads drift on and that they have jumped, each with
a mean and a deviation of every expert's log-load. Loads are told as log(load / mean of the layer).
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from fleetgym.agents.styles import STYLES
from fleetgym.envs.expert_placement.types import LAYER_FEATURES, PROGRESS

FUTURES = 2
LOGS = 3  # of an expert: the last window, the one before, the mean of the history
SPREADS = 4  # figures of a layer: see `spreads`
CLOSE, WIDE = -4.0, 1.0  # least and greatest log-deviation of a forecast
RARE = 1e-3  # an empty expert's load / mean
SURE, FOLLOW = 2.0, 2.0  # logits of a fresh network: of loads that drift on, and of the first style


class Forecast(NamedTuple):
    """Of B layers."""

    mean: Tensor  # (B, FUTURES, E) of the log-loads
    log_sd: Tensor  # (B, FUTURES, E) log of their deviation
    logit: Tensor  # (B, FUTURES) of each future


def logs_of(experts: Tensor) -> Tensor:
    """Log-loads ``(B, E, LOGS)`` about the layer's mean, of the observation's table.

    The table shows x / (x + mean), whose logit is log(x / mean).
    """
    return torch.logit(experts[..., :LOGS].float().clamp(RARE, 1.0 - 1e-6))


def spreads(logs: Tensor) -> Tensor:
    """How much a layer's loads differ, from the window before, and from their mean ``(B, 4)``."""
    step, off = logs[..., 1] - logs[..., 0], logs[..., 2] - logs[..., 0]
    ones = [step.std(1), off.std(1), step.abs().mean(1), logs[..., 0].std(1)]
    return torch.log(torch.stack(ones, 1) + 1e-2)


class ExpertNet(nn.Module):
    """One layer's forecast, and the choice of a planning style.

    Args:
        width: H, of every hidden layer.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.rows = _perceptron(LOGS + SPREADS, width)
        self.context = _perceptron(width + SPREADS, width)
        self.head = nn.Sequential(
            nn.Linear(2 * width, width), nn.ReLU(), nn.Linear(width, 2 * FUTURES)
        )
        self.future = nn.Linear(width, FUTURES)
        situation = width + SPREADS + len(LAYER_FEATURES) + len(PROGRESS)
        last = nn.Linear(width, len(STYLES))
        self.choose = nn.Sequential(_perceptron(situation, width), last)
        self.value = nn.Sequential(_perceptron(situation, width), nn.Linear(width, 1))
        with torch.no_grad():
            self.future.bias[0] += SURE
            last.weight *= 0.1
            last.bias[0] += FOLLOW

    def _encode(self, experts: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        logs = logs_of(experts)
        spread = spreads(logs)
        relative = torch.stack(
            (logs[..., 0], logs[..., 1] - logs[..., 0], logs[..., 2] - logs[..., 0]), -1
        )
        every = spread.unsqueeze(1).expand(-1, logs.shape[1], -1)
        rows = self.rows(torch.cat((relative, every), -1))
        context = self.context(torch.cat((rows.mean(1), spread), 1))
        return logs, spread, rows, context

    def forecast(self, experts: Tensor) -> Forecast:
        """What comes next in layers whose tables are ``experts`` (B, E, features)."""
        logs, _, rows, context = self._encode(experts)
        every = context.unsqueeze(1).expand(-1, rows.shape[1], -1)
        change, scale = self.head(torch.cat((rows, every), -1)).transpose(1, 2).chunk(2, 1)
        log_sd = CLOSE + (WIDE - CLOSE) * torch.sigmoid(scale)
        return Forecast(logs[..., 0].unsqueeze(1) + change, log_sd, self.future(context))

    def decide(self, experts: Tensor, layer: Tensor, progress: Tensor) -> tuple[Tensor, Tensor]:
        """Logits ``(B, len(STYLES))`` of how to plan, and values ``(B,)`` of the situation.

        Args:
            experts: ``(B, E, features)``.
            layer: ``(B, features)``.
            progress: ``(B, features)``.
        """
        with torch.no_grad():
            _, spread, _, context = self._encode(experts)
        situation = torch.cat((context, spread, layer.float(), progress.float()), 1)
        logits: Tensor = self.choose(situation)
        return logits, self.value(situation).squeeze(1)


def forecast_loss(forecast: Forecast, logs: Tensor) -> Tensor:
    """Minus the log-density of what came, a layer's mean over its experts.

    Args:
        forecast: of B layers.
        logs: ``(B, E)`` log-loads about the layer's mean.
    """
    z = (logs.unsqueeze(1) - forecast.mean) * torch.exp(-forecast.log_sd)
    each = (-0.5 * z**2 - forecast.log_sd).sum(2)
    whole = torch.logsumexp(each + functional.log_softmax(forecast.logit, 1), 1)
    return -whole.mean() / logs.shape[1]


def _perceptron(inputs: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
