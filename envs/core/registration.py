"""Families are found, not listed: each folder of ``fleetgym.envs`` that declares a ``FAMILY``."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

import gymnasium

from fleetgym.envs.core.errors import MissingExtraError, ScenarioError
from fleetgym.envs.core.scenario import Scenario, load_scenarios
from fleetgym.envs.core.simulator import Simulator
from fleetgym.envs.core.workload import WorkloadSource
from fleetgym.traces.errors import nearest

if TYPE_CHECKING:
    from fleetgym.envs.core.parallel import FleetParallelEnv

NAMESPACE = "fleetgym"


@dataclass(frozen=True)
class Family:
    """What a family's folder declares; everything heavy stands as ``module:attribute``.

    Attributes:
        id: registered id, ``fleetgym/Name-vN``.
        folder: name of its folder in ``envs`` and in ``baselines``.
        summary: one line.
        scenario_type, simulator, source: ``module:attribute``, relative to the folder.
        env, vector_env: the faces' classes, likewise.
    """

    id: str
    folder: str
    summary: str
    scenario_type: str
    simulator: str
    source: str
    env: str
    vector_env: str

    def path(self, reference: str) -> str:
        """The absolute ``module:attribute`` of a relative one."""
        return f"fleetgym.envs.{self.folder}.{reference}"

    def load(self, reference: str) -> Any:
        """The object that a relative ``module:attribute`` names."""
        module, attribute = self.path(reference).split(":")
        return getattr(import_module(module), attribute)

    def scenarios(self) -> Mapping[str, Scenario]:
        """The family's scenarios by name."""
        return _scenarios(self)

    def scenario(self, name: str, overrides: Mapping[str, Any] | None = None) -> Scenario:
        """A scenario with some of its fields replaced.

        Raises:
            ScenarioError: unknown scenario or field (names the nearest), or a bad value.
        """
        known = self.scenarios()
        if name not in known:
            raise ScenarioError(f"{self.id} has no scenario {name!r}: {nearest(name, known)}")
        return known[name].override(overrides or {})

    def workloads(self, scenario: Scenario) -> WorkloadSource:
        """The source that the scenario's ``workload`` names."""
        source: WorkloadSource = self.load(self.source)(scenario)
        return source

    def simulate(self, scenario: Scenario, source: WorkloadSource, num_worlds: int) -> Simulator:
        """A simulator of ``num_worlds`` worlds, none of them reset yet."""
        simulator: Simulator = self.load(self.simulator)(scenario, source.capacity, num_worlds)
        return simulator


@cache
def _scenarios(family: Family) -> Mapping[str, Scenario]:
    path = Path(str(files(f"fleetgym.envs.{family.folder}") / "scenarios.toml"))
    return load_scenarios(family.load(family.scenario_type), path)


@cache
def families() -> Mapping[str, Family]:
    """Every family, by registered id."""
    return {family.id: family for family in _found()}


def _found() -> Iterator[Family]:
    package = import_module("fleetgym.envs")
    for module in iter_modules(package.__path__):
        if module.ispkg:
            family = getattr(import_module(f"fleetgym.envs.{module.name}"), "FAMILY", None)
            if family is not None:
                yield family


def family_of(name: str) -> Family:
    """The family of an id, with or without ``fleetgym/`` and ``-v0``, in any case, - or _.

    Raises:
        ScenarioError: there is none; the message names the nearest.
    """

    def plain(text: str) -> str:
        short = text.removeprefix(f"{NAMESPACE}/")
        stem, _, version = short.rpartition("-v")
        short = stem if stem and version.isdigit() else short
        return short.replace("-", "").replace("_", "").lower()

    for identity, family in families().items():
        if name == identity or plain(name) in (plain(identity), plain(family.folder)):
            return family
    raise ScenarioError(f"unknown environment {name!r}: {nearest(name, families())}")


def parallel_env(id: str, scenario: str = "small", **arguments: Any) -> "FleetParallelEnv":
    """A PettingZoo ``ParallelEnv`` of a scenario under distributed control.

    Args:
        id: environment id, with or without ``fleetgym/`` and ``-v0``.
        scenario: name of one of its scenarios.
        arguments: of `FleetParallelEnv`, and scenario fields to replace.

    Raises:
        MissingExtraError: PettingZoo is not installed.
        ScenarioError: unknown id, scenario, field or argument.
    """
    try:
        from fleetgym.envs.core.parallel import FleetParallelEnv
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("pettingzoo"):
            raise
        raise MissingExtraError(
            "parallel_env needs pettingzoo: pip install fleetgym[multi]"
        ) from error
    return FleetParallelEnv(family_of(id), scenario, **arguments)


def register_all() -> None:
    """Registers every family with Gymnasium."""
    for family in families().values():
        if family.id not in gymnasium.registry:
            gymnasium.register(
                family.id,
                entry_point=family.path(family.env),
                vector_entry_point=family.path(family.vector_env),
            )
