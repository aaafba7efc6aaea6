import os
import tomllib

import numpy as np
import polars as pl
import pytest

from fleetgym.envs.hardware import all_reduce, gpu, profiles
from fleetgym.envs.hardware.attention import Attention, attention
from fleetgym.envs.hardware.devices import device
from fleetgym.envs.hardware.fitting import Measured, calibrate, fit_all_reduce, held_out
from fleetgym.envs.hardware.layers import Curve, Elementwise, composed, profiled
from fleetgym.envs.hardware.models import model
from fleetgym.scripts import fit_hardware
from fleetgym.traces import catalog
from fleetgym.traces.errors import TraceError

TRUE = gpu.IterationTime(4, 9.6, 5.0, 0.066, 0.35, 9.6e-4, 1.37e-6, 0.53, 7.4e-3, 7.9e-5)


def made():
    """Points that obey the formula exactly."""
    tokens = np.unique(np.geomspace(1, 32768, 60).round())
    batch, length = (a.ravel() for a in np.meshgrid([1.0, 2, 4, 8, 16], 2.0 ** np.arange(4, 12)))
    new = batch * length
    return Measured(
        Curve(tokens, TRUE.first_ms(tokens)),
        Attention(batch, length, TRUE.prefill_ms(new, new * length)),
        Attention(batch, length, TRUE.decode_ms(batch, new)),
        ("made@0",),
    )


def test_known_coefficients_are_found_again():
    found = calibrate(made())
    for name in gpu.IterationTime.__dataclass_fields__:
        assert getattr(found.time, name) == pytest.approx(getattr(TRUE, name), rel=1e-3)
    assert found.first_error_percent == pytest.approx(0, abs=0.01)
    count = len(made().first.tokens) + 2 * len(made().prefill.ms)
    assert found.fitted + found.held_out == count
    assert found.held_out == pytest.approx(count / 5, abs=2)


def test_errors_are_seen():
    points = made()
    wrong = Attention(points.decode.batch, points.decode.length, points.decode.ms.copy())
    wrong.ms[::2] *= 3
    assert calibrate(Measured(points.first, points.prefill, wrong, ())).decode_error_percent > 1


def test_every_fifth_point_is_held_out():
    chosen = held_out(101)
    assert chosen.sum() == 21
    assert (chosen == held_out(101)).all()
    assert not chosen[::5].all()


def test_all_reduce_is_found_again():
    true = all_reduce.AllReduce(4, 5.5, 150.0, 60.0, 220.0, "", 0, 0, 0.0)
    size = 2.0 ** np.arange(8, 31)
    sweep = pl.DataFrame({"tp": 4, "bytes": size, "ms": true.milliseconds(size)})
    found = fit_all_reduce(sweep, 4, "made@0")
    assert found.custom_us == pytest.approx(5.5, rel=1e-3)
    assert found.ring_gb_s == pytest.approx(220, rel=1e-3)
    assert found.error_percent == pytest.approx(0, abs=0.01)


def test_profiled_adds_up_the_layers():
    kernels = {f"{name}_ms": 0.25 for name in profiles.vidur_profiles.KERNELS}
    table = pl.DataFrame([{"tp": 2, "tokens": 1, **kernels}, {"tp": 1, "tokens": 1, **kernels}])
    curve = profiled(table, model("llama-3-8b"), 2)
    assert curve.tokens.tolist() == [1]
    assert curve.ms[0] == pytest.approx(0.25 + 32 * 9 * 0.25)


def test_composed_interpolates_powers_exactly():
    axis = [32, 256, 2048, 16384, 65536]
    rows = [(m, n, k, 1e-9 * m * n * k) for m in (1, 8) for n in axis for k in axis]
    sweep = pl.DataFrame(rows, schema=["m", "n", "k", "ms"], orient="row")
    shape = model("llama-3-8b")
    curve = composed(sweep, Elementwise(0.0, 0.0), shape, 1)
    per_layer = 4096 * (4096 + 2 * 1024) + 4096 * 4096 + 3 * 4096 * 14336
    assert curve.ms == pytest.approx(32e-9 * per_layer * np.array([1, 8]))
    free = composed(sweep, Elementwise(1e-3, 0.0), shape, 1)
    assert free.ms - curve.ms == pytest.approx(np.full(2, 1e-3 * (5 * 32 + 1)))


def test_attention_between_measured_heads():
    rows = [(heads, 4, 1, 64, float(heads)) for heads in (24, 32)]
    sweep = pl.DataFrame(rows, schema=["heads", "kv_heads", "batch", "tokens", "ms"], orient="row")
    found = attention(sweep, model("qwen2-7b"), 1, "tokens")  # 28 heads, 4 of keys
    assert found.ms == pytest.approx([28 * 28.0])
    assert attention(sweep, model("llama-2-7b"), 1, "tokens") is None
    assert attention(sweep, model("llama-2-7b"), 8, "tokens") is None  # 4 heads: below those there


def test_combinations_fit_their_gpus():
    found = set(profiles.combinations())
    assert ("llama-3-8b", "a100", 1) in found
    assert ("llama-3-70b", "h100", 1) not in found
    assert not any(name == "mixtral-8x7b" for name, _, _ in found)


@pytest.fixture
def data():
    try:
        for name in catalog.entries():
            if name.startswith(("aiconfigurator-", "vidur-a100-")):
                catalog.find(name)
    except TraceError as error:
        pytest.skip(str(error))
    return os.environ.get("FLEETGYM_DATA")


@pytest.mark.usefixtures("data")
def test_two_ways_to_measure_a_layer_agree():
    """Vidur's profile of Llama-3-8B, and products of another sweep and year put together."""
    shape = model("llama-3-8b")
    whole = profiles.measured("llama-3-8b", "a100", 1, None).first
    parts = composed(
        profiles.aiconfigurator.read_gemm(catalog.find("aiconfigurator-a100-gemm")),
        Elementwise(0.002, 1e-6 / (0.5 * device("a100").memory_bandwidth_gb_s)),
        shape,
        1,
    )
    assert np.abs(parts.ms / whole.at(parts.tokens) - 1).mean() < 0.08


@pytest.mark.usefixtures("data")
def test_the_command_reproduces_what_is_shipped(tmp_path):
    fit_hardware.main(tmp_path)
    for path in (gpu.TOML, all_reduce.TOML):
        again = tomllib.loads((tmp_path / path.name).read_text())
        agree(again, tomllib.loads(path.read_text()), path.name)


def agree(found, wanted, where):
    """Equal but for the last digits, which differ between machines; a floor to 0.01 us."""
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys(), where
        for key, value in wanted.items():
            agree(found[key], value, f"{where}.{key}")
    elif isinstance(wanted, float):
        smallest = 1e-5 if where.endswith("floor_ms") else 2e-9
        assert found == pytest.approx(wanted, rel=1e-3, abs=smallest), where
    else:
        assert found == wanted, where
