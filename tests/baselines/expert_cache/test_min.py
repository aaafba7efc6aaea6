"""MIN and MIN with bypass against every possible choice, on small traces."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.oracles.expert_cache import most_hits

from fleetgym.baselines.policy import make_baseline
from fleetgym.envs.core.registration import family_of
from fleetgym.envs.core.view import View
from fleetgym.envs.expert_cache.simulator import ExpertCacheSimulator
from fleetgym.envs.expert_cache.types import EXPERT
from fleetgym.envs.expert_cache.workloads import RoutingWorkload
from fleetgym.traces.schema_routing import single_tokens

FAMILY = family_of("expert-cache")
STEPS, WARMUP = 9, 1


def workload(rng, layers, experts, active):
    lists = np.full((STEPS, layers, active), -1, np.int16)
    for t, layer in np.ndindex(STEPS, layers):
        size = int(rng.integers(1, active + 1))
        lists[t, layer, :size] = rng.permutation(experts)[:size]
    routing = single_tokens("random", experts, lists, np.zeros((0, 0, 0), np.uint16))
    return RoutingWorkload("random", 0, routing, WARMUP, 1)


def hits(name, simulator, drawn):
    simulator.reset([drawn])
    policy = make_baseline(FAMILY, name)
    view = View(simulator, clairvoyant=policy.information == "clairvoyant")
    policy.reset(view, np.arange(1))
    seen = policy.foresight(view) if policy.information == "clairvoyant" else None
    simulator.rollout(policy.kernel, policy.parameters, 10_000, 0, seen)
    metrics = simulator.metrics()
    return int(metrics["requests"][0] - metrics["misses"][0])


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_no_choice_has_more_hits(seed):
    rng = np.random.default_rng(seed)
    experts = int(rng.integers(3, 6))
    layers, active = int(rng.integers(1, 3)), int(rng.integers(1, min(4, experts)))
    slots = int(rng.integers(1, experts))
    scenario = FAMILY.scenario("toy", {"num_experts": experts, "capacity": (slots + 0.5) / experts})
    assert scenario.slots(experts) == slots
    sizes = {"steps": STEPS, "layers": layers, "experts": experts, "active": active}
    simulator = ExpertCacheSimulator(scenario, sizes | {"top": min(experts, 2 * active)}, 1)
    drawn = workload(rng, layers, experts, active)
    simulator.reset([drawn])
    best = {True: 0, False: 0}
    for layer in range(layers):
        pool = pool_after_warm_up(drawn, layer, slots)
        lists = [
            [e for e in row if e >= 0] for row in drawn.routing.experts[WARMUP:, layer].tolist()
        ]
        best[True] += most_hits(lists, pool, bypass=True)
        if active <= slots:  # else an event may ask for more than can be held
            best[False] += most_hits(lists, pool, bypass=False)
    if active <= slots:
        assert hits("min", simulator, drawn) == best[False]
    assert hits("min-bypass", simulator, drawn) == best[True]
    assert simulator.world.references[0, 1] == best[True]
    assert simulator.metrics()["gap_closed"][0] in (0.0, 1.0)
    assert hits("lru", simulator, drawn) == simulator.world.references[0, 0]
    for name in ("mrs", "ema-score", "learned", "static-best"):
        assert hits(name, simulator, drawn) <= best[True]


def pool_after_warm_up(drawn, layer, slots):
    used = [e for e in drawn.routing.experts[0, layer].tolist() if e >= 0]
    rest = [e for e in range(drawn.routing.num_experts) if e not in used]
    return (sorted(used) + rest)[:slots]


@pytest.mark.parametrize("locality", ["low", "medium", "high"])
def test_bounds_hold_on_generated_routing(locality):
    scenario = FAMILY.scenario("small", {"locality": locality})
    source = FAMILY.workloads(scenario)
    simulator = FAMILY.simulate(scenario, source, 1)
    for seed in range(3):
        drawn = source.draw(seed)
        best, forced = (hits(name, simulator, drawn) for name in ("min-bypass", "min"))
        assert best >= forced
        assert best == simulator.world.references[0, 1]
        assert hits("lru", simulator, drawn) == simulator.world.references[0, 0]
        for name in ("lru", "lfu", "mrs", "ema-score", "learned"):
            assert hits(name, simulator, drawn) <= forced
    assert simulator.state().tenants[0, :, EXPERT].min() >= 0
