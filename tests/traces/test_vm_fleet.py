from dataclasses import replace

import numpy as np
import pytest

from fleetgym.traces.errors import TraceError
from fleetgym.traces.formats.bytedance import read
from fleetgym.traces.generators.best_fit import Need
from fleetgym.traces.generators.churn import NEVER, draw_churn
from fleetgym.traces.generators.population import Population
from fleetgym.traces.generators.vm_fleet import churned, churned_range, empty, matched
from fleetgym.traces.stats import fragment_rate, pair_fragment_rate, stats


def same(a, b):
    return a.vm_ids == b.vm_ids and a.vm_pm.tolist() == b.vm_pm.tolist()


@pytest.mark.parametrize(
    ("file", "departures", "utilisation", "rate", "seeds"),
    [
        ("medium", 500, 0.90, 0.566, 10),
        ("medium", 1500, 0.90, 0.433, 10),
        ("medium", 1500, 0.85, 0.405, 10),
        ("large", 1000, 0.85, 0.694, 3),
    ],
)
def test_measured_fragment_rates(real, file, departures, utilisation, rate, seeds):
    fleet = read(real(f"vm/bytedance_{file}.json.gz"))
    made = [
        churned(fleet, departures=departures, utilisation=utilisation, seed=seed)
        for seed in range(seeds)
    ]
    # One draw varies by 0.015 (large) to 0.07 (medium): the published figures are single draws.
    assert np.mean([fragment_rate(each) for each in made]) == pytest.approx(rate, abs=0.06)
    for each in made:
        assert stats(each)["cpu_utilisation"] == pytest.approx(utilisation, abs=0.004)


def test_churned_is_seeded(real):
    fleet = read(real("vm/bytedance_medium.json.gz"))
    first = churned(fleet, departures=100, utilisation=0.9, seed=1)
    assert same(first, churned(fleet, departures=100, utilisation=0.9, seed=1))
    assert not same(first, churned(fleet, departures=100, utilisation=0.9, seed=2))
    assert first.name == "bytedance_medium-churned-100-0.9-1"


def test_churned_range(real):
    fleet = read(real("vm/bytedance_medium.json.gz"))
    made = [churned_range(fleet, seed=seed) for seed in range(5)]
    for each in made:
        assert 0.4 <= fragment_rate(each.validate()) <= 0.6
    assert same(made[0], churned_range(fleet, seed=0))
    assert not same(made[0], made[1])


def test_churned_range_gives_up():
    fleet = matched(num_pms=4, racks=1, seed=0)
    with pytest.raises(TraceError, match=r"no FR16 in \[2, 3\] in 3 attempts"):
        churned_range(fleet, seed=0, low=2, high=3, attempts=3)


@pytest.mark.parametrize(
    "wrong", [{"departures": -1}, {"utilisation": 1.1}, {"utilisation": float("nan")}]
)
def test_churned_refuses(wrong):
    fleet = matched(num_pms=2, racks=1, seed=0)
    with pytest.raises(TraceError, match="cannot churn"):
        churned(fleet, **{"departures": 1, "utilisation": 0.5, "seed": 0} | wrong)
    with pytest.raises(TraceError, match="cannot churn 0 VMs"):
        churned(empty(2, 1), departures=1, utilisation=0.5, seed=0)


def test_matched():
    fleets = [matched(num_pms=40, racks=4, seed=seed).validate() for seed in range(12)]
    used = [stats(fleet)["cpu_utilisation"] for fleet in fleets]
    assert min(used) > 0.81
    assert max(used) <= 0.94
    assert max(used) - min(used) > 0.04
    assert np.bincount(fleets[0].pm_rack).tolist() == [10, 10, 10, 10]
    assert 0.3 < np.mean([fragment_rate(fleet) for fleet in fleets]) < 0.6
    counts = np.mean([fleet.vm_double.mean() for fleet in fleets])
    assert counts == pytest.approx(0.12, abs=0.04)
    assert same(fleets[3], matched(num_pms=40, racks=4, seed=3))
    assert not same(fleets[3], fleets[4])
    assert not same(fleets[3], matched(num_pms=40, racks=4, seed=3, churn_turnovers=0.0))


def test_settle_survives_misfits():
    """An arrival that fits nowhere does not end the filling; a hundred in a row do."""
    small, huge = Need(1, 1, 0, False), Need(45, 1, 0, False)
    population = Population(empty(1, 1), np.random.default_rng(0))
    population.settle(0.5, [small, huge, huge])
    assert population.utilisation() == 0.5
    population.settle(1.0, [huge])
    assert population.utilisation() == 0.5
    population.settle(0.25, [huge])
    assert population.utilisation() == 0.25


def test_matched_groups():
    fleet = matched(num_pms=20, racks=2, seed=5, groups=3, group_size=6, group_max=2).validate()
    assert fleet.group_max_per_pm.tolist() == [2, 2, 2]
    for group in range(3):
        members = fleet.vm_pm[fleet.vm_group == group]
        assert len(members) == 6
        assert np.bincount(members).max() <= 2


def test_groups_end_where_no_vm_can_join():
    fleet = matched(num_pms=2, racks=1, seed=0, groups=1, group_size=5, group_max=1).validate()
    assert sorted(fleet.vm_pm[fleet.vm_group == 0].tolist()) == [0, 1]


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_pms": 0},
        {"racks": 5},
        {"utilisation": (0.9, 0.8)},
        {"peak": 0.5},
        {"churn_turnovers": -1.0},
        {"groups": -1},
        {"group_max": 0},
    ],
)
def test_matched_refuses(wrong):
    with pytest.raises(TraceError, match="matched: "):
        matched(**{"num_pms": 4, "racks": 2, "seed": 0} | wrong)


def test_stats():
    fleet = empty(2, 1, cores=100, memory=2048)
    fleet = replace(
        fleet,
        vm_cores=np.array([60, 30], np.int32),
        vm_memory=np.array([512, 1024], np.int32),
        vm_gpu=np.zeros(2, np.int32),
        vm_double=np.array([False, True]),
        vm_pm=np.array([0, 1], np.int32),
        vm_numa=np.zeros(2, np.int32),
        vm_movable=np.array([True, False]),
        vm_group=np.full(2, -1, np.int32),
    ).validate()
    figures = stats(fleet)  # free cores: 40, 100, 70, 70
    assert figures["FR16"] == (8 + 4 + 6 + 6) / 280
    assert figures["FR32"] == (8 + 4 + 6 + 6) / 280
    assert figures["FR64_pair"] == pair_fragment_rate(fleet) == (280 - 64 - 128) / 280
    assert figures["cpu_utilisation"] == 120 / 400
    assert figures["memory_utilisation"] == 2560 / 8192
    assert figures["gpu_utilisation"] == 0
    assert figures["vm_types"] == {"60/0.5x1": 1, "60/2x2": 1}
    assert (figures["racks"], figures["double_vms"], figures["movable_vms"]) == (1, 1, 1)
    assert stats(fleet, core=10)["FR16"] == fragment_rate(fleet, 160) == 1


def test_draw_churn():
    rng = np.random.default_rng(0)
    churn = draw_churn(2000, 600, 0.01, [1, 0, 3], rng)
    arrivals = len(churn.kind)
    assert arrivals == pytest.approx(200, abs=50)
    assert np.bincount(churn.kind, minlength=3)[1] == 0
    assert (churn.kind == 2).mean() == pytest.approx(0.75, abs=0.12)
    assert churn.arrival_time_ns.dtype == churn.departure_time_ns.dtype == np.int64
    assert (churn.arrival_time_ns[:2000] == 0).all()
    later = churn.arrival_time_ns[2000:]
    assert (np.diff(later) >= 0).all()
    assert 0 <= later[0] < later[-1] < 600 * 10**9
    assert (churn.departure_time_ns >= churn.arrival_time_ns).all()
    left = churn.departure_time_ns[:2000] < NEVER
    assert left.mean() == pytest.approx(1 - np.exp(-0.1), abs=0.03)
    assert churn.departure_time_ns[churn.departure_time_ns < NEVER].max() < 600 * 10**9
    assert (churn.departure_time_ns[:2000][left] % 1000 == 0).all()


@pytest.mark.parametrize(("horizon", "rate", "initial"), [(0, 0.01, 9), (60, 0, 9), (60, 1, 0)])
def test_no_churn(horizon, rate, initial):
    churn = draw_churn(initial, horizon, rate, [1], np.random.default_rng(0))
    assert churn.departure_time_ns.tolist() == [NEVER] * initial
    assert churn.kind.tolist() == []


@pytest.mark.parametrize(
    "wrong",
    [(-1, 1, 1, [1]), (1, np.inf, 1, [1]), (1, 1, np.nan, [1]), (1, 1, 1, [0]), (1, 1, 1, [-1, 3])],
)
def test_churn_refuses(wrong):
    with pytest.raises(TraceError, match="must be finite"):
        draw_churn(*wrong, np.random.default_rng(0))
