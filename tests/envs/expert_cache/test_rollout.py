import numpy as np
import pytest

from fleetgym.baselines.policy import make_baseline
from fleetgym.envs.core.registration import family_of
from fleetgym.envs.core.view import View, as_actions

FAMILY = family_of("expert-cache")
POLICIES = (
    "random-evict", "lru", "lfu", "lfu-ageing", "ema-frequency", "ema-score", "mrs", "hybrimoe",
    "learned", "static-best", "min", "min-bypass",
)  # fmt: skip


def simulator(worlds, **fields):
    scenario = FAMILY.scenario("small", {"tokens": 8, **fields})
    source = FAMILY.workloads(scenario)
    made = FAMILY.simulate(scenario, source, worlds)
    made.reset([source.draw(seed) for seed in range(worlds)])
    return made


@pytest.mark.parametrize("prefetch", [0, 2])
@pytest.mark.parametrize("name", POLICIES)
def test_rollout_is_acting(name, prefetch):
    """The policy's kernel inside the batch decides as the policy does from outside."""
    fast, slow = simulator(5, prefetch=prefetch), simulator(5, prefetch=prefetch)
    policy = make_baseline(FAMILY, name, seed=7)
    clairvoyant = policy.information == "clairvoyant"
    view, other = (View(one, clairvoyant=clairvoyant) for one in (fast, slow))
    policy.reset(view, np.arange(5))
    seen = policy.foresight(view) if clairvoyant else None
    actions, counts = fast.rollout(policy.kernel, policy.parameters, 10_000, 7, seen)
    policy.reset(other, np.arange(5))
    for k in range(counts.max()):
        active = ~slow.over()
        given = as_actions(other, policy.act(other))["cache"]
        assert (given[active, 0] == actions[active, k]).all()
        slow.step({"cache": given}, active)
    assert slow.over().all()
    assert fast.digest().tolist() == slow.digest().tolist()
    for entry, table in fast.observation()["cache"].items():
        assert np.array_equal(table, slow.observation()["cache"][entry]), entry
    assert fast.metrics()["illegal_actions"].sum() == 0
    assert (fast.metrics()["prefetches"].sum() > 0) == (name == "hybrimoe" and prefetch > 0)


def test_a_rollout_may_be_cut():
    one = simulator(3)
    policy = make_baseline(FAMILY, "lru")
    actions, counts = one.rollout(policy.kernel, policy.parameters, 4)
    assert counts.tolist() == [4, 4, 4]
    assert not one.over().any()
    assert actions.shape == (3, 4)
