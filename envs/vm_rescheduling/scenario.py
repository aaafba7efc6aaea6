"""The fields of a VM rescheduling scenario."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from fleetgym.envs.core.scenario import Scenario
from fleetgym.envs.vm_rescheduling.objective import Objective, Precopy

SCREENED = (  # what the seeds were screened for
    "workload",
    "num_pms",
    "num_racks",
    "utilisation_low",
    "utilisation_high",
    "groups",
    "group_size",
    "group_max_per_pm",
)


@dataclass(frozen=True, kw_only=True)
class VMReschedulingScenario(Scenario, Objective, Precopy):
    """A fleet to tidy up. Objective and pre-copy fields are described in ``objective.py``.

    Attributes:
        mnl: migration number limit of an episode.
        action: "two-phase" (VM or STOP, then target) or "pair" (both at once).
        reward: "objective" (minus its change, telescopes) or "vmr2l" (fragment cores / 128).
        illegal_penalty: subtracted for an action the mask forbids.
        churn_per_min: departures per VM and minute, and arrivals likewise, as time passes.
        horizon_s: seconds after which an episode is truncated.
        num_pms, num_racks: size of a generated fleet; of a churned trace, at most num_pms machines.
        utilisation_low, utilisation_high: CPU utilisation of a generated fleet.
        fragment_low, fragment_high: start FR_16 of churned workloads.
        groups, group_size, group_max_per_pm: anti-affinity groups of a generated fleet.
        train_seeds, test_seeds: screened generator seeds; empty: every seed is used as it is. They
            are dropped where a field they were screened for is overridden.
    """

    mnl: int = 50
    action: Literal["two-phase", "pair"] = "two-phase"
    reward: Literal["objective", "vmr2l"] = "objective"
    illegal_penalty: float = 0.01
    churn_per_min: float = 0.0
    horizon_s: float = 1_800.0
    num_pms: int = 20
    num_racks: int = 4
    utilisation_low: float = 0.82
    utilisation_high: float = 0.94
    fragment_low: float = 0.4
    fragment_high: float = 0.6
    groups: int = 0
    group_size: int = 8
    group_max_per_pm: int = 1
    train_seeds: tuple[int, ...] = ()
    test_seeds: tuple[int, ...] = ()

    def override(self, values: Mapping[str, Any]) -> Self:
        """As `Scenario.override`; seeds screened for one generator are no use to another."""
        changed = {
            name
            for name in SCREENED
            if values.get(name, getattr(self, name)) != getattr(self, name)
        }
        lists: dict[str, Any] = {"train_seeds": (), "test_seeds": ()} if changed else {}
        return super().override({**lists, **values})

    def check(self) -> None:
        """Raises ScenarioError where a field is out of range or two contradict each other."""
        for field in ("mnl", "num_pms", "num_racks", "fragment_cores", "memory_chunk"):
            self._require(getattr(self, field) >= 1, field, "at least 1")
        for field in ("max_rounds", "group_size", "group_max_per_pm"):
            self._require(getattr(self, field) >= 1, field, "at least 1")
        self._require(self.pair_cores >= 2 and self.pair_cores % 2 == 0, "pair_cores", "even, >= 2")
        for field in ("horizon_s", "bandwidth_mib_s"):
            self._require(0 < getattr(self, field) < 1e9, field, "above 0 and below 1e9")
        for field in ("churn_per_min", "illegal_penalty", "dirty_mib_s", "groups", "resume_ms"):
            self._require(0 <= getattr(self, field) < 1e9, field, "0 or more, and finite")
        for term in ("fragment", "pair", "memory", "gpu", "active", "traffic"):
            field = f"weight_{term}"
            self._require(0 <= getattr(self, field) < 1e9, field, "0 or more, and finite")
        self._require(bool(self.weights().sum() > 0), "weight_fragment", "above 0 if no other is")
        self._require(
            0 < self.utilisation_low <= self.utilisation_high < 1,
            "utilisation_low",
            "above 0, at most utilisation_high, which is below 1",
        )
        self._require(
            0 <= self.fragment_low < self.fragment_high <= 1,
            "fragment_low",
            "at least 0 and below fragment_high, which is at most 1",
        )
        self._require(
            self.control == "central" or self.action == "two-phase",
            "action",
            "'two-phase' where control is 'distributed'",
        )
        self._require(
            self.num_racks <= self.num_pms, "num_racks", f"at most num_pms = {self.num_pms}"
        )
