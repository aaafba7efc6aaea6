import math

import numpy as np
import pytest

from fleetgym.envs.core.errors import ScenarioError
from fleetgym.envs.hardware import gpu, models
from fleetgym.envs.hardware.devices import device, devices
from fleetgym.envs.hardware.gpu import IterationTime, calibrations, load

PLAIN = IterationTime(1, 10.0, 5.0, 0.5, 1.0, 0.01, 0.001, 2.0, 0.1, 0.0001)


def test_formula_by_hand():
    # p = 1: floor + c0 + c1 n.
    assert PLAIN.seconds() == pytest.approx(15e-3)
    # n = 20, pairs = (30 + 20)^2 - 30^2 = 1600.
    assert PLAIN.seconds(prefill=[(30, 20)]) == pytest.approx((25 + 1 + 0.2 + 1.6) * 1e-3)
    # n = 2, KV = 100 + 300.
    assert PLAIN.seconds(decode=[99, 299]) == pytest.approx((16 + 2 + 0.2 + 0.04) * 1e-3)
    # Mixed: n = 3 + 4 + 2, pairs = 9 + (5 + 4)^2 - 5^2 = 65.
    mixed = PLAIN.seconds(prefill=[(0, 3), (5, 4)], decode=[99, 299])
    assert mixed == pytest.approx((19.5 + 1 + 0.07 + 0.065 + 2 + 0.2 + 0.04) * 1e-3)


def test_first_term_is_a_norm():
    time = IterationTime(2, 3.0, 1.0, 1.0, 0, 0, 0, 0, 0, 0)
    assert time.first_ms(np.array([3.0, 0.0])) == pytest.approx([5.0, math.sqrt(10)])


@pytest.mark.parametrize("key", calibrations())
def test_quantised_is_the_formula_in_picoseconds(key):
    time = load(*key)
    table = time.quantised(2048)
    tokens, pairs, requests, context = 2048, 1500**2, 48, 60_000
    whole = (
        int(table.first[tokens])
        + (table.a0_ps + table.a1_ps * 2000 + table.a2_ps * pairs)
        + (table.d0_ps + table.d1_ps * requests + table.d2_ps * context)
    )
    exact = (
        time.first_ms(np.array(2048.0))
        + time.prefill_ms(np.array(2000.0), np.array(float(pairs)))
        + time.decode_ms(np.array(48.0), np.array(float(context)))
    )
    # The shipped coefficients are whole picoseconds: only the table is rounded, by half of one.
    assert abs(whole - float(exact) * 1e9) <= 1
    assert table.first.dtype == np.int64
    assert table.first.shape == (2049,)
    assert not table.first.flags.writeable
    assert (np.diff(table.first) >= 0).all()


def test_stack_overhead_multiplies_everything():
    one, slow = PLAIN.quantised(64), PLAIN.quantised(64, stack_overhead=1.7)
    assert np.allclose(slow.first, 1.7 * one.first, rtol=1e-9)
    assert slow.a2_ps == 1_700_000
    assert slow.d2_ps == 170_000
    assert (slow.a0_ps, slow.a1_ps) == (1_700_000_000, 17_000_000)
    assert (slow.d0_ps, slow.d1_ps) == (3_400_000_000, 170_000_000)


def test_errors_of_the_default_are_within_five_percent():
    found = calibrations()["llama-3-8b", "a100", 1]
    assert found.prefill_error_percent <= 5
    assert found.decode_error_percent <= 5
    assert found.held_out > 100
    assert load("llama-3-8b", "a100", 1) == found.time
    assert found.time.p == 4
    # Reading 16 GB of weights at 2 TB/s takes 8 ms; the profile's first point is 9.7 ms.
    assert 8 < found.time.floor_ms < 10.5


def test_every_calibration_is_of_known_things_and_says_its_error():
    for (name, on, tp), each in calibrations().items():
        assert models.model(name).heads % tp == 0
        assert on in devices()
        assert each.fitted > each.held_out > 0
        assert 0 < max(each.first_error_percent, each.prefill_error_percent) < 10
        assert 0 < each.decode_error_percent < 10
        assert all("@" in source for source in each.sources)


def test_more_gpus_and_newer_ones_are_faster():
    chunk = {"prefill": [(0, 2048)]}
    times = [load("llama-3-8b", "a100", tp).seconds(**chunk) for tp in (1, 2, 4, 8)]
    assert times == sorted(times, reverse=True)
    assert load("llama-3-8b", "h100", 1).seconds(**chunk) < 0.6 * times[0]


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (("llama-3-8", "a100", 1), "did you mean 'llama-3-8b'"),
        (("mixtral-8x7b", "a100", 1), "no iteration times of model 'mixtral-8x7b'"),
        (("llama-3-8b", "a1000", 1), "did you mean 'a100'"),
        (("llama-3-8b", "a100", 3), r"at tp=3; measured: tp \[1, 2, 4, 8\]"),
        (("llama-2-7b", "a100", 1), r"measured: tp \[4, 8\]"),
    ],
)
def test_unknown(key, message):
    with pytest.raises(ScenarioError, match=message):
        load(*key)


@pytest.mark.parametrize(
    "wrong", [{"p": 0}, {"c0_ms": -1.0}, {"d0_ms": math.nan}, {"floor_ms": math.inf}]
)
def test_coefficients_out_of_range(wrong):
    values = {field: 1 for field in gpu.IterationTime.__dataclass_fields__} | wrong
    with pytest.raises(ScenarioError, match=f"{next(iter(wrong))} is .*, it must be from"):
        IterationTime(**values)


@pytest.mark.parametrize("wrong", [(0, 1.0), (8, 0.0), (8, math.inf), (8, math.nan)])
def test_quantised_arguments(wrong):
    with pytest.raises(ScenarioError, match="expected at least 1 token"):
        PLAIN.quantised(*wrong)


def test_unknown_device():
    with pytest.raises(ScenarioError, match="did you mean 'a100'"):
        device("a10")
