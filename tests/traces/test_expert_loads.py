"""Generated loads have the statistics they are asked for; malformed files are one clear error."""

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest

from fleetgym.traces.errors import TraceError
from fleetgym.traces.formats import expert_load, routing
from fleetgym.traces.generators import expert_loads
from fleetgym.traces.stats_experts import (
    balancedness,
    lag_correlation,
    log_sigma,
    stats,
    zipf_exponent,
)

DATA = Path(os.environ.get("FLEETGYM_DATA", "no-such-folder"))
SIZE = {"windows": 40, "layers": 12, "experts": 256, "tokens": 6_553_600}


@pytest.mark.parametrize("skew", ["flat", "olmoe", "deepseek"])
@pytest.mark.parametrize("drift", ["none", "slow", "medium", "fast", "abrupt"])
def test_loads_add_up_and_repeat(skew, drift):
    size = {"windows": 6, "layers": 3, "experts": 50, "tokens": 12_345}
    loads = expert_loads.draw(**size, skew=skew, drift=drift, seed=4)
    assert loads.shape == (6, 3, 50)
    assert (loads.sum(axis=2) == 12_345).all()
    assert (loads >= 0).all()
    again = expert_loads.draw(**size, skew=skew, drift=drift, seed=4)
    other = expert_loads.draw(**size, skew=skew, drift=drift, seed=5)
    assert (loads == again).all()
    assert (loads == other).all() == (skew == "flat")


@pytest.mark.parametrize(
    ("drift", "lag"), [("none", 1.0), ("slow", 0.98), ("medium", 0.95), ("fast", 0.81)]
)
def test_lag_correlation_is_what_was_asked_for(drift, lag):
    found = [
        lag_correlation(expert_loads.draw(**SIZE, drift=drift, seed=seed)) for seed in range(4)
    ]
    assert np.mean(found) == pytest.approx(lag, abs=0.012)


def test_abrupt_drift_jumps():
    loads = expert_loads.draw(**SIZE, drift="abrupt", seed=1)
    each = [lag_correlation(loads[t : t + 2]) for t in range(len(loads) - 1)]
    assert min(each) < 0.7
    assert np.median(each) > 0.95


def test_skews():
    assert zipf_exponent(expert_loads.draw(**SIZE, skew="olmoe")) == pytest.approx(0.65, abs=0.01)
    sigma = log_sigma(expert_loads.draw(**SIZE, skew="deepseek"))
    assert 1.0 < sigma < 1.25
    flat = expert_loads.draw(**SIZE, skew="flat")
    assert balancedness(flat, 32) == pytest.approx(1.0, abs=1e-6)
    assert balancedness(expert_loads.draw(**SIZE, skew="deepseek"), 32) < 0.7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"skew": "deepseak"}, "no skew 'deepseak': did you mean 'deepseek'"),
        ({"drift": "fastest"}, "no drift 'fastest': did you mean 'fast'"),
        ({"layers": 0}, "layers is 0, it must be at least 1"),
        ({"tokens": 0}, "tokens is 0"),
        ({"tokens": 2**30}, "tokens is 1073741824"),
    ],
)
def test_bad_arguments(change, message):
    with pytest.raises(TraceError, match=message):
        expert_loads.draw(**(SIZE | change))


def write(path, windows):
    entries = [{"logical_expert_load": window} for window in windows]
    path.write_text(json.dumps({"load_history": entries}))
    return path


GOOD = [[[3, 1, 2], [0, 4, 0]], [[1, 1, 1], [2, 2, 2]]]


def test_the_published_format(tmp_path):
    read = expert_load.read(write(tmp_path / "expert-load.json", GOOD))
    assert read.name == "expert-load"
    assert read.loads.tolist() == GOOD
    assert stats(read)["tokens"] == 19
    packed = tmp_path / "x.json.gz"
    packed.write_bytes(gzip.compress((tmp_path / "expert-load.json").read_bytes()))
    assert expert_load.read(packed).loads.tolist() == GOOD


@pytest.mark.parametrize(
    ("windows", "message"),
    [
        ([], r"load_history: is empty"),
        ([[]], r"load_history\[0\].logical_expert_load: holds no layer"),
        ([[[]]], r"holds no layer, or no expert"),
        ([[[1, -2]]], r"logical_expert_load\[0\]\[1\]: expected a number from 0 to"),
        ([[[1, 1.5]]], r"expected a whole number, got '1.5'"),
        ([[[1, "two"]]], r"expected a whole number, got 'two'"),
        ([[[1, None]]], r"expected a whole number, got 'None'"),
        ([[[1, float("nan")]]], r"holds NaN"),
        ([[[1, 2], [3]]], r"\[1\]: has 1 experts, the first layer 2"),
        ([[[1, 2]], [[1, 2], [3, 4]]], r"entry 1 has 2 layers of 2 experts, entry 0 has 1 of 2"),
        ([[[1, 2]], [[1, 2, 3]]], r"entry 1 has 1 layers of 3 experts"),
        ([[[1, 2]], [[0, 0]]], r"window 1, layer 0: all 2 loads are 0"),
        ([3], r"expected a list, got '3'"),
    ],
)
def test_malformed_loads(windows, message, tmp_path):
    with pytest.raises(TraceError, match=message):
        expert_load.read(write(tmp_path / "expert-load.json", windows))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON, or cut off"),
        ("[]", "expected an object"),
        ("{}", "'load_history' is missing"),
        ('{"load_history": [{"physical_expert_load": []}]}', "'logical_expert_load' is missing"),
    ],
)
def test_not_of_the_format(text, message, tmp_path):
    path = tmp_path / "expert-load.json"
    path.write_text(text)
    with pytest.raises(TraceError, match=message):
        expert_load.read(path)


def test_routed_tokens_are_counted(tmp_path):
    path = tmp_path / "routing.json"
    tokens = [[[0, 2], [1, 0]], [[2, 1], [1, 2]], [[0, 1], [0, 1]], [[1, 2], [2, 0]], [[0, 1]] * 2]
    path.write_text(json.dumps({"expertsPerLayer": 3, "selections": tokens}))
    read = expert_load.of_routing(routing.read(path), 2)
    assert read.loads.tolist() == [[[1, 1, 2], [1, 2, 1]], [[1, 2, 1], [2, 1, 1]]]
    with pytest.raises(TraceError, match="5 steps do not fill a window of 6"):
        expert_load.of_routing(routing.read(path), 6)
    path.write_text(json.dumps({"expertsPerLayer": 2, "selections": tokens}))
    with pytest.raises(TraceError, match="out of range"):
        expert_load.of_routing(routing.read(path), 2)


def test_captured_routing_is_played():
    path = DATA / "moe" / "switch_base_8_router_trace_v2.json"
    if not path.is_file():
        pytest.skip("moe/switch_base_8_router_trace_v2.json is not in FLEETGYM_DATA")
    import gymnasium

    env = gymnasium.make(
        "fleetgym/ExpertPlacement-v0",
        scenario="small",
        workload=str(path),
        layers=6,
        experts=8,
        slots=16,
        iterations_per_window=20,
        windows=6,
        history=4,
        groups=2,
    )
    _, info = env.reset(seed=0)
    assert info["metrics"]["windows"] == 0
    loads = env.unwrapped.simulator.state().history
    assert (loads.sum(axis=3) == 20).all()
