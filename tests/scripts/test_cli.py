import json
import os
import subprocess
import sys

import pytest

from fleetgym.envs.core.episode import EpisodeRecord
from fleetgym.envs.core.replay import verify
from fleetgym.scripts import cli

OWN = """
import numpy as np

class FirstLegal:
    name, information = "first-legal", "online"

    def reset(self, view, worlds):
        pass

    def act(self, view):
        return np.argmax(view.action_mask()["scheduler"][:, 0], axis=1)

instance = FirstLegal()
LABEL = "no policy"

def make():
    return FirstLegal()

class NoReset:
    name, information = "no-reset", "online"

    def act(self, view):
        return 0

class Oracle(FirstLegal):
    information = "all-seeing"
"""


@pytest.fixture
def fleetgym(monkeypatch, capsys):
    """Runs the command line in this process: exit code, standard output and error."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["fleetgym", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as stopped:
            code = stopped.code or 0
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own_policies.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield "own_policies"
    sys.modules.pop("own_policies", None)


COMMANDS = [
    (),
    ("envs",),
    ("info",),
    ("evaluate",),
    ("train",),
    ("render",),
    ("bench",),
    ("staleness",),
    *[("leaderboard", name) for name in ("run", "verify", "report")],
    *[("traces", name) for name in ("list", "fetch", "stats", "generate", "convert")],
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(fleetgym, command):
    code, out, _ = fleetgym(*command, "--help")
    assert code == 0
    assert "Usage: fleetgym" in out


def test_help_loads_nothing_heavy():
    code = (
        "import sys; sys.argv = ['fleetgym', '--help']\n"
        "from fleetgym.scripts.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit:\n    pass\n"
        "heavy = {'numba', 'torch', 'polars', 'scipy', 'matplotlib', 'pettingzoo', 'ray'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ)
    )
    assert "HEAVY []" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("evaluate",),
        ("evaluate", "vm-rescheduling"),
        ("nonsense",),
        ("evaluate", "vm-rescheduling", "--policy", "greedy", "--worlds", "0"),
        ("leaderboard", "run"),
    ],
)
def test_wrong_usage_is_2(fleetgym, arguments):
    assert fleetgym(*arguments)[0] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("info", "vm-reschedulin"), "did you mean"),
        (("evaluate", "vm-rescheduling", "--policy", "greedyy"), "did you mean 'greedy'"),
        (
            ("evaluate", "vm-rescheduling", "--policy", "greedy", "--set", "mln=3"),
            "did you mean 'mnl'",
        ),
        (("evaluate", "vm-rescheduling", "--policy", "greedy", "--set", "mnl=x"), "of type int"),
        (("evaluate", "vm-rescheduling", "--policy", "greedy", "--seeds", "2:1"), "--seeds"),
        (("evaluate", "vm-rescheduling", "--policy", "nowhere:X"), "no module 'nowhere'"),
        (("render", "vm-rescheduling", "--out", "x.png"), ".gif"),
        (("traces", "stats", "nope"), "unknown trace"),
        (("traces", "generate", "x.json"), ".npz"),
        (("staleness", "--planner", "exactt"), "did you mean 'exact'"),
        (("leaderboard", "verify", "nowhere"), "no submission"),
    ],
)
def test_a_users_error_is_one_line_and_1(fleetgym, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, _, error = fleetgym(*arguments)
    assert code == 1
    assert error.startswith("fleetgym: ")
    assert error.count("\n") == 1
    assert message in error


def test_version(fleetgym):
    code, out, _ = fleetgym("--version")
    assert (code, out.split()[0]) == (0, "fleetgym")


def test_envs_and_info_name_what_there_is(fleetgym):
    assert "fleetgym/VMRescheduling-v0" in fleetgym("envs")[1]
    _, out, _ = fleetgym("info", "vm-rescheduling", "--scenario", "toy")
    for said in ("greedy", "mnl", "Discrete("):
        assert said in out


def test_evaluate_writes_json_and_records_that_replay(fleetgym, tmp_path):
    file, records = tmp_path / "metrics.json", tmp_path / "records"
    code, out, _ = fleetgym(
        *("evaluate", "VMRescheduling-v0", "--scenario", "toy", "--policy", "greedy"),
        *("--seeds", "0:2", "--json", file, "--records", records, "--set", "mnl=1"),
    )
    assert code == 0
    assert "fragment_rate" in out
    table = json.loads(file.read_text())
    assert [entry["seed"] for entry in table] == [0, 1]
    keys = {"id", "scenario", "workload", "seed", "policy", "metrics", "decision_time_s"}
    assert all(set(entry) == keys for entry in table)
    assert sorted(path.name for path in records.iterdir()) == ["greedy-0.npz", "greedy-1.npz"]
    record = EpisodeRecord.read(records / "greedy-0.npz")
    assert record.scenario["mnl"] == 1
    assert verify(record) == table[0]["metrics"]


@pytest.mark.parametrize("attribute", ["FirstLegal", "instance", "make"])
def test_a_ten_line_policy_of_ones_own(fleetgym, own, attribute):
    name = f"{own}:{attribute}"
    code, out, _ = fleetgym(
        *("evaluate", "vm-rescheduling", "--scenario", "toy", "--policy", name, "--seeds", "0:3"),
        *("--worlds", "2"),
    )
    assert code == 0
    assert "first-legal, 3 episodes" in out


@pytest.mark.parametrize(
    ("attribute", "message"),
    [
        ("NoReset", "no reset"),
        ("Oracle", "'all-seeing'"),
        ("Missing", "valid: "),
        ("FirstLegl", "did you mean 'FirstLegal'"),
        ("LABEL", "is no class"),
    ],
)
def test_a_broken_policy_of_ones_own(fleetgym, own, attribute, message):
    code, _, error = fleetgym("evaluate", "vm-rescheduling", "--policy", f"{own}:{attribute}")
    assert code == 1
    assert message in error


def test_render_text(fleetgym):
    code, out, _ = fleetgym("render", "vm-rescheduling", "--scenario", "toy", "--policy", "greedy")
    assert code == 0
    assert out.count("moves left") >= 2


def test_render_gif(fleetgym, tmp_path):
    from PIL import Image

    path = tmp_path / "toy.gif"
    code, _, _ = fleetgym(
        *("render", "vm-rescheduling", "--scenario", "toy", "--policy", "exact", "--out", path)
    )
    assert code == 0
    with Image.open(path) as image:
        assert image.n_frames >= 2
    assert [file.name for file in tmp_path.iterdir()] == ["toy.gif"]


def test_traces_generate_stats_and_convert(fleetgym, tmp_path):
    made, churned = tmp_path / "made.npz", tmp_path / "churned.npz"
    assert fleetgym("traces", "generate", made, "--pms", 6, "--racks", 2, "--seed", 3)[0] == 0
    assert fleetgym("traces", "convert", made, churned, "--departures", 9)[0] == 0
    file = tmp_path / "stats.json"
    code, out, _ = fleetgym("traces", "stats", churned, "--json", file)
    assert code == 0
    assert "FR16" in out
    assert json.loads(file.read_text())["pms"] == 6
    code, out, _ = fleetgym(
        *("evaluate", "vm-rescheduling", "--workload", churned, "--policy", "random"),
        *("--seeds", "0:1"),
    )
    assert code == 0


def test_traces_list(fleetgym):
    assert "bytedance-medium" in fleetgym("traces", "list")[1]


def test_leaderboard_from_run_to_report(fleetgym, tmp_path, suite_file):
    board, suite = tmp_path / "board", suite_file()
    common = (board, "--suite", suite)
    named = [word for name in ("random", "greedy", "exact") for word in ("--policy", name)]
    assert fleetgym("leaderboard", "run", *common, *named)[0] == 0
    code, out, _ = fleetgym("leaderboard", "verify", *common, "--bounds")
    assert (code, out) == (0, "6 records replayed to the bit, 0 failures\n")
    readme, results = tmp_path / "README.md", tmp_path / "results.json"
    readme.write_text("<!-- results -->\n<!-- /results -->\n")
    code, out, _ = fleetgym(
        "leaderboard", "report", *common, "--readme", readme, "--results", results
    )
    assert code == 0
    assert "| exact | online |" in readme.read_text()
    assert json.loads(results.read_text())[0]["best_heuristic"] == "greedy"
    assert (board / "report.html").read_text().startswith("<!doctype html>")

    (board / "greedy" / "tiny-0.npz").write_bytes(b"nothing")
    code, out, error = fleetgym("leaderboard", "verify", *common)
    assert code == 1
    assert "tiny-0.npz" in error
    assert "1 failures" in out
    code, _, error = fleetgym("leaderboard", "report", *common)
    assert code == 1
    assert "do not stand" in error


def test_staleness_writes_table_json_and_plot(fleetgym, tmp_path):
    file = tmp_path / "curve.json"
    code, out, _ = fleetgym(
        *("staleness", "--planner", "greedy", "--workloads", 2, "--scenario", "small"),
        *("--workload", "matched", "--json", file, "--out", tmp_path / "c.svg"),
    )
    assert code == 0
    assert "share of the gain kept" in out
    assert json.loads(file.read_text())["points"][0]["delay_s"] == 1.0
    assert (tmp_path / "c.svg").read_text().startswith("<svg")


def test_bench_names_its_figures(fleetgym, tmp_path):
    file = tmp_path / "bench.json"
    code, _, _ = fleetgym("bench", "vm-rescheduling", "--quick", "--json", file)
    assert code == 0
    table = json.loads(file.read_text())
    assert all(set(row) == {"name", "value", "unit", "peer", "peer_value"} for row in table)
    assert all(row["value"] > 0 for row in table)
    assert {"steps/s", "migrations/s", "us/world", "MiB", "s", "ratio"} <= {
        row["unit"] for row in table
    }
