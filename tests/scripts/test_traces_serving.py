import json

import pytest
from typer.testing import CliRunner

from fleetgym.scripts.commands.traces import app
from fleetgym.traces.catalog import load_serving
from fleetgym.traces.errors import FleetGymError

VIDUR = "arrived_at,num_prefill_tokens,num_decode_tokens\n0.5,9,8\n1.5,9,8\n3.5,9,0\n"


@pytest.fixture
def traces():
    """Runs `fleetgym traces`; returns what it printed, raises a user's error."""

    def run(*arguments):
        result = CliRunner().invoke(app, [*map(str, arguments)])
        if isinstance(result.exception, FleetGymError):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.stdout

    return run


@pytest.mark.parametrize("name", ["azure-conv-like", "agents"])
def test_generate_and_stats(traces, tmp_path, name):
    made, file = tmp_path / "made.npz", tmp_path / "stats.json"
    common = ("--count", 30, "--clients", 3, "--seed", 4)
    said = traces("generate", made, "--serving", name, *common)
    assert "30 of which arrive by themselves" in said
    said = traces("stats", made, "--json", file)
    assert "arrival_cv" in said
    figures = json.loads(file.read_text())
    assert (figures["name"], figures["arrivals"], figures["clients"]) == (name, 30, 3)
    again = tmp_path / "again.npz"
    traces("generate", again, "--serving", name, *common)
    one, other = load_serving(made), load_serving(again)
    assert (one.client == other.client).all()
    assert (one.prompt_tokens == other.prompt_tokens).all()


def test_convert(traces, tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text(VIDUR)
    traces("convert", path, tmp_path / "trace.npz")
    assert load_serving(tmp_path / "trace.npz").arrival_ns.tolist() == [500_000_000, 1_500_000_000]


def test_stats_of_prefixes(traces, tmp_path):
    path = tmp_path / "trace.jsonl"
    row = {"timestamp": 0, "input_length": 6, "output_length": 5, "hash_ids": [3]}
    path.write_text(f"{json.dumps(row)}\n" * 4)
    said = traces("stats", path)
    assert "0.7500" in said
    assert "prefix_reuse" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("generate", "x.npz", "--serving", "agentz"), "did you mean 'agents'"),
        (("generate", "x.npz", "--serving", "agents", "--pms", 3), "--pms has no effect"),
        (("generate", "x.npz", "--count", 3), "--count has no effect without --serving"),
        (("generate", "x.csv", "--serving", "agents", "--count", 2), "must end in .npz"),
        (("convert", "x.csv", "x.npz", "--departures", 3), "--departures has no effect"),
        (("stats", "x.csv", "--core", 1000), "--core has no effect"),
        (("stats", "x.csv"), "no such file"),
    ],
)
def test_a_users_error(traces, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FleetGymError, match=message):
        traces(*arguments)
    assert list(tmp_path.iterdir()) == []
