"""The bound of each workload: what no policy can beat, certified by the exact solver."""

import hashlib
import json
from importlib import import_module
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from fleetgym.baselines.vm_rescheduling.planning import PlanPolicy
from fleetgym.baselines.vm_rescheduling.problem import Moves, Problem
from fleetgym.scripts.errors import LeaderboardError
from fleetgym.scripts.files import read_json, write_json
from fleetgym.scripts.leaderboard.suite import Setting

FILE = "bounds.json"


class Entry(TypedDict):
    """A bound, and the fingerprint of what it is of."""

    bound: float
    of: str


Table = dict[str, dict[str, dict[str, Entry]]]  # suite -> workload -> seed


class CertifiedPlan(PlanPolicy):
    """Carries out an exact solver's plan and keeps the bound it proved on the way.

    Attributes:
        bound: of the last episode; None before the first.
    """

    def __init__(self, name: str, solver: str, seconds: float, seed: int) -> None:
        module, _, attribute = solver.partition(":")
        self._solve = getattr(import_module(module), attribute)
        self.bound: float | None = None
        super().__init__(name, self._certified, seconds, seed)

    def _certified(self, problem: Problem, seconds: float, seed: int) -> Moves:
        solution = self._solve(problem, seconds, seed)
        self.bound = float(solution.bound)
        moves: NDArray[np.int32] = solution.moves
        return moves


class Bounds:
    """``bounds.json`` of a leaderboard: a bound for each suite, workload name and seed.

    A bound counts only for the very workload and scenario it was proven of.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._table: Table = _checked(self._path) if self._path.exists() else {}

    def get(self, setting: Setting, seed: int) -> float | None:
        """The bound, where it is known."""
        entry = self._entries(setting).get(str(seed))
        known = entry is not None and entry["of"] == _fingerprint(setting, seed)
        return entry["bound"] if entry is not None and known else None

    def put(self, setting: Setting, seed: int, bound: float) -> None:
        """Adds a bound and writes the file."""
        entry: Entry = {"bound": bound, "of": _fingerprint(setting, seed)}
        self._entries(setting)[str(seed)] = entry
        write_json(self._path, self._table)

    def known(self, setting: Setting) -> dict[int, float]:
        """The bounds of a setting, by seed."""
        found = {seed: self.get(setting, seed) for seed in setting.suite.all_seeds()}
        return {seed: bound for seed, bound in found.items() if bound is not None}

    def _entries(self, setting: Setting) -> dict[str, Entry]:
        table = self._table.setdefault(setting.suite.name, {})
        return table.setdefault(setting.source.name, {})


def _fingerprint(setting: Setting, seed: int) -> str:
    """What a bound is of: a hash of the workload and the resolved scenario."""
    scenario = json.dumps(setting.scenario.as_dict(), sort_keys=True)
    return hashlib.sha256((setting.source.draw(seed).digest + scenario).encode()).hexdigest()


def _checked(path: Path) -> Table:
    table: Any = read_json(path)
    try:
        return {
            suite: {
                workload: {
                    str(int(seed)): {"bound": float(entry["bound"]), "of": str(entry["of"])}
                    for seed, entry in seeds.items()
                }
                for workload, seeds in workloads.items()
            }
            for suite, workloads in table.items()
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise LeaderboardError(
            f"{path}: not bounds by suite, workload and seed ({error!r}); delete it, run again"
        ) from error
