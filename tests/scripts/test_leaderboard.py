import dataclasses
import json

import numpy as np
import pytest

from fleetgym.envs.core.episode import EpisodeRecord
from fleetgym.scripts.errors import LeaderboardError
from fleetgym.scripts.leaderboard.bounds import Bounds
from fleetgym.scripts.leaderboard.run import run
from fleetgym.scripts.leaderboard.score import Board, boards
from fleetgym.scripts.leaderboard.submission import Submission
from fleetgym.scripts.leaderboard.suite import load_suites
from fleetgym.scripts.leaderboard.table import BEGIN, END, markdown, update_readme
from fleetgym.scripts.leaderboard.verify import Entry, recomputed_bounds, verified

POLICIES = ("random", "greedy", "exact")


@pytest.fixture
def played(tmp_path, suite_file):
    """A leaderboard of three policies on the toy."""
    suites = load_suites(suite_file())
    run(tmp_path / "board", suites, POLICIES)
    return tmp_path / "board", suites


def _boards(played):
    board, suites = played
    bounds = Bounds(board)
    entries = list(verified(board, suites))
    return boards(suites, entries, {s.name: bounds.known(s.open()) for s in suites})


def _altered(path, **fields):
    dataclasses.replace(EpisodeRecord.read(path), **fields).write(path)


def _failures(played):
    return [str(outcome) for outcome in verified(*played) if not isinstance(outcome, Entry)]


def test_every_record_verifies_and_the_exact_solver_meets_its_bound(played):
    assert _failures(played) == []
    (board,) = _boards(played)
    assert {row.policy for row in board.rows} == set(POLICIES)
    rows = {row.policy: row for row in board.rows}
    assert rows["exact"].score == (0.0, 0.0, 0.0)
    assert board.rows[-1].policy == "random"
    assert rows["random"].improvement == (0.0, 0.0, 0.0)
    assert rows["exact"].improvement == (0.5, 0.5, 0.5)  # greedy solves the toy too
    assert board.best_heuristic == "greedy"


def test_the_toys_bound_is_its_known_optimum(played):
    board, (suite,) = played
    assert list(Bounds(board).known(suite.open()).values()) == pytest.approx([4 / 36, 4 / 36])
    assert list(recomputed_bounds(board, [suite])) == [None, None]


def test_a_forged_bound_is_found(played):
    board, (suite,) = played
    Bounds(board).put(suite.open(), 1, 0.5)
    good, forged = recomputed_bounds(board, [suite])
    assert good is None
    assert "seed 1 is 0.5, proven 0.111" in str(forged)


def test_a_score_below_its_bound_is_an_error(played):
    board, (suite,) = played
    Bounds(board).put(suite.open(), 1, 0.5)
    with pytest.raises(LeaderboardError, match="the bound is wrong"):
        _boards(played)


def test_a_bound_of_another_scenario_does_not_count(played, suite_file):
    board, (suite,) = played
    (other,) = load_suites(suite_file(extra="[tiny.overrides]\nmnl = 1\n"))
    assert Bounds(board).get(suite.open(), 0) is not None
    assert Bounds(board).get(other.open(), 0) is None


def test_what_is_there_is_not_played_again(played):
    board, suites = played
    path = board / "greedy" / "tiny-0.npz"
    spoilt = board / "greedy" / "tiny-1.npz"
    before = path.stat().st_mtime_ns
    spoilt.write_bytes(b"cut")
    run(board, suites, POLICIES)
    assert path.stat().st_mtime_ns == before
    assert _failures(played) == []


def test_two_processes_play_the_same(played, tmp_path):
    board, suites = played
    run(tmp_path / "other", suites, POLICIES[1:], processes=2)
    for policy in POLICIES[1:]:
        one = EpisodeRecord.read(board / policy / "tiny-1.npz")
        two = EpisodeRecord.read(tmp_path / "other" / policy / "tiny-1.npz")
        assert one.digests.tolist() == two.digests.tolist()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"metrics": {"fragment_rate": 0.0}}, "metric"),
        ({"policy": "better"}, "policy is 'better'"),
        ({"information": "clairvoyant"}, "information is 'clairvoyant'"),
        ({"workload_seed": 1}, "workload_seed is 1"),
        ({"workload": "matched"}, "workload is 'matched'"),
        ({"decision_latency": "fixed:1"}, "decision_latency is 'fixed:1'"),
        ({"id": "fleetgym/Other-v0"}, "id is 'fleetgym/Other-v0'"),
    ],
)
def test_an_altered_record_fails_and_the_message_names_what_and_where(played, fields, message):
    path = played[0] / "greedy" / "tiny-0.npz"
    _altered(path, **fields)
    (failure,) = _failures(played)
    assert message in failure
    assert str(path) in failure


def test_a_record_of_an_easier_scenario_fails(played):
    path = played[0] / "greedy" / "tiny-0.npz"
    record = EpisodeRecord.read(path)
    _altered(path, scenario={**record.scenario, "mnl": 50})
    (failure,) = _failures(played)
    assert "scenario field 'mnl' is 50, not 2" in failure


def test_a_changed_digest_is_named_by_its_step(played):
    path = played[0] / "greedy" / "tiny-1.npz"
    digests = EpisodeRecord.read(path).digests.copy()
    digests[1] ^= np.uint64(1)
    _altered(path, digests=digests)
    (failure,) = _failures(played)
    assert "after step 0" in failure


def test_hidden_time_to_think_fails(played):
    path = played[0] / "greedy" / "tiny-0.npz"
    latency = EpisodeRecord.read(path).latency_ns.copy()
    latency[0] = 5
    _altered(path, latency_ns=latency)
    (failure,) = _failures(played)
    assert "latency_ns is 5" in failure


def test_a_missing_record_fails(played):
    (played[0] / "random" / "tiny-1.npz").unlink()
    (failure,) = _failures(played)
    assert "tiny-1.npz" in failure


def test_a_broken_submission_fails_once(played):
    path = played[0] / "greedy" / "submission.toml"
    path.write_text(path.read_text().replace("hardware", "hardwear"))
    (failure,) = _failures(played)
    assert "'hardware' is missing" in failure


def test_submissions_are_read_as_written(tmp_path):
    submission = Submission('a "quoted" name', "online", "Grüße, one line", "here")
    submission.write(tmp_path)
    assert Submission.read(tmp_path) == submission


def test_an_empty_folder_says_what_to_run(tmp_path):
    with pytest.raises(LeaderboardError, match="leaderboard run"):
        list(verified(tmp_path, load_suites()))


def test_without_a_bound_random_is_0_and_the_reference_is_1(tmp_path, suite_file):
    lines = {
        'bound = "fleetgym.baselines.vm_rescheduling.exact:solve"\n': "",
        'bound_policy = "exact"\n': "",
    }
    suites = load_suites(suite_file(lines))
    run(tmp_path / "board", suites, POLICIES)
    (board,) = _boards((tmp_path / "board", suites))
    scores = {row.policy: row.score.value for row in board.rows}
    assert board.kind == "normalised"
    assert scores["random"] == pytest.approx(0.0)
    assert scores["greedy"] == pytest.approx(1.0)


def test_results_go_through_json_and_the_readme_block_is_replaced(played, tmp_path):
    found = _boards(played)
    table = json.loads(json.dumps([board.as_json() for board in found]))
    again = [Board.from_json(entry) for entry in table]
    assert markdown(again) == markdown(found)
    readme = tmp_path / "README.md"
    readme.write_text(f"# Title\n{BEGIN}\nold\n{END}\nend\n")
    update_readme(readme, found)
    text = readme.read_text()
    assert text == f"# Title\n{BEGIN}\n{markdown(found)}{END}\nend\n"
    assert "| exact | online | 0.0% [0.0, 0.0] |" in text
    update_readme(readme, found)
    assert readme.read_text() == text


@pytest.mark.parametrize("text", ["", f"{BEGIN}", f"{END}{BEGIN}"])
def test_a_readme_without_markers_is_refused(tmp_path, text):
    path = tmp_path / "README.md"
    path.write_text(text)
    with pytest.raises(LeaderboardError, match="block between"):
        update_readme(path, [])


def test_the_page_stands_alone_and_says_what_was_played(played):
    from fleetgym.scripts.leaderboard.report import page

    text = page(_boards(played))
    assert text.count("<svg") == 4
    assert "src=" not in text
    assert "<script" not in text
    for said in ("tiny on toy, 2 workloads", "Budget on decision time: tiny 1 s", "declared"):
        assert said in text
