"""Planning for sampled loads: as few copies as pay, placed so that what is uncertain is spread.

A placement that is packed for one forecast is as good as the forecast, and the slowest GPU is one
that got more than was forecast. Here many samples of what the loads may be are looked at together
(`sampled_kernels`), starting from the placement in place. How many experts each GPU may be given to
copy is raised step by step, and the step is taken that is cheapest over the windows for which a
placement is expected to serve. A placement packed anew is taken where it is cheaper still.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from fleetgym.baselines.expert_placement import forecasts
from fleetgym.baselines.expert_placement.node_packing import packed
from fleetgym.baselines.expert_placement.sampled_kernels import Sampled, search
from fleetgym.baselines.expert_placement.situation import Float64, Int32, Int64, Situation

SAMPLES = 32
HOPE = 0.82  # of what a placement packed anew costs may be left once it has been improved
CAPS = np.array([0, 1, 2, 3, 4, 6, 9])  # experts that a GPU is given to copy at most, by steps


@dataclass(frozen=True)
class Style:
    """How eagerly a layer is changed.

    Attributes:
        fee: charged for each expert to copy beside the stall, in copying times spread over all
            GPUs.
        lasts: windows that a placement is expected to serve; no more than are left. 0: the layer
            stays as it is.
        anew: a placement packed anew is taken where its cost is below this much of the other's;
            0: none is packed.
    """

    fee: float
    lasts: float
    anew: float


BEST = Style(4.0, 3.0, 0.97)  # of those tried on training workloads of every drift


class Searcher:
    """Plans windows of one scenario's size; its arrays are used again and again.

    Args:
        situation: of the size.
        samples: K.
    """

    def __init__(self, situation: Situation, samples: int = SAMPLES) -> None:
        sizes = situation.scenario
        gpus, experts, slots, k = sizes.gpus, sizes.experts, sizes.slots, samples
        self.samples = samples
        self.normal = normal_table(samples, experts)
        self._x = Sampled(
            plan=np.empty(slots, np.int32),
            counts=np.empty(experts, np.int32),
            home=np.empty(sizes.groups, np.int64),
            had=np.empty((gpus, experts), np.int8),
            has=np.empty((gpus, experts), np.int8),
            copies=np.empty(gpus, np.int64),
            loads=np.empty((experts, k)),
            tokens=np.empty((slots, k)),
            mean=np.empty(slots),
            each=np.empty((sizes.nodes, sizes.groups, k)),
            time=np.empty((gpus, k)),
            weight=np.empty(gpus),
            total=np.empty(2),
            tried=np.empty(gpus, np.int64),
            stopped=np.empty(1, np.int64),
        )

    def plan(self, situation: Situation, loads: Float64, styles: list[Style]) -> Int32:
        """The placement ``(L, R)`` of a window.

        Args:
            situation: as it is.
            loads: ``(K, L, E)`` samples of its tokens.
            styles: one a layer.
        """
        found = situation.plan.copy()
        anew = None
        if any(style.anew > 0 and style.lasts > 0 for style in styles):
            anew = packed(situation, loads.mean(axis=0))
        for layer, style in enumerate(styles):
            if style.lasts == 0:
                continue
            mine = loads[:, layer]
            found[layer], cost = self._improve(situation, layer, mine, style, None, np.inf)
            if anew is not None and style.anew > 0:
                most = style.anew * cost / HOPE
                other, price = self._improve(situation, layer, mine, style, anew[layer], most)
                if price < style.anew * cost:
                    found[layer] = other
        return found

    def _improve(
        self,
        situation: Situation,
        layer: int,
        loads: Float64,
        style: Style,
        start: Int32 | None,
        most: float,
    ) -> tuple[Int32, float]:
        """The placement ``(R,)`` of a layer, and what it is expected to cost, ns.

        Args:
            situation: as it is.
            layer: which.
            loads: ``(K, E)`` samples of its tokens.
            style: how eagerly.
            start: ``(R,)`` where the search starts instead of what is in place; it may copy as
                much as it takes.
            most: ns; a start that costs more is not improved.
        """
        x, rules, scenario = self._x, situation.rules, situation.scenario
        held = situation.plan[layer]
        x.plan[:] = held if start is None else start
        x.home[:] = homes(situation, x.plan)
        x.loads[:] = loads.T
        caps = CAPS if start is None else CAPS[-1:]
        lasts = min(float(situation.left), style.lasts)
        fee = style.fee * scenario.copy_ns / scenario.gpus / lasts
        unit = balanced_ns(situation, float(loads.sum() / len(loads)))
        best = np.empty(scenario.slots, np.int32)
        cost = search(x, held, caps, fee, lasts, unit, most, best, rules, situation.room)
        return best, cost


class SampledPlanner:
    """The search, for loads that return to their means by one coefficient a layer (AR(1))."""

    def __init__(self, style: Style = BEST) -> None:
        self._style = style
        self._searchers: dict[object, Searcher] = {}

    def __call__(self, situation: Situation) -> Int32:
        """The placement of a window."""
        searcher = self._searchers.get(situation.scenario)
        if searcher is None:
            searcher = self._searchers[situation.scenario] = Searcher(situation)
        loads = drawn(situation.history, searcher.normal)
        return searcher.plan(situation, loads, [self._style] * len(situation.plan))


def drawn(history: Int32, normal: Float64) -> Float64:
    """Samples ``(K, L, E)`` of the next window's tokens.

    An AR(1) forecast of log-loads, with errors as large as those it made of the history.

    Args:
        history: ``(H, L, E)`` tokens.
        normal: ``(K, E)`` standard normal.
    """
    logs = np.log1p(history.astype(np.float64))
    mean = np.log1p(np.maximum(0.0, forecasts.ar1(history)))
    error = np.zeros(len(mean))
    if len(history) > 1:
        slope = forecasts.slopes(logs)
        off = logs - logs.mean(axis=0)
        missed = off[:-1] - slope[:, None] * off[1:]
        # The mean that is taken off was fitted to the same windows.
        error = np.sqrt((missed**2).mean(axis=(0, 2)) * len(history) / (len(history) - 1))
    return scaled(np.exp(mean + error[:, None] * normal[:, None]), history)


def scaled(loads: Float64, history: Int32) -> Float64:
    """Samples ``(K, L, E)`` that add up to the last window's tokens in each layer."""
    total = history[0].sum(axis=1, dtype=np.int64)[:, None]
    whole: Float64 = loads / loads.sum(axis=2, keepdims=True) * total
    return whole


def normal_table(samples: int, experts: int) -> Float64:
    """Standard normal quantiles ``(K, E)``: each expert has all of them, in an order of its own."""
    rng = np.random.default_rng([samples, experts])
    order = np.argsort(rng.random((samples, experts)), axis=0)
    table: Float64 = ndtri((order + 0.5) / samples)
    return table


def homes(situation: Situation, plan: Int32) -> Int64:
    """The node ``(U,)`` that holds most of each group in a layer's placement ``(R,)``."""
    scenario = situation.scenario
    held = np.zeros((scenario.groups, scenario.nodes), np.int64)
    node = np.arange(scenario.slots) // (scenario.slots // scenario.nodes)
    np.add.at(held, (plan // (scenario.experts // scenario.groups), node), 1)
    most: Int64 = held.argmax(axis=1)
    return most


def balanced_ns(situation: Situation, tokens: float) -> float:
    """What a layer of so many tokens takes at least, ns, as the machine's `balanced_ns` has it."""
    rules = situation.rules
    inter = (1.0 - rules.dedup) * rules.far
    each = rules.token_ns + inter * rules.inter_ns + (rules.away - inter) * rules.intra_ns
    return tokens / rules.gpus * each
