import gzip
import hashlib
from io import BytesIO

import polars as pl
import pytest

from fleetgym.traces import catalog
from fleetgym.traces.errors import TraceError
from fleetgym.traces.formats import aiconfigurator, vidur_profiles

ATTENTION = {
    "num_heads": [32, 32, 32, 32, 32],
    "num_key_value_heads": [8, 8, 8, 8, 8],
    "head_dim": [128, 128, 64, 128, 128],
    "attn_dtype": ["bfloat16"] * 5,
    "kv_cache_dtype": ["bfloat16", "bfloat16", "bfloat16", "fp8", "bfloat16"],
    "batch_size": [1, 1, 1, 1, 2],
    "isl": [16, 16, 16, 16, 1],
    "step": [0, 0, 0, 0, 31],
    "latency": [0.1, 0.3, 9.0, 9.0, 0.5],
}
GEMM = {
    "gemm_dtype": ["bfloat16", "fp8"],
    "m": [1, 1],
    "n": [64, 64],
    "k": [32, 32],
    "latency": [0.5, 9.0],
}
REDUCE = {
    "allreduce_dtype": ["bfloat16"] * 2,
    "backend": ["vllm_graph", "vllm_eager"],
    "num_gpus": [2, 2],
    "message_size": [128, 128],
    "latency": [0.005, 9.0],
}


@pytest.fixture
def parquet(tmp_path):
    def write(columns):
        path = tmp_path / "sweep.parquet"
        pl.DataFrame(columns).write_parquet(path)
        return path

    return write


@pytest.fixture
def profile(tmp_path):
    def write(old="", new=""):
        head = [f"time_stats.{kernel}.median" for kernel in vidur_profiles.KERNELS]
        lines = [",".join([*head, "num_tokens", "num_tensor_parallel_workers"])]
        lines += [",".join([ms] * len(head) + ["8", "2"]) for ms in ("0.1", "0.3")]
        path = tmp_path / "mlp.csv"
        path.write_text("\n".join(lines).replace(old, new) if old else "\n".join(lines))
        return path

    return write


def test_vidur(profile):
    table = vidur_profiles.read(profile())
    assert table.columns[:2] == ["tp", "tokens"]
    assert table.row(0) == (2, 8, *[pytest.approx(0.2)] * 10)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("time_stats.add.median", "add", r"columns \['time_stats\.add\.median'\] are missing"),
        ("0.1,8,2", "0.1,0,2", "line 2: num_tokens must be from 1"),
        ("0.3,8,2", "-0.3,8,2", r"line 3: time_stats\.add\.median must be from 0"),
        ("0.3,8,2", "nan,8,2", r"line 3: time_stats\.add\.median must be from 0"),
        ("0.3,8,2", "much,8,2", "not the CSV expected"),
    ],
)
def test_vidur_malformed(profile, old, new, message):
    with pytest.raises(TraceError, match=message):
        vidur_profiles.read(profile(old, new))


def test_vidur_empty_or_cut_off(tmp_path, profile):
    path = profile()
    head = path.read_text().splitlines()[0]
    whole = gzip.compress(path.read_bytes())
    path.write_text(head + "\n")
    with pytest.raises(TraceError, match="no rows"):
        vidur_profiles.read(path)
    path.write_text("")
    with pytest.raises(TraceError, match="not the CSV expected"):
        vidur_profiles.read(path)
    path.write_bytes(whole[:-20])
    with pytest.raises(TraceError, match="gzip data is cut off"):
        vidur_profiles.read(path)
    with pytest.raises(TraceError, match="no such file"):
        vidur_profiles.read(tmp_path / "nothing.csv")


def test_attention(parquet):
    path = parquet(ATTENTION)
    prefill = aiconfigurator.read_context_attention(path)
    assert prefill.columns == ["heads", "kv_heads", "batch", "tokens", "ms"]
    assert prefill.rows() == [(32, 8, 1, 16, pytest.approx(0.2))]
    decode = aiconfigurator.read_generation_attention(path)
    assert decode.row(-1) == (32, 8, 2, 32, 0.5)


def test_windows_are_left_out(parquet):
    path = parquet({**ATTENTION, "window_size": [0, 128, 0, 0, 0]})
    assert aiconfigurator.read_context_attention(path)["ms"].to_list() == [0.1]


def test_gemm_and_all_reduce(parquet):
    assert aiconfigurator.read_gemm(parquet(GEMM)).rows() == [(1, 64, 32, 0.5)]
    assert aiconfigurator.read_all_reduce(parquet(REDUCE)).rows() == [(2, 256, 0.005)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"m": None}, r"columns \['m'\] are missing"),
        ({"m": [0, 1]}, "m must be from 1"),
        ({"latency": [-0.5, 1.0]}, "latency must be from 0"),
        ({"latency": [None, 1.0]}, "latency must be from 0"),
        ({"latency": [float("nan"), 1.0]}, "latency must be from 0"),
        ({"n": ["many", "64"]}, "a column is of another type"),
        ({"gemm_dtype": ["fp8", "fp8"]}, "no row is measured in bfloat16"),
    ],
)
def test_sweep_malformed(parquet, change, message):
    columns = {name: values for name, values in {**GEMM, **change}.items() if values is not None}
    with pytest.raises(TraceError, match=message):
        aiconfigurator.read_gemm(parquet(columns))


@pytest.mark.parametrize("keep", [0, 4, 100, -8])
def test_sweep_cut_off(tmp_path, keep):
    buffer = BytesIO()
    pl.DataFrame(GEMM).write_parquet(buffer)
    path = tmp_path / "sweep.parquet"
    path.write_bytes(buffer.getvalue()[:keep])
    with pytest.raises(TraceError, match="not Parquet, empty or cut off"):
        aiconfigurator.read_gemm(path)
    path.write_bytes(gzip.compress(buffer.getvalue())[:-10])
    with pytest.raises(TraceError, match="gzip data is cut off"):
        aiconfigurator.read_gemm(path)


@pytest.mark.parametrize(
    "name", [name for name, each in catalog.entries().items() if each.format == "aiconfigurator"]
)
def test_sweeps_are_those_of_the_catalogue(real, name):
    entry = catalog.entry(name)
    content = real(entry.local).read_bytes()
    assert (len(content), hashlib.sha256(content).hexdigest()) == (entry.bytes, entry.sha256)
    assert entry.commit in entry.url
