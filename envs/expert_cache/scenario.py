"""The fields of an expert caching scenario."""

from dataclasses import dataclass
from typing import Literal

from fleetgym.envs.core.scenario import Scenario
from fleetgym.envs.expert_cache.costs import CostModel


@dataclass(frozen=True, kw_only=True)
class ExpertCacheScenario(Scenario, CostModel):
    """A model whose experts do not fit. The fields of costs are described in ``costs.py``.

    Attributes:
        num_layers, num_experts, top_k: of a generated workload; a trace brings its own.
        capacity: share of a layer's experts that GPU memory holds.
        locality: of a generated workload, how much consecutive tokens have in common.
        tokens: played in an episode, of a trace at most.
        warmup: tokens before them, which fill the cache (LRU) and the statistics.
        batch: sequences of a generated workload decoded together; a step activates their union.
        prefetch: experts that may be fetched for the next layer at each layer; 0: none.
        reward: "makespan" (minus the time of the layers, ms) or "misses" (-1 a miss).
        illegal_penalty: subtracted for an action the mask forbids.
    """

    num_layers: int = 4
    num_experts: int = 16
    top_k: int = 2
    capacity: float = 0.25
    locality: Literal["low", "medium", "high"] = "medium"
    tokens: int = 64
    warmup: int = 16
    batch: int = 1
    prefetch: int = 0
    reward: Literal["makespan", "misses"] = "makespan"
    illegal_penalty: float = 0.01

    def slots(self, num_experts: int) -> int:
        """C: how many of a layer's experts GPU memory holds, at least 1 and never all."""
        return min(max(1, int(self.capacity * num_experts)), num_experts - 1)

    def check(self) -> None:
        """Raises ScenarioError where a field is out of range or two contradict each other."""
        for field in ("num_layers", "top_k", "tokens", "warmup", "batch"):
            self._require(1 <= getattr(self, field) <= 1_000_000, field, "from 1 to a million")
        self._require(2 <= self.num_experts <= 1024, "num_experts", "from 2 to 1024")
        self._require(
            self.top_k < self.num_experts, "top_k", f"below num_experts = {self.num_experts}"
        )
        self._require(0 < self.capacity < 1, "capacity", "above 0 and below 1")
        self._require(
            0 <= self.prefetch <= self.slots(self.num_experts),
            "prefetch",
            f"from 0 to the {self.slots(self.num_experts)} slots of a layer",
        )
        for field in (
            "expert_mparams",
            "bytes_per_param",
            "gpu_gb_s",
            "gpu_tflops",
            "cpu_gb_s",
            "cpu_tflops",
            "pcie_gb_s",
        ):
            self._require(1e-3 <= getattr(self, field) <= 1e6, field, "from 0.001 to a million")
        for field in ("illegal_penalty", "dense_ms"):
            self._require(0 <= getattr(self, field) <= 1e6, field, "from 0 to a million")
        self._require(
            self.control == "central",
            "control",
            "'central': one layer decides at a time, so parallel_env has no agents for it",
        )
