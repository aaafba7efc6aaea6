"""Known optima, forms of actions, and what a policy may not know."""

import gymnasium
import numpy as np
import pytest

import fleetgym
from fleetgym.baselines.policy import baselines_of, make_baseline
from fleetgym.envs.core.registration import family_of
from fleetgym.envs.core.view import View, as_actions
from fleetgym.envs.expert_placement.planners import SELECTABLE
from fleetgym.envs.expert_placement.simulator import PLANNER
from fleetgym.envs.expert_placement.workloads import ExpertWorkload

ID = "fleetgym/ExpertPlacement-v0"
FAMILY = family_of(ID)


def toy(seed):
    """The toy whose heaviest expert is 2 for the seed 1 of the training split."""
    env = gymnasium.make(ID, scenario="toy").unwrapped
    env.reset(options={"workload_seed": seed})
    return env


def edit(env, layer, slot, target):
    for action in (layer, slot, target):
        env.step(action)


def test_the_toy_held():
    env = toy(1)
    assert env.simulator.state().history[0, 0, 0].tolist() == [2, 2, 8, 4]
    assert env.simulator.state().gpu_tokens[0].tolist() == [[10, 6]] * 2
    for _ in range(3):
        env.step(2)
    metrics = env.metrics()
    assert metrics["serving_s"] == pytest.approx(3 * 2 * 10e-6)
    assert metrics["relative_time"] == 1.25
    assert metrics["balancedness"] == 0.8
    assert metrics["regret_to_hold_s"] == 0


def test_the_toys_optimum():
    env = toy(1)
    for layer in range(2):
        edit(env, layer, 1, 3)
        edit(env, layer, 4, 2)
    rewards = [env.step(2)[1] for _ in range(3)]
    metrics = env.metrics()
    assert metrics["balancedness"] == 1.0
    assert metrics["stall_s"] == pytest.approx(2e-6), "two experts into each GPU"
    assert rewards == pytest.approx([-1 - 2 / 16, -1, -1])
    assert metrics["regret_to_clairvoyant_s"] == pytest.approx(2e-6)
    assert metrics["moved_gb"] == pytest.approx(4 * 0.05e-3)


@pytest.mark.parametrize("control", ["central", "distributed"])
def test_edits_are_made_once(control):
    """No edit may undo another: what a slot held when the window began stays closed."""
    env = toy(1)
    edit(env, 0, 1, 3)
    env.step(0)
    env.step(1)
    mask = env.action_masks()
    assert not mask[1], "its first expert"
    assert not mask[3], "its expert now"
    assert mask.any()


def test_last_replicas_stay():
    env = toy(1)
    env.step(0)
    env.step(2)  # holds the only replica of expert 2
    assert not env.action_masks()[:4].any()
    assert env.action_masks()[4 + 3 :].any()


@pytest.mark.parametrize("planner", range(len(SELECTABLE)))
def test_selected_planners_never_drop_an_expert(planner):
    env = gymnasium.make(ID, scenario="small", action="select", dispatch="lp").unwrapped
    env.reset(seed=planner)
    over = False
    while not over:
        _, _, over, _, _ = env.step(planner)
        assert (env.simulator.state().replicas >= 1).all()
        assert (env.simulator.state().replicas.sum(axis=2) == 40).all()
    assert env.metrics()["dropped_tokens"] == 0
    assert (env.metrics()["thinking_s"] == 0) == (SELECTABLE[planner] == "hold")


def test_lp_dispatch_and_no_drift_help():
    def time(**fields):
        env = gymnasium.make(ID, scenario="small", action="select", **fields).unwrapped
        env.reset(options={"workload_seed": 3})
        over = False
        while not over:
            _, _, over, _, _ = env.step(SELECTABLE.index("hold"))
        return env.metrics()["relative_time"]

    assert time(dispatch="lp") < time()
    assert time(drift="none") < time()


def test_overlapped_migration_hides_most_of_the_stall():
    stalls, times = [], []
    for migration in ("synchronous", "overlapped"):
        env = gymnasium.make(
            ID, scenario="ep32-small", action="select", migration=migration
        ).unwrapped
        env.reset(options={"workload_seed": 3})
        over = False
        while not over:
            _, _, over, _, _ = env.step(SELECTABLE.index("lpt"))
        stalls.append(env.metrics()["stall_s"])
        times.append(env.metrics()["time_s"])
    assert stalls[1] < 0.5 * stalls[0]


def test_thinking_is_charged_once():
    quick, slow = (
        gymnasium.make(ID, scenario="small", decision_latency=latency).unwrapped
        for latency in ("none", "fixed:0.5")
    )
    for env in (quick, slow):
        env.reset(seed=0)
        env.step(4)
        env.step(4)
    extra = slow.metrics()["thinking_s"] - quick.metrics()["thinking_s"]
    assert extra == pytest.approx(1.0)
    difference = slow.simulator.now()[0] - quick.simulator.now()[0]
    assert difference == 1_000_000_000
    free = gymnasium.make(ID, scenario="small", thinking=0.0, action="select").unwrapped
    free.reset(seed=0)
    free.step(SELECTABLE.index("eplb"))
    assert free.metrics()["thinking_s"] == 0


class Planted:
    """One past, and by the seed one of two futures."""

    name = "planted"
    capacity = {"layers": 2, "experts": 32}  # noqa: RUF012

    def draw(self, seed):
        rng = np.random.default_rng(1)
        loads = rng.integers(1, 1_000, (8 + 3, 2, 32)).astype(np.int32)
        loads[8:] = np.roll(loads[8:], 7 * (seed % 2), axis=2)
        return ExpertWorkload("planted", seed, loads)


def simulator(seed, **fields):
    scenario = FAMILY.scenario("small", {"layers": 2, "windows": 3, **fields})
    made = FAMILY.simulate(scenario, Planted(), 1)
    made.reset([Planted().draw(seed)])
    return made


@pytest.mark.parametrize("action", ["edit", "select", "forecast"])
def test_everything_a_view_shows_is_the_same(action):
    one, other = (View(simulator(seed, action=action)) for seed in (0, 1))
    assert one._simulator.workloads[0].digest != other._simulator.workloads[0].digest
    for name, array in one.state()._asdict().items():
        assert np.array_equal(array, other.state()._asdict()[name]), name
    for name, array in one.observation()[PLANNER].items():
        assert np.array_equal(array, other.observation()[PLANNER][name]), name
    assert one.metrics().keys() == other.metrics().keys()
    for name, value in one.metrics().items():
        assert value == other.metrics()[name], name


def test_imagined_windows_are_like_the_last_one():
    digests = []
    for seed in (0, 1):
        view = View(simulator(seed))
        imagined = view.imagine(0, 2)
        for _ in range(3):
            result = imagined.step({PLANNER: np.full((2, 1), 2)})
        assert result.terminated.all()
        assert (imagined.state().history[:, 0] == view.state().history[:, 0]).all()
        digests.append(imagined.digest().tolist())
    assert digests[0] == digests[1], "the true future shines through"


ONLINE = [
    name for name in baselines_of(FAMILY) if make_baseline(FAMILY, name).information == "online"
]


@pytest.mark.parametrize("name", ONLINE)
def test_no_online_baseline_acts_on_the_future(name):
    """The first window's actions are the same, whatever the windows to come hold."""
    played = []
    for seed in (0, 1):
        world, policy = simulator(seed), make_baseline(FAMILY, name, seconds=60.0, seed=1)
        view = View(world)
        policy.reset(view, np.arange(1))
        actions = []
        while world.state().window[0] == 0:
            given = as_actions(view, policy.act(view))
            actions.append(int(given[PLANNER][0, 0]))
            world.step(given)
        played.append(actions)
    assert played[0] == played[1]


def test_train_and_test_split_differ():
    digests = set()
    for split in ("train", "test"):
        source = gymnasium.make(ID, scenario="small", split=split).unwrapped._face.source
        digests |= {source.draw(seed).digest for seed in range(10)}
    assert len(digests) == 20


def test_evaluate_by_name():
    assert {"eplb", "robust", "clairvoyant"} <= set(fleetgym.list_baselines(ID))
    assert {"toy", "small", "ep32", "ep32-small", "ep64", "ep144"} == set(
        fleetgym.list_scenarios(ID)
    )
