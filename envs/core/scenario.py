"""Scenarios: frozen dataclasses, filled from a family's TOML file, never half-checked."""

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, get_type_hints

from fleetgym.envs.core.errors import ScenarioError
from fleetgym.envs.core.tables import typed
from fleetgym.traces.errors import nearest

S = TypeVar("S", bound="Scenario")


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What every family's scenario has; subclasses add fields, each with its unit in its name.

    Attributes:
        name: of the scenario, as in the TOML file.
        workload: name of the workload source, or a path to a trace.
        split: which of the source's seeds are drawn, "train" or "test".
        control: "central" (one agent) or "distributed" (named agents).
    """

    name: str
    workload: str
    split: Literal["train", "test"] = "train"
    control: Literal["central", "distributed"] = "central"

    def check(self) -> None:
        """Raises ScenarioError where fields contradict each other or are out of range."""

    def override(self, values: Mapping[str, Any]) -> Self:
        """The scenario with some fields replaced, checked.

        Raises:
            ScenarioError: a field is unknown (names the nearest), mistyped or out of range.
        """
        hints = get_type_hints(type(self))
        checked = {}
        for field, value in values.items():
            if field not in hints:
                raise ScenarioError(
                    f"scenario {self.name!r} has no field {field!r}: {nearest(field, hints)}"
                )
            checked[field] = typed(f"scenario {self.name!r}", field, value, hints[field])
        scenario = replace(self, **checked)
        scenario.check()
        return scenario

    def as_dict(self) -> dict[str, Any]:
        """Every field, for records and logs."""
        return asdict(self)

    def _require(self, good: bool, field: str, rule: str) -> None:
        """Raises ScenarioError where a rule about a field does not hold."""
        if not good:
            raise ScenarioError(
                f"scenario {self.name!r}: {field} is {getattr(self, field)!r}, it must be {rule}"
            )


def load_scenarios(cls: type[S], path: Path) -> dict[str, S]:
    """Reads a family's scenarios, a table each.

    Raises:
        ScenarioError: the file is not TOML, or a table has an unknown or mistyped field.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ScenarioError(f"{path}: {error}") from error
    required = {"name", "workload"}
    known = {field.name for field in fields(cls)}
    scenarios = {}
    for name, table in tables.items():
        if not isinstance(table, dict) or not required <= {"name", *table}:
            raise ScenarioError(f"{path}: [{name}] must be a table with a workload")
        if "name" in table:
            raise ScenarioError(f"{path}: [{name}] has a field 'name': the table is its name")
        unknown = sorted(set(table) - known)
        if unknown:
            raise ScenarioError(
                f"{path}: [{name}] has no field {unknown[0]!r}: {nearest(unknown[0], known)}"
            )
        scenarios[name] = cls(name=name, workload="").override(table)
    return scenarios
