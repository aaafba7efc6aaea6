"""What a user can get wrong: one clear error each."""

from dataclasses import replace

import gymnasium
import numpy as np
import pytest

import fleetgym
from fleetgym.envs.core.errors import IllegalActionError, ScenarioError, WorkloadError
from fleetgym.envs.core.replay import replay, verify
from fleetgym.envs.core.workload import Workload
from fleetgym.envs.expert_placement.workloads import ExpertWorkload
from fleetgym.traces.errors import TraceError

ID = "fleetgym/ExpertPlacement-v0"
SHAPE = (8 + 20, 4, 32)  # of the scenario "small"


def make(**arguments):
    return gymnasium.make(ID, **arguments).unwrapped


class Mine:
    """Loads as a user would give them."""

    name = "mine"
    capacity = {"layers": 4, "experts": 32}  # noqa: RUF012

    def __init__(self, change=lambda loads: loads):
        self.change = change

    def draw(self, seed):
        loads = np.random.default_rng(seed).integers(1, 1_000, SHAPE).astype(np.int32)
        return ExpertWorkload(self.name, seed, self.change(loads))


def put(index, value):
    def change(loads):
        loads[index] = value
        return loads

    return change


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"slots": 31}, r"slots is 31, it must be at least the 32 experts"),
        ({"gpus": 7}, r"gpus is 7, it must be a divisor of slots = 40"),
        ({"gpus": 1}, r"gpus is 1, it must be at least 2"),
        ({"nodes": 3}, r"nodes is 3, it must be a divisor of gpus = 8"),
        ({"groups": 5}, r"groups is 5, it must be a divisor of experts = 32"),
        ({"experts": 2, "groups": 1}, r"experts is 2, it must be at least 3"),
        ({"layers": 0}, r"layers is 0, it must be from 1 to"),
        ({"windows": 0}, r"windows is 0"),
        ({"history": 0}, r"history is 0"),
        ({"edits_per_layer": 0}, r"edits_per_layer is 0"),
        ({"tokens_per_iteration": 2**40}, r"tokens_per_iteration is .* below 2\*\*30"),
        ({"inter_gb_s": 0}, r"inter_gb_s is 0.0, it must be above 0"),
        ({"inter_gb_s": 900}, r"inter_gb_s is 900.0, it must be at most intra_gb_s"),
        ({"group_picks": 0.5}, r"group_picks is 0.5, it must be from 1"),
        ({"ns_per_token": float("nan")}, r"ns_per_token is nan"),
        ({"ns_per_token": 0, "floor_us": 0}, r"ns_per_token is 0.0, it must be above 0"),
        ({"interference": -1}, r"interference is -1.0"),
        ({"thinking": -1}, r"thinking is -1.0"),
        ({"drift": "wild"}, r"drift is 'wild', it must be 'none' or 'slow'"),
        ({"skew": "steep"}, r"skew is 'steep'"),
        ({"action": "plan"}, r"action is 'plan', it must be 'edit' or 'select' or 'forecast'"),
        ({"replicas": 3}, r"no field 'replicas'"),
    ],
)
def test_bad_field(fields, message):
    with pytest.raises(ScenarioError, match=message):
        make(scenario="small", **fields)


def test_several_agents_edit_only():
    with pytest.raises(ScenarioError, match="'edit' where control is 'distributed'"):
        fleetgym.parallel_env(ID, action="select")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put((3, 1, 4), -5), r"window 3, layer 1 has loads from -5"),
        (put((9, 2), 0), r"window 9, layer 2 has loads from 0 that add up to 0"),
        (put((0, 0, 0), 2**30), r"window 0, layer 0 .* less than 2\*\*30"),
        (lambda loads: loads[:-1], r"loads of shape \(27, 4, 32\), the scenario asks for"),
        (lambda loads: loads[:, :, :31], r"loads of shape \(28, 4, 31\)"),
        (lambda loads: loads * np.nan, r"float64 loads"),
    ],
)
def test_loads_that_are_none(change, message):
    env = make(scenario="small", workload=Mine(change))
    with pytest.raises(WorkloadError, match=rf"'mine' \(seed 7\).*{message}|{message}"):
        env.reset(options={"workload_seed": 7})


def test_a_users_source_is_played_recorded_and_replayed():
    (record,) = fleetgym.evaluate("random", ID, "small", [5], workload=Mine())
    assert record.workload == "mine"
    assert verify(record, workload=Mine()) == record.metrics
    with pytest.raises(WorkloadError, match="'mine'"):
        replay(record)


def test_a_source_of_another_size():
    source = Mine()
    source.capacity = {"layers": 4, "experts": 31}
    with pytest.raises(WorkloadError, match=r"has 31 experts, scenario 'small' 32: set experts=31"):
        make(scenario="small", workload=source)
    source.capacity = {"layers": 4}
    with pytest.raises(WorkloadError, match="lacks 'experts'"):
        make(scenario="small", workload=source)


def test_workload_of_another_family_and_unknown_names():
    with pytest.raises(WorkloadError, match="'alien'"):
        make(scenario="small").reset(options={"workload": Workload("alien", 0)})
    with pytest.raises(WorkloadError, match="did you mean 'generated'"):
        make(scenario="small", workload="generate")
    with pytest.raises(TraceError, match=r"nowhere\.json: no such file"):
        make(scenario="small", workload="nowhere.json")


def test_a_negative_forecast_is_illegal():
    env = make(scenario="small", action="forecast")
    env.reset(seed=0)
    before = env.simulator.state().plan.copy()
    loads = np.ones((4, 32), np.int64)
    loads[2, 3] = -1
    _, reward, _, _, info = env.step(loads)
    assert info["reward_terms"]["illegal"] == reward == -env.scenario.illegal_penalty
    assert (env.simulator.state().plan == before).all()
    assert env.simulator.state().window[0] == 0
    with pytest.raises(IllegalActionError, match="does not fit"):
        env.step(np.ones((4, 32)))


def test_a_forecast_of_nothing_keeps_the_layer():
    env = make(scenario="small", action="forecast")
    env.reset(seed=0)
    before = env.simulator.state().plan[0].copy()
    loads = np.arange(1, 4 * 32 + 1).reshape(4, 32)
    loads[1] = 0
    env.step(loads)
    changed = (env.simulator.state().plan[0] != before).any(axis=1)
    assert changed.tolist() == [True, False, True, True]


def test_only_illegal_actions_truncate():
    env = make(scenario="small", layers=1, windows=1, edits_per_layer=1)
    env.reset(seed=0)
    cut = ended = False
    steps = 0
    while not (cut or ended):
        _, _, ended, cut, _ = env.step(10**6)
        steps += 1
    assert cut
    assert steps == env.simulator.rules.max_steps


def test_digest_sees_the_loads():
    workload = Mine().draw(3)
    other = replace(workload, loads=workload.loads + 1)
    assert other.digest != workload.digest
