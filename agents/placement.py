"""The expert network as a policy: samples of its forecast, searched in the style it chooses.

The network is shared by all layers, and sees each of them alone: its experts' loads, its balance,
and how far the episode is. It says what the loads of the next window may be and how surely, and how
eagerly to follow them; which edits that makes is found by the search over samples of
`fleetgym.baselines.expert_placement.sampled`.
"""

import numpy as np
import torch

from fleetgym.agents.networks.experts import ExpertNet, Forecast
from fleetgym.agents.styles import STYLES
from fleetgym.baselines.expert_placement.planners import hold
from fleetgym.baselines.expert_placement.planning import PlacementPolicy
from fleetgym.baselines.expert_placement.sampled import SAMPLES, Searcher, Style, scaled
from fleetgym.baselines.expert_placement.situation import Float64, Int32, situation_of
from fleetgym.envs.core.view import View
from fleetgym.envs.expert_placement.scenario import ExpertPlacementScenario
from fleetgym.envs.expert_placement.simulator import PLANNER

TRAINING_SAMPLES = SAMPLES // 2  # of a forecast, for speed
TABLES = ("experts", "layers", "progress")  # of the observation


def look(view: View, world: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Tables of the experts ``(L, E, ...)``, layers ``(L, ...)`` and progress ``(L, ...)``."""
    ((role, tables),) = view.observation().items()
    experts, layers, progress = (tables[name][world] for name in TABLES)
    if role == PLANNER:
        experts, layers = experts[0], layers[0]
        progress = np.repeat(progress, len(layers), axis=0)
    return torch.tensor(experts), torch.tensor(layers), torch.tensor(progress)


def sampled(forecast: Forecast, normal: Float64, history: Int32) -> Float64:
    """Samples ``(K, L, E)`` of the next window's tokens.

    The first samples of a layer are of its first future, as many as that is likely.

    Args:
        forecast: of the L layers.
        normal: ``(K, E)`` standard normal.
        history: ``(H, L, E)`` tokens.
    """
    count = len(normal)
    share = torch.softmax(forecast.logit, 1)[:, 0].numpy()
    first = np.arange(count)[:, None] < np.rint(count * share)
    mean, log_sd = (part.numpy().astype(np.float64) for part in forecast[:2])
    mine = np.where(first[..., None], mean[None, :, 0], mean[None, :, 1])
    deviation = np.exp(np.where(first[..., None], log_sd[None, :, 0], log_sd[None, :, 1]))
    return scaled(np.exp(mine + deviation * normal[:, None]), history)


class Hands:
    """Carries out styles: forecasts by a network, and searches.

    Args:
        network: forecasts.
        samples: of each forecast.
    """

    def __init__(self, network: ExpertNet, samples: int = SAMPLES) -> None:
        self._network, self._samples = network, samples
        self._searchers: dict[ExpertPlacementScenario, Searcher] = {}

    def plan(self, view: View, world: int, styles: list[Style]) -> Int32:
        """The placement ``(L, R)`` for the window that begins, in a style of each layer."""
        situation = situation_of(view, world)
        searcher = self._searchers.get(situation.scenario)
        if searcher is None:
            searcher = Searcher(situation, self._samples)
            self._searchers[situation.scenario] = searcher
        with torch.inference_mode():
            forecast = self._network.forecast(look(view, world)[0])
        loads = sampled(forecast, searcher.normal, situation.history)
        return searcher.plan(situation, loads, styles)


class PlacementAgent(PlacementPolicy):
    """Plans each window by a network; it chooses the likeliest style.

    Args:
        name: of the policy.
        network: forecasts and chooses.
    """

    def __init__(self, name: str, network: ExpertNet) -> None:
        super().__init__(name, hold)
        self._network, self._hands = network, Hands(network)

    def _plan(self, view: View, world: int) -> Int32:
        with torch.inference_mode():
            logits, _ = self._network.decide(*look(view, world))
        return self._hands.plan(view, world, [STYLES[i] for i in logits.argmax(1).tolist()])
