"""What tables of results hold, and how they are played."""

import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleetgym.envs.core.registration import family_of
from fleetgym.envs.core.tables import from_table
from fleetgym.scripts.errors import CommandError
from fleetgym.scripts.leaderboard.evaluate import evaluate
from fleetgym.scripts.leaderboard.statistics import RESAMPLES, Estimate, interval, resampled
from fleetgym.scripts.policies import make_policy

Float64 = NDArray[np.float64]
# Row, metric: its mean; where rows are compared by it, also the mean difference from the reference,
# and the low and the high end of its interval.
Results = dict[str, dict[str, list[float]]]
BOUND = "bound"  # the row


@dataclass(frozen=True)
class Row:
    """A policy in a setting.

    Attributes:
        policy: its name.
        label: of the row; the policy's name if empty.
        overrides: fields of the scenario, beside those of the table.
    """

    policy: str
    label: str = ""
    overrides: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What the row is called."""
        return self.label or self.policy


@dataclass(frozen=True)
class Table:
    """Rows played on the same workloads.

    Attributes:
        title: of the table.
        id, scenario, workload, overrides: the setting; the workload is the scenario's if empty.
        seeds: of test workloads, from the first up to but without the second.
        metrics: columns.
        compared: by so many of them, from the first on.
        reference: the row that the others are compared with, seed by seed; empty: none is.
        policies: rows that need no more than a name, before ``rows``.
        seconds: budget of each policy for an episode.
        bound: where metrics stand that no policy betters (NaN where no bound is known), as
            module:function of the scenario and a workload; empty: there are none.
        note: what the table shows.
    """

    title: str
    id: str
    scenario: str
    metrics: tuple[str, ...]
    compared: int = 1
    seeds: tuple[int, ...] = (0, 30)
    workload: str = ""
    overrides: dict[str, Any] = field(default_factory=dict)
    reference: str = ""
    policies: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
    seconds: float = 1.0
    bound: str = ""
    note: str = ""

    def all_rows(self) -> list[Row]:
        """Every row."""
        return [*(Row(name) for name in self.policies), *self.rows]

    def names(self) -> list[str]:
        """Of the rows, and of the bound."""
        return [*(row.name for row in self.all_rows()), *([BOUND] if self.bound else [])]


def load_tables(path: Path) -> list[Table]:
    """The tables of a family's TOML file.

    Raises:
        CommandError: the file cannot be read.
        ScenarioError: a field is unknown, missing or mistyped.
    """
    try:
        listed = tomllib.loads(path.read_text(encoding="utf-8"))["tables"]
    except (OSError, ValueError, KeyError) as error:
        raise CommandError(f"{path}: no tables of results: {error}") from error
    return [from_table(Table, table, f"{path} [{n}]") for n, table in enumerate(listed)]


def play(table: Table, told: Callable[[str], None]) -> Results:
    """Plays every row, and compares it with the reference seed by seed."""
    family, seeds = family_of(table.id), range(*table.seeds)
    workload = {"workload": table.workload} if table.workload else {}
    values: dict[str, dict[str, Float64]] = {}
    for row in table.all_rows():
        told(f"  {row.name}")
        policy = make_policy(family, row.policy, table.seconds)
        fields = {**table.overrides, **row.overrides, **workload}
        records = evaluate(policy, table.id, table.scenario, seeds, num_worlds=len(seeds), **fields)
        values[row.name] = {m: np.array([r.metrics[m] for r in records]) for m in table.metrics}
    if table.bound:
        values[BOUND] = _bounds(table)
    found: Results = {}
    for name, of in values.items():
        found[name] = {metric: [float(value.mean())] for metric, value in of.items()}
        if table.reference and name != table.reference:
            for metric in table.metrics[: table.compared]:
                difference = of[metric] - values[table.reference][metric]
                if np.isfinite(difference).all():
                    found[name][metric] += _mean_of(difference)
    return found


def _bounds(table: Table) -> dict[str, Float64]:
    """The bound of every workload, by metric."""
    module, _, name = table.bound.partition(":")
    bound = getattr(import_module(module), name)
    family = family_of(table.id)
    workload = {"workload": table.workload} if table.workload else {}
    scenario = family.scenario(table.scenario, {"split": "test", **table.overrides, **workload})
    source = family.workloads(scenario)
    found = [bound(scenario, source.draw(seed)) for seed in range(*table.seeds)]
    return {metric: np.array([one[metric] for one in found]) for metric in table.metrics}


def _mean_of(differences: Float64) -> Estimate:
    """The mean with its bootstrap interval."""
    (drawn,) = resampled([differences], np.random.default_rng(0), RESAMPLES)
    return Estimate(float(differences.mean()), *interval(drawn.mean(axis=1)))
