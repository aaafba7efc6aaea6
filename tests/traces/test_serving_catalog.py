import gzip
from pathlib import Path

import pytest

from fleetgym.traces import catalog
from fleetgym.traces.errors import TraceError

AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n"
BURST = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n5,GPT-4,7,8,15,x\n"
VIDUR = "arrived_at,num_prefill_tokens,num_decode_tokens\n0.5,9,8\n"
SPLITWISE = "arrival_timestamp,prompt_size,token_size\n0.5,5,8\n"
MOONCAKE = '{"timestamp": 0, "input_length": 6, "output_length": 5, "hash_ids": [3]}\n'


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("FLEETGYM_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("FLEETGYM_CACHE", str(tmp_path / "cache"))
    (tmp_path / "data" / "serving").mkdir(parents=True)
    return tmp_path / "data"


@pytest.mark.parametrize(
    ("name", "text", "prompt"),
    [
        ("t.csv", AZURE, 374),
        ("t.csv", BURST, 7),
        ("t.csv", VIDUR, 9),
        ("t.csv", SPLITWISE, 5),
        ("t.jsonl", MOONCAKE, 6),
    ],
)
def test_files_are_known_by_suffix_and_columns(tmp_path, name, text, prompt):
    plain, packed = tmp_path / name, tmp_path / f"{name}.gz"
    plain.write_text(text)
    packed.write_bytes(gzip.compress(text.encode()))
    for path in (plain, str(packed)):
        trace = catalog.load_serving(path)
        assert (trace.name, trace.prompt_tokens.tolist()) == ("t", [prompt])
        assert catalog.holds_requests(path)


@pytest.mark.parametrize(
    ("name", "file", "text"),
    [
        ("azure-llm-2023-code", "AzureLLMInferenceTrace_code.csv", AZURE),
        ("azure-llm-2024-conv", "AzureLLMInferenceTrace_conv_1week.csv", AZURE),
        ("burstgpt-1", "BurstGPT_1.csv", BURST),
        ("mooncake-toolagent", "mooncake_toolagent_trace.jsonl", MOONCAKE),
    ],
)
def test_names(data, name, file, text):
    assert catalog.holds_requests(name)
    with pytest.raises(TraceError, match=f"traces fetch {name}"):
        catalog.load_serving(name)
    (data / "serving" / file).write_text(text)
    trace = catalog.load_serving(name)
    assert (trace.name, len(trace)) == (name, 1)


@pytest.mark.parametrize("name", ["bytedance-medium", "azure-packing", "fleet.json", "nothing"])
def test_what_holds_no_requests(data, name):
    assert not catalog.holds_requests(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mooncake-conversatio", "did you mean 'mooncake-conversation'"),
        ("bytedance-medium", "is no serving trace but VM rescheduling"),
        ("some/file.txt", "unknown suffix; a serving trace is one of .csv"),
        (Path("file.json"), "unknown suffix"),
        ("nothing.csv", "no such file"),
        ("nothing.jsonl", "no such file"),
        ("nothing.npz", "no such file"),
    ],
)
def test_load_serving_refuses(data, name, message):
    with pytest.raises(TraceError, match=message):
        catalog.load_serving(name)


def test_a_csv_of_something_else(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(TraceError, match=r"no serving trace is known by the columns \['a', 'b'\]"):
        catalog.load_serving(path)


def test_a_serving_trace_is_no_fleet(data):
    with pytest.raises(TraceError, match=r"is no fleet but .*; load it with load_serving"):
        catalog.load("azure-llm-2023-conv")
