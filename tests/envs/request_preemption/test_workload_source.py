"""A user's own workload source, workloads that do not fit, and scenarios that make no sense."""

from dataclasses import replace

import gymnasium
import numpy as np
import pytest
from tests.envs.request_preemption.machine import finish, simulator_of, workload

import fleetgym
from fleetgym.envs.core.errors import ScenarioError, WorkloadError
from fleetgym.envs.core.replay import verify
from fleetgym.envs.core.workload import Workload
from fleetgym.traces.errors import TraceError

ID = "fleetgym/RequestPreemption-v0"


class Few:
    """Six requests whose lengths the seed draws, as a user would write a source."""

    name = "mine"
    capacity = {"rows": 6, "hashes": 0}  # noqa: RUF012

    def draw(self, seed):
        rng = np.random.default_rng(seed)
        prompt, output = rng.integers(1, 400, 6), rng.integers(1, 30, 6)
        made = workload(np.arange(6) * 1_000, prompt, output)
        return replace(made, name=self.name, seed=seed)


class Wrong(Few):
    """The same, spoilt by a function of the trace."""

    def __init__(self, spoil):
        self.spoil = spoil

    def draw(self, seed):
        made = super().draw(seed)
        return replace(made, trace=self.spoil(made.trace))


def make(**arguments):
    return gymnasium.make(ID, **({"scenario": "small"} | arguments)).unwrapped


def test_a_users_source_is_played_recorded_and_replayed():
    env = make(workload=Few())
    env.reset(seed=0)
    assert env.scenario.workload == "mine"
    (record,) = fleetgym.evaluate("random", ID, "small", [5], workload=Few())
    assert record.workload == "mine"
    assert verify(record, workload=Few()) == record.metrics
    assert record.metrics["accepted"] == 6


@pytest.mark.parametrize("size", [{"rows": 5, "hashes": 0}, {"rows": 6}])
def test_capacity_too_small_or_lacking(size):
    source = Few()
    source.capacity = size
    wanted = "lacks 'hashes'" if len(size) == 1 else r"'mine' \(seed .*6 requests.*room for 5"
    with pytest.raises(WorkloadError, match=wanted):
        make(workload=source).reset(seed=0)


def column(name, at, value):
    def spoil(trace):
        array = getattr(trace, name).copy()
        array[at] = value
        return replace(trace, **{name: array})

    return spoil


def hashes(trace, tokens, *lists):
    """The trace with the hash lists of its first rows."""
    count = np.zeros(len(trace), np.int32)
    count[: len(lists)] = [len(one) for one in lists]
    start = (np.cumsum(count) - count).astype(np.int32)
    names = np.array([name for one in lists for name in one], np.int32)
    return replace(trace, hash_start=start, hash_count=count, hashes=names, hash_tokens=tokens)


def contradicting(trace):
    """Two turns of one program whose prompts do not begin alike."""
    made = column("program", [0, 5], 0)(column("next_turn", 0, 5)(trace))
    made = replace(made, prompt_tokens=np.full(6, 64, np.int32))
    return hashes(made, 16, [0, 1, 2, 3], [], [], [], [], [4, 5, 6, 7])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (column("arrival_ns", 3, 0), "arrives before the one before it"),
        (column("prompt_tokens", 2, 0), "prompt_tokens not in 1 to"),
        (column("output_tokens", 2, 0), "output_tokens not in 1 to"),
        (column("output_tokens", 2, -4), "output_tokens not in 1 to"),
        (column("client", 1, -1), "client not in 0 to"),
        (column("client", 1, 3), "4 clients, there is room for 1"),
        (column("next_turn", 2, 1), "next turn that is not below it"),
        (column("pause_ns", 0, 5), "a first turn and yet has a pause"),
        (lambda trace: hashes(trace, 24, [0]), "24 tokens; the prefix cache needs a multiple"),
        (contradicting, "hashes of row 5 do not begin with those of the turn before it, row 0"),
    ],
)
def test_malformed_workloads_are_named(spoil, message):
    source = Wrong(spoil)
    source.capacity = {"rows": 6, "hashes": 16}
    env = make(workload=source, prefix_cache=True)
    with pytest.raises((TraceError, WorkloadError), match=message):
        env.reset(seed=0)


def test_what_never_fits_is_counted_and_never_shown():
    made = workload([0, 0, 5, 9], [100, 6_400, 50, 6_390], [10, 2, 10, 11])
    simulator = simulator_of([made], kv_blocks=400)
    assert simulator.metrics()["accepted"][0] == 1
    finish(simulator)
    metrics = simulator.metrics()
    assert metrics["accepted"][0] == metrics["finished"][0] == 3, "6,390 + 11 - 1 tokens just fit"
    assert metrics["rejected"][0] == 1


def test_a_turn_that_never_fits_ends_its_program():
    trace = workload([0, 0, 0], [50, 6_500, 60], [5, 5, 5]).trace
    turns = {"program": [0, 0, 0], "next_turn": [1, 2, -1]}
    columns = {name: np.array(values, np.int32) for name, values in turns.items()}
    made = workload([0, 0, 0], [50, 6_500, 60], [5, 5, 5])
    simulator = simulator_of([replace(made, trace=replace(trace, **columns).validate())])
    finish(simulator)
    metrics = simulator.metrics()
    assert [int(metrics[name][0]) for name in ("accepted", "finished", "rejected")] == [1, 1, 2]


def test_workload_of_another_family_and_unknown_names():
    with pytest.raises(WorkloadError, match="'alien'"):
        make().reset(options={"workload": Workload("alien", 0)})
    with pytest.raises(WorkloadError, match="did you mean 'azure-conv-like'"):
        make(workload="azure-conv-lik")
    with pytest.raises(ScenarioError, match="of type str"):
        make(workload=3)
    with pytest.raises(TraceError, match=r"nowhere\.npz"):
        make(workload="nowhere.npz")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kv_block": 3}, "no field 'kv_block': did you mean 'kv_blocks'"),
        ({"kv_blocks": 0}, "kv_blocks is 0, it must be at least 1"),
        ({"max_num_seqs": 4_000}, "at most token_budget = 2048"),
        ({"priority_updates": 1.5}, "from 0 to 1 an iteration"),
        ({"priority_weights": [1.0, 2.0]}, "empty, or 1 numbers"),
        ({"ttls_s": [1.0, 1.0]}, "different numbers of seconds"),
        ({"action": "scores", "instances": 2}, "'pointer' where there are several instances"),
        ({"rebalance_s": 1.0}, "0 on one instance"),
        ({"preemption": "drop"}, "'recompute' or 'swap' or 'cheapest' or 'chosen'"),
        ({"gpu": "a10"}, "did you mean 'a100'"),
        ({"arrival_scale": 0}, "above 0"),
    ],
)
def test_bad_fields(fields, message):
    with pytest.raises(ScenarioError, match=message):
        make(**fields)


def test_train_and_test_split_differ():
    digests = set()
    for split in ("train", "test"):
        source = make(split=split)._face.source
        digests |= {source.draw(seed).digest for seed in range(20)}
    assert len(digests) == 40
