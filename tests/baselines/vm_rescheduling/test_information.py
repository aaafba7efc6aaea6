"""No online policy can see the future: two worlds that differ only in it look and play alike."""

import itertools
import time
from dataclasses import replace

import numpy as np
import pytest

import fleetgym
from fleetgym.baselines.policy import RandomLegal, baselines_of, make_baseline
from fleetgym.envs.core.errors import FleetGymError, PolicyError
from fleetgym.envs.core.registration import family_of
from fleetgym.envs.core.view import View, as_actions
from fleetgym.envs.vm_rescheduling.simulator import AGENT
from fleetgym.envs.vm_rescheduling.workloads import VMWorkload
from fleetgym.traces.generators import vm_fleet

FAMILY = family_of("VMRescheduling")
LATER = 3_600 * 10**9  # ns: nothing of what is planted happens while the policies play
SIZE = {"pms": 4, "vms": 90, "types": 9, "classes": 9, "groups": 0, "events": 90}


class Planted:
    """One present, and by the seed one of two futures: nothing, or forty arrivals."""

    name = "planted"
    capacity = SIZE

    def draw(self, seed):
        fleet = vm_fleet.matched(num_pms=4, racks=1, utilisation=(0.8, 0.9), seed=3)
        late = 40 * (seed % 2)
        kind = np.arange(late) % fleet.num_vms
        fields = {
            name: np.concatenate((getattr(fleet, name), getattr(fleet, name)[kind]))
            for name in ("vm_cores", "vm_memory", "vm_gpu", "vm_double", "vm_movable")
        }
        nowhere = np.full(late, -1, np.int32)
        fields |= {
            name: np.concatenate((getattr(fleet, name), nowhere)) for name in ("vm_pm", "vm_group")
        }
        fields["vm_numa"] = np.concatenate((fleet.vm_numa, np.zeros(late, np.int32)))
        return VMWorkload(
            "planted",
            seed,
            replace(fleet, **fields, vm_ids=()),
            np.arange(late, dtype=np.int64) + LATER,
            np.arange(fleet.num_vms, fleet.num_vms + late, dtype=np.int32),
            np.ones(late, np.int8),
        )


def simulator(seed, **fields):
    scenario = FAMILY.scenario("small", {"mnl": 4} | fields)
    made = FAMILY.simulate(scenario, Planted(), 1)
    made.reset([Planted().draw(seed)])
    return made


def same(one, other):
    for name, array in one.items():
        assert np.array_equal(array, other[name]), f"{name} tells the futures apart"


@pytest.mark.parametrize("action", ["two-phase", "pair"])
def test_everything_a_view_shows_is_the_same(action):
    empty, full = (View(simulator(seed, action=action)) for seed in (0, 1))
    assert empty._simulator.workloads[0].digest != full._simulator.workloads[0].digest
    same(empty.state()._asdict(), full.state()._asdict())
    same(empty.observation()[AGENT], full.observation()[AGENT])
    same(empty.action_mask(), full.action_mask())
    same(empty.metrics(), full.metrics())
    assert empty.scenario == full.scenario
    assert empty.roles.keys() == full.roles.keys()


def test_imagined_futures_are_empty():
    view = View(simulator(1, churn_per_min=0.0))
    imagined = view.imagine(0, 3)
    assert imagined.num_worlds == 3
    assert imagined.workloads == [None] * 3
    before = imagined.state().vm_pm.copy()
    imagined.elapse(np.full(3, 10 * LATER))
    assert (imagined.state().vm_pm == before).all()
    true = view._simulator
    true.elapse(np.full(1, 10 * LATER))
    assert (true.state().vm_pm != before[:1]).any(), "the planted future never came"


def test_a_view_gives_nothing_away():
    view = View(simulator(1))
    for name in ("save", "restore", "fork", "rollout", "step", "elapse", "reset", "workloads"):
        assert not hasattr(view, name)
    with pytest.raises(PolicyError, match="clairvoyant"):
        view.future(0)
    assert View(simulator(1), clairvoyant=True).future(0).seed == 1
    for array in (*view.state(), *view.observation()[AGENT].values(), *view.action_mask().values()):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def played(name, seed):
    """The actions of an episode."""
    world = simulator(seed)
    policy = make_baseline(FAMILY, name, seconds=0.2, seed=1)
    view = View(world, clairvoyant=policy.information == "clairvoyant")
    policy.reset(view, np.arange(1))
    actions = []
    for _ in range(40):
        given = as_actions(view, policy.act(view))
        actions.append(int(given[AGENT][0, 0]))
        result = world.step(given)
        if result.terminated[0] or result.truncated[0]:
            return actions
    raise AssertionError("the episode does not end")


ONLINE = [
    name for name in baselines_of(FAMILY) if make_baseline(FAMILY, name).information == "online"
]


@pytest.mark.parametrize("name", ONLINE)
def test_no_online_baseline_acts_on_the_future(name, monkeypatch):
    """The clock ticks by the look, so that planners with a budget on time do the same again."""
    episodes = []
    for seed in (0, 1):
        ticks = itertools.count()
        monkeypatch.setattr(time, "perf_counter", lambda ticks=ticks: next(ticks) * 1e-3)
        episodes.append(played(name, seed))
    assert episodes[0] == episodes[1], "another episode when only the future differs"


class Asking(RandomLegal):
    """A policy that asks for what it must not see."""

    name = "asking"

    def act(self, view):
        view.future(0)
        return super().act(view)


class Wrong(RandomLegal):
    """A policy that answers in the wrong shape or type."""

    name = "wrong"

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def act(self, view):
        return self.answer


def test_evaluate_holds_policies_to_it():
    with pytest.raises(PolicyError, match="online"):
        fleetgym.evaluate(Asking(), "VMRescheduling", "toy", [0])
    eye = Asking()
    eye.information = "clairvoyant"
    (record,) = fleetgym.evaluate(eye, "VMRescheduling", "toy", [0])
    assert record.information == "clairvoyant"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (np.zeros(2, int), r"answered int64 of shape \(2,\)"),
        (np.zeros(1), r"answered float64"),
        ({"router": np.zeros(1, int)}, r"no action for role 'scheduler'"),
        (np.full(1, 10**6), r"the action mask forbids it"),
        (None, r"answered object"),
    ],
)
def test_evaluate_names_a_wrong_answer(answer, message):
    with pytest.raises(FleetGymError, match=message):
        fleetgym.evaluate(Wrong(answer), "VMRescheduling", "toy", [0])


def test_unknown_policy_names_the_nearest():
    with pytest.raises(PolicyError, match="did you mean 'random'"):
        make_baseline(FAMILY, "randon")
