"""A user's own workload source, and workloads that do not fit."""

from dataclasses import replace

import gymnasium
import numpy as np
import pytest

import fleetgym
from fleetgym.envs.core.errors import ScenarioError, WorkloadError
from fleetgym.envs.core.replay import replay, verify
from fleetgym.envs.core.workload import Workload
from fleetgym.envs.vm_rescheduling.workloads import VMWorkload, toy_fleet
from fleetgym.traces.errors import TraceError

ID = "fleetgym/VMRescheduling-v0"
NO_EVENTS = (np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, np.int8))


class OneFleet:
    """The toy fleet with the racks renamed by the seed, as a user would write a source."""

    name = "mine"
    capacity = {"pms": 4, "vms": 9, "types": 3, "classes": 3, "groups": 0, "events": 0}  # noqa: RUF012

    def draw(self, seed):
        fleet = replace(toy_fleet(), pm_rack=np.full(3, seed % 100, np.int32))
        return VMWorkload(self.name, seed, fleet, *NO_EVENTS)


def test_a_users_source_is_played_recorded_and_replayed():
    env = gymnasium.make(ID, scenario="toy", workload=OneFleet()).unwrapped
    observation, info = env.reset(seed=0)
    assert env.scenario.workload == "mine"
    assert observation["pms"].shape[0] == 4
    assert env.simulator.state().pm_rack[0, 0] == int(info["workload_seed"]) % 100
    (record,) = fleetgym.evaluate("random", ID, "toy", [5], workload=OneFleet())
    assert record.workload == "mine"
    assert verify(record, workload=OneFleet()) == record.metrics
    with pytest.raises(WorkloadError, match="'mine'"):
        replay(record)


@pytest.mark.parametrize(("what", "size"), [("pms", 2), ("vms", 6), ("types", 2), ("classes", 2)])
def test_capacity_too_small(what, size):
    source = OneFleet()
    source.capacity = source.capacity | {what: size}
    env = gymnasium.make(ID, scenario="toy", workload=source)
    with pytest.raises(WorkloadError, match=rf"'mine' \(seed .*allows {size}: raise the capacity"):
        env.reset(seed=0)


def test_capacity_lacks_a_size():
    source = OneFleet()
    source.capacity = {"pms": 4}
    with pytest.raises(WorkloadError, match="lacks 'vms'"):
        gymnasium.make(ID, scenario="toy", workload=source)


def test_workload_of_another_family():
    env = gymnasium.make(ID, scenario="toy")
    with pytest.raises(WorkloadError, match="'alien'"):
        env.reset(options={"workload": Workload("alien", 0)})


def test_unknown_workload_names_the_nearest():
    with pytest.raises(WorkloadError, match="did you mean 'matched'"):
        gymnasium.make(ID, scenario="small", workload="match")
    with pytest.raises(ScenarioError, match="of type str"):
        gymnasium.make(ID, scenario="small", workload=3)
    with pytest.raises(TraceError, match=r"nowhere\.json"):
        gymnasium.make(ID, scenario="small", workload="nowhere.json")


def test_digest_sees_every_array_and_not_the_seed():
    workload = OneFleet().draw(3)
    assert OneFleet().draw(103).digest == workload.digest
    assert OneFleet().draw(4).digest != workload.digest
    fleet = workload.fleet
    for field in ("vm_cores", "vm_numa", "slot_memory", "vm_movable"):
        array = getattr(fleet, field).copy()
        array[0] = not array[0] if array.dtype == bool else array[0] ^ 1
        other = replace(workload, fleet=replace(fleet, **{field: array}))
        assert other.digest != workload.digest, field


def test_train_and_test_split_differ():
    digests = set()
    for split in ("train", "test"):
        env = gymnasium.make(ID, scenario="small", split=split).unwrapped
        digests |= {env._face.source.draw(seed).digest for seed in range(20)}
    assert len(digests) == 40
