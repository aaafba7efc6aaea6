"""What the leaderboard plays: suites from a TOML file, and the setting each resolves to here."""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from fleetgym.envs.core.registration import Family, family_of
from fleetgym.envs.core.scenario import Scenario
from fleetgym.envs.core.workload import WorkloadSource
from fleetgym.scripts.errors import LeaderboardError
from fleetgym.traces.errors import TraceError, nearest

QUICK = Path(__file__).with_name("suite.toml")


@dataclass(frozen=True, kw_only=True, eq=False)
class Suite:
    """One suite; ``suite.toml`` says what the fields mean."""

    name: str
    id: str
    scenario: str
    workload: str
    fallback: str = ""
    seeds: tuple[int, int]
    seconds: float
    metric: str
    bound: str = ""
    bound_policy: str = ""
    reference: str
    policies: tuple[str, ...] = ()
    heuristics: tuple[str, ...] = ()
    budgets: Mapping[str, float] = field(default_factory=dict)
    overrides: Mapping[str, Any] = field(default_factory=dict)

    @property
    def family(self) -> Family:
        """Of the environment."""
        return family_of(self.id)

    def budget(self, policy: str) -> float:
        """Seconds of decision time a policy has for an episode."""
        return float(self.budgets.get(policy, self.seconds))

    def all_seeds(self) -> range:
        """The workload seeds."""
        return range(*self.seeds)

    def resolved(self, workload: str) -> Scenario:
        """The scenario every record of the suite must have been played in."""
        fields_ = {"split": "test", **self.overrides, "workload": workload}
        return self.family.scenario(self.scenario, fields_)

    def plays(self, scenario: Mapping[str, Any], workload: str) -> bool:
        """Whether a record's scenario and workload are the suite's, or its fallback's."""
        if not workload or workload not in (self.workload, self.fallback):
            return False
        return bool(as_json(self.resolved(workload).as_dict()) == as_json(dict(scenario)))

    def open(self) -> "Setting":
        """The suite with its workloads, or with the fallback's where the trace is not here.

        Raises:
            TraceError: neither the workload nor a fallback is here.
        """
        try:
            return self._setting(self.workload)
        except TraceError:
            if not self.fallback:
                raise
            return self._setting(self.fallback)

    def _setting(self, workload: str) -> "Setting":
        scenario = self.resolved(workload)
        return Setting(self, self.family, scenario, self.family.workloads(scenario))


@dataclass(frozen=True, eq=False)
class Setting:
    """A suite as it is played on this machine."""

    suite: Suite
    family: Family
    scenario: Scenario
    source: WorkloadSource


def as_json(value: Any) -> Any:
    """A value as a JSON file gives it back: tuples become lists."""
    return json.loads(json.dumps(value))


def load_suites(path: Path = QUICK) -> list[Suite]:
    """The suites of a file, in its order.

    Raises:
        LeaderboardError: the file is not there or not TOML, or a suite has a field that is
            unknown, missing or of another type.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LeaderboardError(f"{path}: not a readable suite file: {error}") from error
    suites = [_suite(path, name, table) for name, table in tables.items()]
    if not suites:
        raise LeaderboardError(f"{path}: holds no suite")
    return suites


def _suite(path: Path, name: str, table: Any) -> Suite:
    where = f"{path}: [{name}]"
    if not isinstance(table, dict):
        raise LeaderboardError(f"{where} must be a table")
    known = {f.name for f in fields(Suite)} - {"name"}
    unknown = sorted(set(table) - known)
    if unknown:
        raise LeaderboardError(f"{where} has no field {unknown[0]!r}: {nearest(unknown[0], known)}")
    values: dict[str, Any] = {}
    for item in fields(Suite):
        if item.name in table:
            values[item.name] = _checked(where, item.name, table[item.name])
    try:
        suite = Suite(name=name, **values)
    except TypeError as error:
        raise LeaderboardError(f"{where}: {error}") from error
    if bool(suite.bound) != bool(suite.bound_policy):
        raise LeaderboardError(f"{where}: bound and bound_policy go together")
    return suite


def _checked(where: str, name: str, value: Any) -> Any:
    """The value as the field has it, or a LeaderboardError."""
    good: dict[str, bool] = {
        "seeds": isinstance(value, list)
        and len(value) == 2
        and all(type(seed) is int for seed in value)
        and 0 <= value[0] < value[1],
        "seconds": type(value) in (int, float) and value > 0,
        "heuristics": isinstance(value, list) and all(isinstance(item, str) for item in value),
        "policies": isinstance(value, list) and all(isinstance(item, str) for item in value),
        "budgets": isinstance(value, dict)
        and all(type(item) in (int, float) and item > 0 for item in value.values()),
        "overrides": isinstance(value, dict),
    }
    if not good.get(name, isinstance(value, str)):
        wanted = {
            "seeds": "[first, last + 1]",
            "seconds": "above 0",
            "heuristics": "a list of names",
            "policies": "a list of names",
            "budgets": "a table of seconds above 0",
            "overrides": "a table",
        }
        raise LeaderboardError(f"{where}: {name} is {value!r}, not {wanted.get(name, 'a text')}")
    return tuple(value) if isinstance(value, list) else value
