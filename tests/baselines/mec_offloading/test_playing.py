"""Policies by name: legal in every form of the machine, blind to the future, above the bound."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from tests.baselines.mec_offloading.playing import FAMILY, cost, play, simulator, still

from fleetgym.baselines.mec_offloading.exact_play import solve
from fleetgym.baselines.mec_offloading.lookahead import RolloutPolicy
from fleetgym.baselines.mec_offloading.named import PLANNED
from fleetgym.baselines.mec_offloading.play_bounds import makespan_bounds
from fleetgym.baselines.policy import baselines_of, make_baseline
from fleetgym.envs.core.errors import PolicyError
from fleetgym.envs.mec_offloading.types import A_ARRIVAL, A_FINISH
from fleetgym.envs.mec_offloading.workloads import workload_of
from fleetgym.traces.schema_mec import from_edges

NAMES = [baseline.name for baseline in PLANNED]
ONLINE = [n for n in NAMES if make_baseline(FAMILY, n).information == "online"]
PLACING = [n for n in ONLINE if not n.endswith("rollout")]
TINY = {"devices": 1, "servers": 1, "tasks": 5}


def test_they_are_baselines():
    assert set(NAMES) < set(baselines_of(FAMILY))


@pytest.mark.parametrize("name", PLACING)
@pytest.mark.parametrize(
    "fields",
    [
        {"planned": True},
        {"apps": 2, "speed_m_s": 20.0, "view_delay_ms": 30.0},
        {"action": "continuous"},
        {"dvfs": (0.5, 1.0)},
        {"control": "distributed", "symbols": 4, "view_delay_ms": 30.0},
        {"server_mb": 100.0, "device_mb": 130.0, "failures": 3.0},
    ],
)
def test_every_form_of_the_machine_is_played_to_its_end(name, fields):
    made = simulator("small", 5, **fields)
    play(make_baseline(FAMILY, name, seed=1), made)
    metrics = made.metrics()
    assert metrics["illegal_actions"][0] == 0
    assert metrics["applications_finished"][0] == 4 * fields.get("apps", 1)


@pytest.mark.parametrize("fields", [{}, {"control": "distributed", "symbols": 4}, {"apps": 2}])
def test_rollouts_are_legal(fields):
    made = simulator("small", 5, **fields)
    play(RolloutPolicy("rollout", parallel=True), made)
    assert made.metrics()["illegal_actions"][0] == 0
    with pytest.raises(PolicyError, match="set action='place'"):
        play(RolloutPolicy("rollout", parallel=True), simulator("small", action="continuous"))


def other_future(workload):
    """Applications still to come are others."""
    apps = workload.applications
    strange = from_edges("strange", [10**9, 10**6], [(0, 1, 10**5)], outputs=[0, 5])
    graphs = tuple(
        graph if arrival == 0 else strange
        for graph, arrival in zip(apps.graphs, apps.arrival, strict=True)
    )
    return workload_of(
        "planted", 0, workload.network, workload.devices, replace(apps, graphs=graphs),
        channel=int(workload.channel[0]),
    )  # fmt: skip


@pytest.mark.parametrize("name", ONLINE)
def test_a_planted_future_changes_nothing_before_it(name):
    fields = {"apps": 2, "interarrival_s": 1.0}
    worlds = [simulator("small", 4, change, **fields) for change in (None, other_future)]
    assert worlds[0].workloads[0].digest != worlds[1].workloads[0].digest
    arrival = worlds[0].workloads[0].applications.arrival
    first = min(arrival[arrival > 0])
    one, other = (play(make_baseline(FAMILY, name, seed=2), _until(w, first)) for w in worlds)
    assert len(one) > 10
    assert one == other


def _until(made, time):
    """The simulator, over as soon as its clock reaches a time."""
    over = made.over
    made.over = lambda: over() | (made.now() >= time)
    return made


@pytest.mark.parametrize(
    "fields",
    [{}, {"fading": False, "planned": True}, {"speed_m_s": 20.0, "apps": 2}, {"servers": 3}],
)
def test_no_application_beats_its_bound(fields):
    for seed in range(3):
        made = simulator("small", seed, **fields)
        bounds = makespan_bounds(made.scenario, made.workloads[0], made.capacity)
        assert (bounds > 0).all()
        for name in ("heft-replanned", "peft", "parallel-rollout"):
            world = simulator("small", seed, **fields)
            play(make_baseline(FAMILY, name), world)
            apps = world.state().apps[0]
            took = apps[:, A_FINISH] - apps[:, A_ARRIVAL]
            assert (took >= bounds).all()


def test_the_bound_is_reached_alone():
    """One task alone, without fading: the bound is what the best place takes."""
    fields = {"devices": 1, "tasks": 1, "fading": False}
    made = simulator("small", 2, **fields)
    bounds = makespan_bounds(made.scenario, made.workloads[0], made.capacity)
    play(make_baseline(FAMILY, "exact"), made)
    assert made.state().apps[0, 0, A_FINISH] == pytest.approx(bounds[0], rel=1e-5)


@pytest.mark.parametrize("fields", [{}, {"planned": True}, {"devices": 2, "tasks": 2}])
def test_exact_against_every_sequence(fields):
    for seed in range(2):
        options = TINY | {"tasks": 4} | fields
        start = simulator("small", seed, **options)
        found = solve(start)
        count = options["devices"] * options["tasks"]
        least = min(
            _cost_of(start, actions) for actions in itertools.product(range(3), repeat=count)
        )
        assert found.cost == pytest.approx(least, rel=1e-12)
        assert _cost_of(start, found.actions) == pytest.approx(found.cost)


def _cost_of(start, actions):
    made = start.fork(0, 1)
    (role,) = made.roles
    for action in actions:
        if made.over()[0]:
            break
        made.step({role: np.array([[action]])})
    return cost(made) if made.over()[0] else np.inf


@pytest.mark.parametrize(("scenario", "fields"), [("toy", {}), ("small", TINY)])
def test_no_policy_beats_the_exact_one(scenario, fields):
    for seed in range(3):
        worlds = {}
        for name in NAMES:
            worlds[name] = simulator(scenario, seed, **fields)
            play(make_baseline(FAMILY, name, seed=3), worlds[name])
        exact = cost(worlds["exact"])
        made = worlds["exact"]
        bounds = makespan_bounds(made.scenario, made.workloads[0], made.capacity)
        assert made.state().apps[0, 0, A_FINISH] >= bounds[0]
        for world in worlds.values():
            assert exact <= cost(world) + 1e-12


def test_exact_refuses():
    with pytest.raises(PolicyError, match="40 tasks are too many"):
        solve(simulator("small"))
    with pytest.raises(PolicyError, match="control='central'"):
        solve(simulator("small", control="distributed"))


def test_planning_anew_and_looking_ahead_pay():
    """Bands of the mean cost over six episodes; greedy EFT is what plays imagined futures."""
    costs = {}
    for name in ("heft", "heft-replanned", "rollout"):
        worlds = [simulator("cluster", seed) for seed in range(6)]
        for world in worlds:
            play(make_baseline(FAMILY, name), world)
        costs[name] = np.mean([cost(world) for world in worlds]) / 8
    assert costs["rollout"] < costs["heft-replanned"] < costs["heft"]


def test_still_is_what_it_says():
    made = simulator("small", 1, still, apps=2)
    assert (made.state().apps[0, :, A_ARRIVAL] == 0).all()
