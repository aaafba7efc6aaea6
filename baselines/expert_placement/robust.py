"""Robust search: the placement that serves best what may come, copies included.

A plan packed for one forecast fits one guess. Here a placement is improved for two at once, that
loads return to their means (AR(1)) and that the last window comes again, starting from the one in
place and from packed ones, with a fee for each expert to copy; the outcome that is cheapest over
the windows for which a plan will last is taken.
"""

import time

import numpy as np

from fleetgym.baselines.expert_placement import forecasts
from fleetgym.baselines.expert_placement.node_packing import packed
from fleetgym.baselines.expert_placement.robust_kernels import Search, search
from fleetgym.baselines.expert_placement.situation import Float64, Int32, Situation
from fleetgym.envs.expert_placement.serving import count_all

GUESSES = (0.6, 0.4)  # weights of the forecast, and of the last window
LASTS = 2  # windows a plan is expected to serve
FEE = 2.0  # of a copy, times what it takes where copies are spread evenly over the GPUs


def plan(situation: Situation, seconds: float) -> Int32:
    """The cheapest of the placements found.

    Args:
        situation: as it is.
        seconds: searching ends then, with what has been found.
    """
    forecast = np.maximum(0.0, forecasts.ar1(situation.history))
    loads = np.stack((np.rint(forecast).astype(np.int32), situation.history[0]))
    starts = (
        situation.plan,
        packed(situation, forecasts.last(situation.history)),
        packed(situation, forecast),
    )
    return best_of(situation, starts, loads, np.array(GUESSES), seconds)


def foresee(situation: Situation, seconds: float) -> Int32:
    """The same search over the windows to come: for a clairvoyant policy."""
    assert situation.future is not None
    loads = situation.future[:LASTS]
    weights = np.full(len(loads), 1 / len(loads))
    mean = loads.mean(axis=0)
    starts = (situation.plan, packed(situation, mean))
    return best_of(situation, starts, loads, weights, seconds)


def best_of(
    situation: Situation,
    starts: tuple[Int32, ...],
    loads: Int32,
    weights: Float64,
    seconds: float,
) -> Int32:
    """Improves every start and takes the cheapest outcome, or the placement as it is.

    Args:
        situation: as it is.
        starts: placements ``(L, R)``.
        loads: ``(K, L, E)`` tokens of the windows to serve.
        weights: ``(K,)`` of the windows, 1 in all.
        seconds: searching ends then.
    """
    lasts = min(situation.left, LASTS)
    until = time.perf_counter() + seconds
    best, cheapest = situation.plan, lasts * weighted_ns(situation, situation.plan, loads, weights)
    for start in starts:
        found = improved(situation, start, loads, weights * lasts, until)
        cost = lasts * weighted_ns(situation, found, loads, weights) + situation.stall_ns(found)
        if cost < cheapest:
            best, cheapest = found, cost
    return best


def weighted_ns(situation: Situation, plan: Int32, loads: Int32, weights: Float64) -> float:
    """Weighted time of serving the windows by a placement, ns."""
    each = [situation.serving_ns(plan, load[None]) for load in loads]
    return float(np.dot(weights, each))


def improved(
    situation: Situation, start: Int32, loads: Int32, weights: Float64, until: float
) -> Int32:
    """Searches layer by layer until ``until`` (of `time.perf_counter`)."""
    scenario, rules = situation.scenario, situation.rules
    found = start.copy()
    counts = np.empty((scenario.layers, scenario.experts), np.int32)
    count_all(found, counts)
    fee = FEE * scenario.copy_ns / scenario.gpus
    cost, gpu = np.empty((len(loads), scenario.slots)), np.empty((len(loads), scenario.gpus))
    slowest = np.empty((len(loads), 3), np.int64)
    for layer in range(scenario.layers):
        if time.perf_counter() > until:
            break
        tokens = np.ascontiguousarray(loads[:, layer])
        held = situation.plan[layer]
        x = Search(found[layer], counts[layer], held, tokens, weights, fee, cost, gpu, slowest)
        search(x, rules, situation.room)
    return found
