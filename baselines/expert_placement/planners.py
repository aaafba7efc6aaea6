"""The planners: from what was seen to a placement ``(L, R)``; each is one rule, told by name."""

from collections.abc import Callable

import numpy as np

from fleetgym.baselines.expert_placement import forecasts
from fleetgym.baselines.expert_placement.node_packing import packed, relabelled
from fleetgym.baselines.expert_placement.situation import Float64, Int32, Situation
from fleetgym.envs.core.jit import kernel
from fleetgym.envs.expert_placement.eplb import eplb as eplb_kernel
from fleetgym.envs.expert_placement.incremental import edit_layer
from fleetgym.envs.expert_placement.planners import SOME
from fleetgym.envs.expert_placement.serving import count_all
from fleetgym.envs.expert_placement.types import Scratch

Planner = Callable[[Situation], Int32]
Forecast = Callable[[Int32], Float64]


def hold(situation: Situation) -> Int32:
    """Nothing moves."""
    return situation.plan


def eplb(situation: Situation) -> Int32:
    """EPLB, hierarchical where the groups fit the nodes, for the last window."""
    return _eplb(situation, *situation.shape)


def eplb_global(situation: Situation) -> Int32:
    """EPLB, global, for the last window."""
    return _eplb(situation, 1, 1)


def eplb_relabelled(situation: Situation) -> Int32:
    """EPLB, hierarchical, its parts given to the GPUs that hold most of them (Hungarian)."""
    plan = eplb(situation)
    relabelled(situation, plan, situation.shape[1])
    return plan


def _eplb(situation: Situation, groups: int, nodes: int) -> Int32:
    plan = np.empty_like(situation.plan)
    load = forecasts.last(situation.history)
    eplb_kernel(load, groups, nodes, plan, np.empty_like(plan), situation.room)
    return plan


def lpt_global(situation: Situation) -> Int32:
    """LPT and swaps over all GPUs for the last window."""
    return packed(situation, forecasts.last(situation.history), global_=True)


def lpt_for(forecast: Forecast) -> Planner:
    """LPT and swaps, groups kept on their nodes, for a forecast."""

    def plan(situation: Situation) -> Int32:
        return packed(situation, forecast(situation.history))

    return plan


def incremental(situation: Situation) -> Int32:
    """At most eight edits a layer, each the one that lowers the fullest GPU most."""
    plan = situation.plan.copy()
    edit_all(plan, _counts(situation), forecasts.last(situation.history), SOME, situation.room)
    return plan


def transfers(situation: Situation) -> Int32:
    """One exchange between each fuller and emptier GPU of a pair, in the style of SwiftBalancer."""
    plan = situation.plan.copy()
    exchange_all(plan, _counts(situation), forecasts.last(situation.history), situation.room)
    return plan


def clairvoyant(situation: Situation) -> Int32:
    """LPT and swaps for the loads that the window will have."""
    assert situation.future is not None
    return packed(situation, situation.future[0].astype(np.float64))


def _counts(situation: Situation) -> Int32:
    counts = np.empty((situation.scenario.layers, situation.scenario.experts), np.int32)
    count_all(situation.plan, counts)
    return counts


@kernel
def edit_all(plan: Int32, counts: Int32, load: Float64, edits: int, s: Scratch) -> None:
    """Edits every layer: ``plan`` (L, R), ``counts`` (L, E), ``load`` (L, E) tokens."""
    for layer in range(plan.shape[0]):
        edit_layer(plan[layer], counts[layer], load[layer], edits, s)


@kernel
def exchange_all(plan: Int32, counts: Int32, load: Float64, s: Scratch) -> None:
    """Pairs the GPUs of every layer, fullest with emptiest, and has each pair swap once.

    The swap is the one after which the fuller of the two serves least; none, where none helps.
    """
    gpus = s.gpu.shape[0]
    per_gpu = plan.shape[1] // gpus
    for layer in range(plan.shape[0]):
        row, order = plan[layer], s.order[0]
        for g in range(gpus):
            tokens = 0.0
            for slot in range(g * per_gpu, (g + 1) * per_gpu):
                s.flow[slot] = load[layer, row[slot]] / counts[layer, row[slot]]
                tokens += s.flow[slot]
            s.gpu[g] = tokens
            at = g
            while at > 0 and s.gpu[order[at - 1]] < tokens:
                order[at] = order[at - 1]
                at -= 1
            order[at] = g
        for pair in range(gpus // 2):
            full, empty = order[pair], order[gpus - 1 - pair]
            least, source, target = s.gpu[full], -1, -1
            for i in range(full * per_gpu, (full + 1) * per_gpu):
                for j in range(empty * per_gpu, (empty + 1) * per_gpu):
                    moved = s.flow[i] - s.flow[j]
                    after = max(s.gpu[full] - moved, s.gpu[empty] + moved)
                    if after < least:
                        least, source, target = after, i, j
            if source >= 0:
                row[source], row[target] = row[target], row[source]
