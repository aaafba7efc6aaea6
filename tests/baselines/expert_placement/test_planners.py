"""Every planner: valid plans, what each is there for, and scores in a band."""

import numpy as np
import pytest
from tests.oracles.expert_placement import OracleWorld

import fleetgym
from fleetgym.baselines.expert_placement import forecasts, planners, robust
from fleetgym.baselines.expert_placement.bounds import balancedness_bound, largest_share
from fleetgym.baselines.expert_placement.node_packing import packed
from fleetgym.baselines.expert_placement.situation import new_experts
from fleetgym.baselines.policy import baselines_of, make_baseline
from fleetgym.envs.core.errors import FleetGymError, PolicyError
from fleetgym.envs.core.registration import family_of
from fleetgym.envs.core.replay import verify
from fleetgym.envs.expert_placement.planners import SELECTABLE

ID = "ExpertPlacement"
FAMILY = family_of(ID)
SHORT = {"windows": 3, "layers": 2}
PLANNERS = {
    "hold": planners.hold,
    "eplb": planners.eplb,
    "eplb-global": planners.eplb_global,
    "eplb-relabelled": planners.eplb_relabelled,
    "lpt-global": planners.lpt_global,
    "lpt": planners.lpt_for(forecasts.last),
    "incremental": planners.incremental,
    "transfers": planners.transfers,
    "robust": lambda situation: robust.plan(situation, 5.0),
    "clairvoyant": planners.clairvoyant,
    "foresight": lambda situation: robust.foresee(situation, 5.0),
}
RANDOM, HOLD, BAR = "random", "hold", "robust"


def balancedness(plan, loads, gpus):
    """Sum over layers of the mean / sum of the maxima, from the definition."""
    means, most = 0.0, 0.0
    for row, load in zip(plan, loads, strict=True):
        share = load / np.bincount(row, minlength=len(load))
        tokens = share[row].reshape(gpus, -1).sum(axis=1)
        means, most = means + tokens.mean(), most + tokens.max()
    return means / most


@pytest.mark.parametrize("name", PLANNERS)
@pytest.mark.parametrize("nodes", [1, 2])
@pytest.mark.parametrize("start", ["planned", "linear"])
def test_plans_are_valid(name, nodes, start, situation):
    for seed in range(4):
        given = situation(seed=seed, nodes=nodes, start=start)
        before = given.plan.copy()
        plan = PLANNERS[name](given)
        scenario = given.scenario
        assert plan.shape == (scenario.layers, scenario.slots)
        for row in plan:
            assert np.bincount(row, minlength=scenario.experts).min() >= 1
            assert len(np.bincount(row)) == scenario.experts
        assert (given.plan == before).all(), "the planner moved what it was shown"


@pytest.mark.parametrize("name", ["eplb", "lpt", "clairvoyant", "robust"])
def test_groups_stay_on_their_nodes(name, situation):
    """Robust search may split them only where that pays; started on whole groups it does not."""
    given = situation()
    plan, scenario = PLANNERS[name](given), given.scenario
    size, own = scenario.experts // scenario.groups, scenario.slots // scenario.nodes
    for row in plan:
        for group in range(scenario.groups):
            assert len({slot // own for slot in np.flatnonzero(row // size == group)}) == 1


@pytest.mark.parametrize("sigma", [0.5, 1.0])
def test_static_packing_is_solved(sigma, situation):
    """LPT and swaps: 0.999 balanced and more on lognormal loads of the full size, in bounds."""
    rng = np.random.default_rng(0)
    loads = np.rint(rng.lognormal(0, sigma, (58, 256)) * 1e4)
    given = situation("ep32")
    plan = packed(given, loads, global_=True)
    reached = balancedness(plan, loads, 32)
    assert 0.999 <= reached <= balancedness_bound(loads, 288, 32) <= 1.0
    assert min(np.bincount(row, minlength=256).min() for row in plan) >= 1


def test_the_bound_is_reached_where_one_expert_has_all():
    assert largest_share(np.array([8.0, 1.0, 1.0]), 4) == 4.0
    assert balancedness_bound([[8, 1, 1]], 4, 2) == 1.0
    assert balancedness_bound([[97, 1, 1, 1]], 4, 2) == pytest.approx(50 / 97)


def test_relabelling_copies_less(situation):
    given = situation(start="planned", drift="slow")
    gpus = given.scenario.gpus
    plain, moved = planners.eplb(given), planners.eplb_relabelled(given)
    assert new_experts(moved, given.plan, gpus).sum() <= new_experts(plain, given.plan, gpus).sum()
    for one, other in zip(plain, moved, strict=True):
        parts = [sorted(map(tuple, np.sort(row.reshape(gpus, -1)))) for row in (one, other)]
        assert parts[0] == parts[1], "another placement, not another labelling"


def test_new_experts_are_those_of_the_reference(situation):
    given = situation()
    plan = planners.lpt_global(given)
    world = OracleWorld(given.history.tolist(), given.scenario, given.plan.tolist(), 0)
    world.plan = plan.tolist()
    expected = [
        [world.new_experts(layer, g) for g in range(given.scenario.gpus)]
        for layer in range(given.scenario.layers)
    ]
    assert new_experts(plan, given.plan, given.scenario.gpus).tolist() == expected


def test_forecasts_of_what_does_not_change():
    history = np.tile(np.array([[5, 90, 7], [1, 2, 300]], np.int32), (8, 1, 1))
    for forecast in (
        forecasts.last, forecasts.mean, forecasts.ema, forecasts.ar1, forecasts.kalman,
    ):  # fmt: skip
        np.testing.assert_allclose(forecast(history), history[0], rtol=1e-6)


def test_ar1_lies_between_the_last_window_and_the_mean():
    rng = np.random.default_rng(0)
    history = np.rint(rng.lognormal(5, 1, (8, 2, 30))).astype(np.int32)
    expected = forecasts.ar1(history)
    logs = np.log1p(history)
    low, high = np.minimum(logs[0], logs.mean(axis=0)), np.maximum(logs[0], logs.mean(axis=0))
    assert (np.log1p(expected) >= low - 1e-9).all()
    assert (np.log1p(expected) <= high + 1e-9).all()


@pytest.mark.parametrize("name", [b for b in baselines_of(FAMILY)])
def test_every_baseline_plays_and_replays(name):
    (record,) = fleetgym.evaluate(name, ID, "small", [3], **SHORT)
    metrics = verify(record)
    assert metrics["windows"] == 3
    assert metrics["dropped_tokens"] == 0
    assert metrics["illegal_actions"] == 0
    assert metrics["relative_time"] >= 1
    seeing = name in ("clairvoyant", "foresight")
    assert record.information == ("clairvoyant" if seeing else "online")


@pytest.mark.parametrize("name", ["hold", "eplb", "eplb-global", "incremental", "lpt"])
def test_named_planners_are_selected(name):
    (record,) = fleetgym.evaluate(name, ID, "small", [3], action="select", **SHORT)
    assert set(record.actions["planner"].ravel().tolist()) == {SELECTABLE.index(name)}


def test_a_forecast_is_handed_to_the_packer():
    for name in ("lpt", "lpt-ar1"):
        (record,) = fleetgym.evaluate(name, ID, "small", [3], action="forecast", **SHORT)
        assert verify(record)["moved_gb"] > 0
    with pytest.raises(PolicyError, match="'robust' is none of the planners"):
        fleetgym.evaluate("robust", ID, "small", [3], action="select", **SHORT)
    with pytest.raises(PolicyError, match="'eplb' makes no forecast"):
        fleetgym.evaluate("eplb", ID, "small", [3], action="forecast", **SHORT)
    with pytest.raises(FleetGymError):
        fleetgym.evaluate("eplb", "VMRescheduling", "toy", [3])


@pytest.mark.parametrize("drift", ["none", "medium"])
def test_scores_in_a_band(drift):
    """The order that the families' notes lead to expect; with no drift holding is nearly best."""
    times = {}
    for name in (RANDOM, HOLD, "lpt", BAR, "clairvoyant"):
        records = fleetgym.evaluate(name, ID, "small", range(4), drift=drift, layers=2, windows=6)
        times[name] = np.mean([record.metrics["relative_time"] for record in records])
    assert times[RANDOM] > times["lpt"]
    assert times[BAR] <= 1.02 * min(times[HOLD], times["lpt"])
    if drift == "none":
        assert times[BAR] <= times[HOLD]
    else:
        assert times["clairvoyant"] < times[BAR] < times[HOLD]


@pytest.mark.parametrize("name", ["eplb", "lpt", "robust", "incremental"])
def test_agents_of_layers_carry_out_the_same_plan(name):
    plans = []
    for control in ("central", "distributed"):
        scenario = FAMILY.scenario("small", {"control": control, **SHORT})
        (record,) = fleetgym.evaluate(name, ID, "small", [5], control=control, **SHORT)
        assert record.metrics["windows"] == scenario.windows
        plans.append((record.metrics["serving_s"], record.metrics["moved_gb"]))
    assert plans[0] == pytest.approx(plans[1])


def test_no_online_policy_sees_the_future():
    for name in baselines_of(FAMILY):
        policy = make_baseline(FAMILY, name)
        if policy.information == "online":
            record = fleetgym.evaluate(policy, ID, "small", [1], layers=2, windows=2)
            assert record[0].information == "online"
