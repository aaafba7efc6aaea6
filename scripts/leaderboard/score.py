"""From verified episodes to scores, and from scores to the rows of the leaderboard.

With a bound, an episode's score is its gap, (x - bound) / bound (x itself where the bound is 0): 0
is optimal, less is better.
Without one it is (random - x) / (random - reference): 0 plays like the random-legal policy, 1
like the reference heuristic, more is better; both taken on the same workload.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fleetgym._version import __version__
from fleetgym.scripts.errors import LeaderboardError
from fleetgym.scripts.leaderboard.statistics import (
    Estimate,
    Float64,
    improvement_estimate,
    iqm_estimate,
)
from fleetgym.scripts.leaderboard.suite import Suite
from fleetgym.scripts.leaderboard.verify import Entry

RANDOM = "random"
GAP, NORMALISED = "gap", "normalised"
ROUNDING = 1e-9


@dataclass(frozen=True)
class Row:
    """A policy on the suites of one environment.

    Attributes:
        policy, track, summary: as declared.
        score: interquartile mean with its interval.
        metric: mean of the suites' metric.
        decision_time_s: median of an episode, declared.
        over_budget: share of episodes whose decision time exceeds the budget by a tenth.
        improvement: probability of being better than the best heuristic; None of itself.
    """

    policy: str
    track: str
    summary: str
    score: Estimate
    metric: float
    decision_time_s: float
    over_budget: float
    improvement: Estimate | None


@dataclass(frozen=True, eq=False)
class Board:
    """The leaderboard of one environment, best policy first.

    Attributes:
        id: of the environment.
        kind: "gap" or "normalised".
        metric: name of what is scored.
        best_heuristic: with whom the others are compared.
        workloads: what each suite was played on, with the number of episodes.
        budget_s: of a decision-maker, by suite; budgets: exceptions, by policy.
        rows: one a policy.
        scores: of each policy, one array a suite.
        version: of the package.
    """

    id: str
    kind: str
    metric: str
    best_heuristic: str
    workloads: Mapping[str, str]
    budget_s: Mapping[str, float]
    budgets: Mapping[str, float]
    rows: tuple[Row, ...]
    scores: Mapping[str, list[Float64]]
    version: str = __version__

    @property
    def less_is_better(self) -> bool:
        """Whether a lower score is better."""
        return self.kind == GAP

    def as_json(self) -> dict[str, Any]:
        """What ``results.json`` keeps: everything but the scores of single episodes."""
        table = asdict(self)
        del table["scores"]
        return table

    @classmethod
    def from_json(cls, table: Mapping[str, Any]) -> "Board":
        """What `as_json` kept, without the scores of single episodes."""
        rows = []
        for row in table["rows"]:
            versus = row["improvement"]
            estimates = {
                "score": Estimate(*row["score"]),
                "improvement": None if versus is None else Estimate(*versus),
            }
            rows.append(Row(**(row | estimates)))
        return cls(**(dict(table) | {"rows": tuple(rows), "scores": {}}))


Results = dict[str, dict[int, Entry]]  # policy -> seed -> episode


def boards(
    suites: Sequence[Suite],
    entries: Iterable[Entry],
    bounds: Mapping[str, Mapping[int, float]],
) -> list[Board]:
    """A board for each environment.

    Args:
        suites: that were played.
        entries: every verified episode.
        bounds: by suite and seed.

    Raises:
        LeaderboardError: a bound or a reference's episode is missing, or suites of one
            environment are scored in different ways.
    """
    played: dict[str, Results] = {suite.name: {} for suite in suites}
    for entry in entries:
        results = played[entry.suite.name]
        results.setdefault(entry.submission.policy, {})[entry.seed] = entry
    groups: dict[str, list[Suite]] = {}
    for suite in suites:
        groups.setdefault(suite.family.id, []).append(suite)
    return [_board(id, group, played, bounds) for id, group in groups.items()]


def _board(
    id: str,
    suites: list[Suite],
    played: Mapping[str, Results],
    bounds: Mapping[str, Mapping[int, float]],
) -> Board:
    kinds = {(GAP if suite.bound else NORMALISED, suite.metric) for suite in suites}
    if len(kinds) != 1:
        raise LeaderboardError(f"{id}: suites are scored in different ways: {sorted(kinds)}")
    ((kind, metric),) = kinds
    everywhere = set.intersection(*(set(played[suite.name]) for suite in suites))
    scores = {
        name: [_scores(suite, played[suite.name], name, bounds) for suite in suites]
        for name in sorted(everywhere)
    }
    means = {name: iqm_estimate(runs) for name, runs in scores.items()}
    sign = 1 if kind == GAP else -1
    named = {name for suite in suites for name in suite.heuristics} & everywhere
    best = min(named, key=lambda name: sign * means[name].value, default="")
    rows = [
        _row(name, suites, played, means[name], scores, best, kind == GAP) for name in everywhere
    ]
    rows.sort(key=lambda row: (sign * row.score.value, row.decision_time_s, row.policy))
    return Board(
        id=id,
        kind=kind,
        metric=metric,
        best_heuristic=best,
        workloads={suite.name: _workloads(played[suite.name]) for suite in suites},
        budget_s={suite.name: suite.seconds for suite in suites},
        budgets={name: s for suite in suites for name, s in suite.budgets.items()},
        rows=tuple(rows),
        scores=scores,
    )


def _workloads(results: Results) -> str:
    names = sorted({entry.workload for seeds in results.values() for entry in seeds.values()})
    return f"{' and '.join(names)}, {max(map(len, results.values()), default=0)} workloads"


def _scores(
    suite: Suite, results: Results, policy: str, bounds: Mapping[str, Mapping[int, float]]
) -> Float64:
    """Scores of a policy on the suite's workloads, in the order of the seeds."""
    scores = []
    for seed in suite.all_seeds():
        x = _metric(suite, results, policy, seed)
        if suite.bound:
            bound = bounds.get(suite.name, {}).get(seed)
            if bound is None:
                raise LeaderboardError(
                    f"suite {suite.name}: no bound of seed {seed}: "
                    f"run policy {suite.bound_policy!r}"
                )
            scores.append(_gap(suite, policy, seed, x, bound))
        else:
            low = _metric(suite, results, RANDOM, seed)
            high = _metric(suite, results, suite.reference, seed)
            scores.append((low - x) / (low - high) if low != high else float(x <= high))
    return np.array(scores)


def _gap(suite: Suite, policy: str, seed: int, x: float, bound: float) -> float:
    """The gap to the bound; what is below it by rounding alone is on it."""
    if x < bound - ROUNDING:
        raise LeaderboardError(
            f"suite {suite.name}, seed {seed}: {policy!r} reaches {x!r}, below the bound "
            f"{bound!r}: the bound is wrong (`fleetgym leaderboard verify --bounds`)"
        )
    over = max(0.0, x - bound)
    return over / bound if bound > ROUNDING else over


def _metric(suite: Suite, results: Results, policy: str, seed: int) -> float:
    entry = results.get(policy, {}).get(seed)
    if entry is None:
        raise LeaderboardError(f"suite {suite.name}: no episode of {policy!r} on seed {seed}")
    return entry.metrics[suite.metric]


def _row(
    name: str,
    suites: list[Suite],
    played: Mapping[str, Results],
    score: Estimate,
    scores: Mapping[str, list[Float64]],
    best: str,
    less_is_better: bool,
) -> Row:
    entries = [(suite, entry) for suite in suites for entry in played[suite.name][name].values()]
    submission = entries[0][1].submission
    over = [entry.decision_time_s > 1.1 * suite.budget(name) for suite, entry in entries]
    compared = None
    if best and name != best:
        compared = improvement_estimate(scores[name], scores[best], less_is_better)
    return Row(
        policy=name,
        track=submission.information,
        summary=submission.summary,
        score=score,
        metric=float(np.mean([entry.metrics[suite.metric] for suite, entry in entries])),
        decision_time_s=float(np.median([entry.decision_time_s for _, entry in entries])),
        over_budget=float(np.mean(over)),
        improvement=compared,
    )
