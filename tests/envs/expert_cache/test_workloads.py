"""Where workloads come from, and what is refused."""

import gymnasium
import numpy as np
import pytest

import fleetgym
from fleetgym.envs.core.errors import ScenarioError, WorkloadError
from fleetgym.envs.core.registration import family_of
from fleetgym.envs.expert_cache import workloads
from fleetgym.envs.expert_cache.types import EXPERT, SUMS
from fleetgym.traces.errors import TraceError

ID = "fleetgym/ExpertCache-v0"
FAMILY = family_of(ID)


def source(scenario="small", **fields):
    return FAMILY.workloads(FAMILY.scenario(scenario, fields))


def test_training_and_test_workloads_share_nothing():
    train = {source().draw(seed).digest for seed in range(20)}
    test = {source(split="test").draw(seed).digest for seed in range(20)}
    assert len(train) == len(test) == 20
    assert not train & test


def test_the_warm_up_fills_the_cache():
    env = gymnasium.make(ID, scenario="toy").unwrapped
    _, info = env.reset(seed=0)
    assert env.simulator.state().tenants[0, 0, EXPERT].tolist() == [1, 0]
    assert info["metrics"]["requests"] == 1


@pytest.mark.parametrize(
    ("policy", "misses"), [("lru", 12), ("min", 8), ("min-bypass", 4), ("hold", 4)]
)
def test_the_toy_is_known_by_hand(policy, misses):
    (record,) = fleetgym.evaluate(policy, ID, "toy", [0])
    assert record.metrics["misses"] == misses


def test_switch_base_8_is_played_in_windows(real_data):
    train = source(workload="switch-base-8", tokens=40)
    assert dict(train.capacity) == {"steps": 56, "layers": 6, "experts": 8, "active": 1, "top": 2}
    whole = workloads._load(str(workloads.catalog.find("switch-base-8"))).experts
    seen = {"train": set(), "test": set()}
    for split in seen:
        drawn = source(workload="switch-base-8", tokens=40, split=split)
        for seed in range(40):
            first = drawn.draw(seed).routing.experts
            starts = [t for t in range(160) if np.array_equal(whole[t : t + 56], first)]
            seen[split] |= {t + i for t in starts for i in range(56)}
    assert max(seen["train"]) < 215 // 2 <= min(seen["test"])
    assert len(seen["train"]) > 90


@pytest.fixture
def real_data():
    try:
        workloads.catalog.find("switch-base-8")
    except TraceError:
        pytest.skip("switch-base-8 is not here")


def test_switch_base_8_hit_rates(real_data):
    rates = {}
    for policy in ("random-evict", "lru", "ema-score", "min-bypass"):
        records = fleetgym.evaluate(policy, ID, "small", range(6), workload="switch-base-8",
                                    capacity=0.5)  # fmt: skip
        rates[policy] = np.mean([r.metrics["hit_rate"] for r in records])
    assert rates["random-evict"] < rates["min-bypass"]
    assert rates["lru"] < rates["ema-score"] < rates["min-bypass"]


def test_a_file_of_ones_own(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text("[" + ",".join(f"[[{t % 3},3]]" for t in range(30)) + "]")
    env = gymnasium.make(ID, scenario="small", workload=str(path), capacity=0.5).unwrapped
    env.reset(seed=0)
    assert env.simulator.slots == 2
    assert env.simulator.sizes.steps == 30


def test_scores_that_nobody_captured_are_shared_by_tokens():
    from fleetgym.envs.expert_cache.layout import scores_of

    scores = scores_of(workloads.toy_routing())
    assert scores[2, 0].tolist() == [0, 0, 65_535, 0]


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"workload": "generatd"}, WorkloadError, "did you mean 'generated'"),
        ({"workload": "none.json"}, TraceError, "no such file"),
        ({"num_experts": 12}, TraceError, "was fitted to"),
        ({"capacity": 1.0}, ScenarioError, "above 0 and below 1"),
        ({"capacity": float("nan")}, ScenarioError, "capacity is nan"),
        ({"locality": "some"}, ScenarioError, "'low' or 'medium' or 'high'"),
        ({"top_k": 16}, ScenarioError, "below num_experts = 16"),
        ({"prefetch": 5}, ScenarioError, "from 0 to the 4 slots"),
        ({"tokens": 0}, ScenarioError, "tokens is 0"),
        ({"cost": "free"}, ScenarioError, "cost is 'free'"),
        ({"pcie_gb_s": 0.0}, ScenarioError, "pcie_gb_s is 0.0"),
        ({"dense_ms": float("inf")}, ScenarioError, "dense_ms is inf"),
        ({"control": "distributed"}, ScenarioError, "one layer decides at a time"),
    ],
)
def test_what_is_refused(fields, error, message):
    with pytest.raises(error, match=message):
        source(**fields)


def test_a_trace_that_is_too_short(tmp_path):
    path = tmp_path / "short.json"
    path.write_text("[[[0]],[[1]]]")
    with pytest.raises(WorkloadError, match=r"'.*short\.json' has 2 tokens .* warm-up of 16"):
        source(workload=str(path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"experts": 8}, "16 experts a layer, its source's capacity says 8"),
        ({"layers": 3}, "4 layers, its source's capacity says 3"),
        ({"steps": 10}, "80 steps, its source's capacity allows 10"),
        ({"active": 1}, "2 activated experts, its source's capacity allows 1"),
    ],
)
def test_a_workload_that_does_not_fit(change, message):
    scenario = FAMILY.scenario("small")
    drawn = FAMILY.workloads(scenario)
    kind = FAMILY.load(FAMILY.simulator)
    simulator = kind(scenario, dict(drawn.capacity) | change, 1)
    with pytest.raises(WorkloadError, match=message):
        simulator.reset([drawn.draw(0)])
    with pytest.raises(WorkloadError, match="capacity lacks 'top'"):
        kind(scenario, {k: v for k, v in drawn.capacity.items() if k != "top"}, 1)


def test_an_imagined_world_has_no_future():
    scenario = FAMILY.scenario("small", {"tokens": 4})
    drawn = FAMILY.workloads(scenario)
    simulator = FAMILY.simulate(scenario, drawn, 1)
    simulator.reset([drawn.draw(1)])
    imagined = simulator.fork(0, 2)
    imagined.forget_future()
    over, steps = False, 0
    while not over:
        result = imagined.step({"cache": np.zeros((2, 1), np.int64)})
        over, steps = bool(result.terminated.all()), steps + 1
    assert steps <= scenario.top_k, "the event in progress is the last"
    assert (imagined.world.references == 0).all()
    assert imagined.metrics()["gap_closed"].tolist() == [0, 0]
    assert simulator.state().scalars[0, SUMS.index("requests")] > 0
