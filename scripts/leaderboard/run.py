"""Plays the suites with every policy that has a name, and writes their submissions."""

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from fleetgym._version import __version__
from fleetgym.baselines.policy import Policy
from fleetgym.envs.core.episode import EpisodeRecord
from fleetgym.envs.core.errors import MissingExtraError, RecordError
from fleetgym.scripts.console import Advance, bar, note
from fleetgym.scripts.leaderboard.bounds import Bounds, CertifiedPlan
from fleetgym.scripts.leaderboard.evaluate import evaluate
from fleetgym.scripts.leaderboard.submission import Submission, hardware, record_path
from fleetgym.scripts.leaderboard.suite import Setting, Suite
from fleetgym.scripts.policies import make_policy, policies_of

WARM_SECONDS = 0.5  # of a policy's unrecorded first episode, which loads its compiled code


@dataclass(frozen=True)
class Task:
    """One policy on one suite, into one leaderboard."""

    board: Path
    suite: Suite
    policy: str

    @property
    def folder(self) -> Path:
        """The submission's."""
        return self.board / self.policy.replace(":", ".")


def run(
    board: Path, suites: Sequence[Suite], policies: Sequence[str] = (), processes: int = 1
) -> None:
    """Plays what is not there yet.

    Args:
        board: folder of the leaderboard.
        suites: to play.
        policies: names, or a user's ``module:attribute``; by default those that a suite names, or
            all that have a name.
        processes: policies that play side by side; decision times suffer where cores are short.

    Raises:
        FleetGymError: a policy is unknown or breaks the rules, or a trace is not here.
    """
    tasks = [
        Task(board, suite, name)
        for suite in suites
        for name in (policies or suite.policies or list(policies_of(suite.family)))
    ]
    for suite in suites:
        note(
            f"suite {suite.name}: {suite.id} {suite.scenario}, workload {suite.open().source.name}"
        )
    if processes == 1:
        total = sum(len(task.suite.all_seeds()) for task in tasks)
        with bar(total, "leaderboard") as advance:
            for task in tasks:
                note(_report(task, play(task, advance)))
        return
    spawn = multiprocessing.get_context("spawn")
    tasks.sort(key=lambda task: -task.suite.budget(task.policy))  # the longest first
    with ProcessPoolExecutor(processes, mp_context=spawn) as pool:
        futures = {pool.submit(play, task): task for task in tasks}
        with bar(len(tasks), "leaderboard") as advance:
            for future in as_completed(futures):
                task = futures[future]
                note(_report(task, future.result()))
                advance(task.policy)


def _report(task: Task, played: int | None) -> str:
    what = "left out, an extra is missing" if played is None else f"{played} episodes played"
    return f"{task.suite.name} / {task.policy}: {what}"


def play(task: Task, advance: Advance = lambda text: None) -> int | None:
    """Plays the episodes of a task that have no usable record.

    Returns:
        How many were played; None where the policy needs an extra that is not installed.
    """
    setting = task.suite.open()
    bounds = Bounds(task.board)
    certifies = task.policy == task.suite.bound_policy
    played = 0
    for seed in task.suite.all_seeds():
        path = record_path(task.folder, task.suite, seed)
        known = not certifies or bounds.get(setting, seed) is not None
        if not (known and _usable(path, setting, seed)):
            try:
                if not played:
                    _warm(task, setting)
                policy = _policy(task, task.suite.budget(task.policy), seed)
            except MissingExtraError as error:
                note(f"{task.policy}: {error}")
                return None
            _play(policy, setting, seed).write(path)
            if isinstance(policy, CertifiedPlan) and policy.bound is not None:
                bounds.put(setting, seed, policy.bound)
            played += 1
        advance(f"{task.suite.name} / {task.policy}")
    _declare(task)
    return played


def _policy(task: Task, seconds: float, seed: int) -> Policy:
    suite = task.suite
    if task.policy == suite.bound_policy:
        return CertifiedPlan(task.policy, suite.bound, seconds, seed)
    return make_policy(suite.family, task.policy, seconds, seed)


def _play(policy: Policy, setting: Setting, seed: int) -> EpisodeRecord:
    suite = setting.suite
    overrides = {"split": "test", **suite.overrides}
    return evaluate(policy, suite.id, suite.scenario, [seed], workload=setting.source, **overrides)[
        0
    ]


def _warm(task: Task, setting: Setting) -> None:
    """Plays one episode for nothing, so that no decision time pays for loading."""
    seconds = min(WARM_SECONDS, task.suite.budget(task.policy))
    _play(_policy(task, seconds, 0), setting, task.suite.seeds[1])


def _usable(path: Path, setting: Setting, seed: int) -> bool:
    """Whether a readable record of this very episode is there."""
    try:
        record = EpisodeRecord.read(path)
    except RecordError:
        return False
    seen = record.id, record.version, record.workload, record.workload_seed
    wanted = setting.family.id, __version__, setting.source.name, seed
    return seen == wanted and setting.suite.plays(record.scenario, record.workload)


def _declare(task: Task) -> None:
    """Writes ``submission.toml`` from what the records say."""
    record = EpisodeRecord.read(record_path(task.folder, task.suite, task.suite.seeds[0]))
    named = policies_of(task.suite.family)
    summary = named[task.policy].summary if task.policy in named else ""
    Submission(record.policy, record.information, summary, hardware()).write(task.folder)
