"""Replays every record of a leaderboard: what it publishes is what the replay says."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fleetgym.envs.core.episode import EpisodeRecord
from fleetgym.envs.core.replay import verify as verify_record
from fleetgym.scripts.errors import LeaderboardError
from fleetgym.scripts.leaderboard.bounds import Bounds, CertifiedPlan
from fleetgym.scripts.leaderboard.evaluate import evaluate
from fleetgym.scripts.leaderboard.submission import Submission, record_path, submissions
from fleetgym.scripts.leaderboard.suite import Setting, Suite
from fleetgym.traces.errors import FleetGymError

TOLERANCE = 1e-9  # by which a recomputed bound may differ


@dataclass(frozen=True, eq=False)
class Entry:
    """One verified episode.

    Attributes:
        submission: whose.
        suite: which.
        workload, seed: played.
        metrics: of the replay.
        decision_time_s: declared.
    """

    submission: Submission
    suite: Suite
    workload: str
    seed: int
    metrics: dict[str, float]
    decision_time_s: float


Outcome = Entry | FleetGymError


def count(board: Path, suites: Sequence[Suite]) -> int:
    """How many records `verified` will look at."""
    return len(submissions(board)) * sum(len(suite.all_seeds()) for suite in suites)


def verified(board: Path, suites: Sequence[Suite]) -> Iterator[Outcome]:
    """Replays every record, one at a time: an entry for a good one, else what is wrong with it.

    Raises:
        LeaderboardError: no submission is there.
        TraceError: a trace is not here.
    """
    folders = submissions(board)
    for suite in suites:
        setting = suite.open()
        for folder in folders:
            try:
                submission = Submission.read(folder)
            except LeaderboardError as error:
                yield error
                continue
            for seed in suite.all_seeds():
                try:
                    yield _entry(folder, submission, setting, seed)
                except FleetGymError as error:
                    yield error


def _entry(folder: Path, submission: Submission, setting: Setting, seed: int) -> Entry:
    suite = setting.suite
    path = record_path(folder, suite, seed)
    record = EpisodeRecord.read(path)
    _check(path, record, submission, setting, seed)
    metrics = verify_record(record, workload=setting.source)
    if suite.metric not in metrics:
        raise LeaderboardError(f"{path}: no metric {suite.metric!r}")
    return Entry(submission, suite, record.workload, seed, metrics, record.decision_time_s)


def _check(
    path: Path, record: EpisodeRecord, submission: Submission, setting: Setting, seed: int
) -> None:
    """Raises LeaderboardError where the record is not one of the suite and the submission."""
    suite, workload = setting.suite, setting.source.name
    expected = {
        "id": (record.id, suite.family.id),
        "workload": (record.workload, workload),
        "workload_seed": (record.workload_seed, seed),
        "policy": (record.policy, submission.policy),
        "information": (record.information, submission.information),
        "decision_latency": (record.decision_latency, "none"),
        "latency_ns": (int(record.latency_ns.sum()), 0),
    }
    for name, (seen, wanted) in expected.items():
        if seen != wanted:
            raise LeaderboardError(f"{path}: {name} is {seen!r}, suite {suite.name} has {wanted!r}")
    if not suite.plays(record.scenario, record.workload):
        raise LeaderboardError(
            f"{path}: {_difference(record, setting)}: it was not played in scenario "
            f"{suite.scenario!r} of suite {suite.name}"
        )


def _difference(record: EpisodeRecord, setting: Setting) -> str:
    """The first scenario field that is not the suite's."""
    ours, theirs = setting.scenario.as_dict(), dict(record.scenario)
    for name in sorted(ours.keys() | theirs.keys()):
        wanted = ours.get(name)
        wanted = list(wanted) if isinstance(wanted, tuple) else wanted
        if name not in ours or name not in theirs or wanted != theirs[name]:
            return f"scenario field {name!r} is {theirs.get(name)!r}, not {wanted!r}"
    return "the scenario differs"


def recomputed_bounds(board: Path, suites: Sequence[Suite]) -> Iterator[FleetGymError | None]:
    """Proves every bound again: None for one that holds, else what is wrong with it.

    A bound holds where the solver, given the same time, proves the same; a slower machine may
    prove less where the time ran out.
    """
    bounds = Bounds(board)
    for suite in suites:
        if not suite.bound:
            continue
        setting = suite.open()
        for seed in suite.all_seeds():
            stored = bounds.get(setting, seed)
            where = f"{board}: bound of {suite.name} seed {seed}"
            if stored is None:
                yield LeaderboardError(f"{where} is missing: run the leaderboard again")
                continue
            seconds = suite.budget(suite.bound_policy)
            policy = CertifiedPlan(suite.bound_policy, suite.bound, seconds, seed)
            overrides = {"split": "test", **suite.overrides}
            evaluate(policy, suite.id, suite.scenario, [seed], workload=setting.source, **overrides)
            proven = policy.bound if policy.bound is not None else float("-inf")
            holds = abs(proven - stored) <= TOLERANCE
            yield None if holds else LeaderboardError(f"{where} is {stored!r}, proven {proven!r}")
