"""Each policy's hit rate on seeded workloads: DeepSeek-V2-Lite's shape, room for 25% of experts."""

from functools import cache

import numpy as np
import pytest

from fleetgym.baselines.policy import baselines_of, make_baseline
from fleetgym.envs.core.registration import family_of
from fleetgym.envs.core.view import View, as_actions

FAMILY = family_of("expert-cache")
WORLDS = 6
RATES = {  # low and medium locality
    "random": (0.416, 0.666),
    "hold": (0.395, 0.534),
    "random-evict": (0.414, 0.668),
    "lru": (0.450, 0.737),
    "lfu": (0.510, 0.731),
    "lfu-ageing": (0.507, 0.748),
    "ema-frequency": (0.506, 0.749),
    "ema-score": (0.531, 0.761),
    "mrs": (0.473, 0.755),
    "hybrimoe": (0.473, 0.755),
    "learned": (0.514, 0.771),
    "tuned": (0.535, 0.774),
    "tuned-thrifty": (0.523, 0.743),
    "static-best": (0.580, 0.768),
    "min": (0.659, 0.842),
    "min-bypass": (0.692, 0.853),
}


@cache
def hit_rate(name, locality, prefetch=0, metric="hit_rate"):
    scenario = FAMILY.scenario("dsv2-lite", {"locality": locality, "prefetch": prefetch})
    source = FAMILY.workloads(scenario)
    simulator = FAMILY.simulate(scenario, source, WORLDS)
    simulator.reset([source.draw(seed) for seed in range(WORLDS)])
    policy = make_baseline(FAMILY, name)
    view = View(simulator, clairvoyant=policy.information == "clairvoyant")
    policy.reset(view, np.arange(WORLDS))
    while not simulator.over().all():
        simulator.step(as_actions(view, policy.act(view)), ~simulator.over())
    return float(simulator.metrics()[metric].mean())


def test_every_policy_has_a_band():
    assert set(RATES) == set(baselines_of(FAMILY))


@pytest.mark.parametrize("locality", ["low", "medium"])
@pytest.mark.parametrize("name", RATES)
def test_hit_rate(name, locality):
    due = RATES[name][locality == "medium"]
    assert hit_rate(name, locality) == pytest.approx(due, abs=0.01)


@pytest.mark.parametrize("locality", ["low", "medium"])
def test_order(locality):
    def rate(name):
        return hit_rate(name, locality)

    assert rate("random-evict") < rate("lru") < rate("mrs") < rate("ema-score") < rate("min")
    assert rate("lfu-ageing") < rate("ema-score") < rate("tuned")
    assert rate("min") < rate("min-bypass")
    assert hit_rate("min-bypass", locality, metric="gap_closed") == 1.0
    assert 0.2 < hit_rate("ema-score", locality, metric="gap_closed") < 0.4


def test_prefetching_by_past_scores_pays_in_hits_and_costs_copies():
    without, fetched = hit_rate("mrs", "medium"), hit_rate("hybrimoe", "medium", prefetch=1)
    assert hit_rate("hybrimoe", "medium") == without
    assert fetched > without
    assert hit_rate("hybrimoe", "medium", 1, "prefetches") > 0
