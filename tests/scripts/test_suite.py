import pytest

from fleetgym.scripts.errors import LeaderboardError
from fleetgym.scripts.leaderboard.suite import load_suites
from fleetgym.traces.errors import TraceError


def test_the_quick_suite_resolves_and_names_what_it_plays():
    for suite in load_suites():
        setting = suite.open()
        assert setting.source.name in (suite.workload, suite.fallback)
        assert setting.scenario.split == "test"
        assert len(suite.all_seeds()) >= 30


def test_without_the_trace_the_fallback_is_played(monkeypatch, tmp_path):
    monkeypatch.setenv("FLEETGYM_DATA", str(tmp_path))
    monkeypatch.setenv("FLEETGYM_CACHE", str(tmp_path))
    from fleetgym.envs.vm_rescheduling import workloads

    workloads._load.cache_clear()
    suite = next(suite for suite in load_suites() if suite.fallback)
    assert suite.open().source.name == "matched"


def test_without_trace_and_fallback_the_error_says_how_to_fetch(monkeypatch, tmp_path, suite_file):
    monkeypatch.setenv("FLEETGYM_DATA", str(tmp_path))
    monkeypatch.setenv("FLEETGYM_CACHE", str(tmp_path))
    from fleetgym.envs.vm_rescheduling import workloads

    workloads._load.cache_clear()
    (suite,) = load_suites(suite_file({'workload = "toy"': 'workload = "bytedance-large"'}))
    with pytest.raises(TraceError, match="traces fetch bytedance-large"):
        suite.open()


def test_budgets(suite_file):
    (suite,) = load_suites(suite_file(extra="[tiny.budgets]\nexact = 10\n"))
    assert (suite.budget("exact"), suite.budget("greedy")) == (10.0, 1.0)


@pytest.mark.parametrize(
    ("replacements", "message"),
    [
        ({"seconds = 1.0": "second = 1.0"}, "no field 'second': did you mean 'seconds'"),
        ({"seconds = 1.0": "seconds = 0"}, "seconds is 0"),
        ({"seconds = 1.0": "seconds = true"}, "seconds is True"),
        ({"seeds = [0, 2]": "seeds = [2, 2]"}, r"seeds is \[2, 2\]"),
        ({"seeds = [0, 2]": "seeds = [0, 2, 3]"}, "seeds is"),
        ({'metric = "fragment_rate"': "metric = 3"}, "metric is 3"),
        ({'metric = "fragment_rate"\n': ""}, "metric"),
        ({'bound_policy = "exact"': ""}, "go together"),
        ({"[tiny]": "[tiny"}, "not a readable suite"),
    ],
)
def test_bad_suites(suite_file, replacements, message):
    with pytest.raises(LeaderboardError, match=message):
        load_suites(suite_file(replacements))


def test_a_missing_or_empty_file(tmp_path):
    with pytest.raises(LeaderboardError, match=r"nowhere\.toml"):
        load_suites(tmp_path / "nowhere.toml")
    (tmp_path / "empty.toml").write_text("")
    with pytest.raises(LeaderboardError, match="no suite"):
        load_suites(tmp_path / "empty.toml")


def test_a_record_of_another_scenario_is_not_the_suites(suite_file):
    (suite,) = load_suites(suite_file())
    right = suite.resolved("toy").as_dict()
    assert suite.plays(right, "toy")
    assert not suite.plays(right | {"mnl": 99}, "toy")
    assert not suite.plays(right | {"workload": "matched"}, "matched")
    assert not suite.plays(right, "")
