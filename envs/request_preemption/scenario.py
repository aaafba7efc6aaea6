"""The fields of a request preemption scenario."""

from dataclasses import dataclass
from typing import Literal

from fleetgym.envs.core.scenario import Scenario

BLOCK_TOKENS = 16  # tokens of a KV block


@dataclass(frozen=True, kw_only=True)
class Engine:
    """One instance: the GPU, its memory, and how requests share an iteration.

    Attributes:
        model, gpu, tp: whose measured coefficients time an iteration (``fleetgym.envs.hardware``).
        stack_overhead: multiplies every iteration (2023 stacks measured 1.7).
        kv_blocks: KV blocks of 16 tokens on the GPU; cpu_blocks: in host memory, for swapping.
        max_num_seqs: requests that may run at once.
        token_budget: tokens of an iteration, prompts in chunks (whole ones may exceed it).
        prefix_cache: full blocks of finished or preempted requests stay until evicted (LRU).
    """

    model: str = "llama-3-8b"
    gpu: str = "a100"
    tp: int = 1
    stack_overhead: float = 1.0
    kv_blocks: int = 1_500
    cpu_blocks: int = 4_096
    max_num_seqs: int = 256
    token_budget: int = 2_048
    prefix_cache: bool = False


@dataclass(frozen=True, kw_only=True)
class Copies:
    """How KV blocks travel.

    Attributes:
        preemption: what preempting does: "recompute" (drop the blocks), "swap" (to the host), the
            "cheapest" of both, or as the action says ("chosen").
        overlapped: copies run beside iterations (FastSwitch); else the engine stalls (vLLM v0).
        overlap_tax: share by which an iteration that starts during a copy is slowed.
        group_blocks: contiguous blocks that one copy moves (FastSwitch's block groups).
        reuse_cpu_copies: host copies of a resumed request stay, so that a later swap moves less.
        dispatch_us: of one copy call; swap_gb_s: bandwidth to the host.
        migration_gb_s: bandwidth between instances.
    """

    preemption: Literal["recompute", "swap", "cheapest", "chosen"] = "recompute"
    overlapped: bool = True
    overlap_tax: float = 0.05
    group_blocks: int = 1
    reuse_cpu_copies: bool = False
    dispatch_us: float = 8.0
    swap_gb_s: float = 25.0
    migration_gb_s: float = 12.5


@dataclass(frozen=True, kw_only=True)
class Service:
    """What is promised, and how it is scored.

    Attributes:
        ttft_slo_s, tbt_slo_s: targets of the time to the first token and of that between tokens.
        weight_late: of a second beyond a target, for each live request.
        weight_goodput: of a request that meets its targets, when it finishes.
        weight_fairness: of the growth of the service gap between clients, per 1,000 tokens.
        illegal_penalty: subtracted for an action the mask forbids.
        priority_levels: 0 is the least; weights grow with the level.
        priority_weights: reward weight of each level; empty: 1, 2, 3, ...
        priority_updates: updates per iteration (0: priorities are drawn once).
        priority_pattern: "random" draws every level anew at an update; "markov" keeps most.
    """

    ttft_slo_s: float = 5.0
    tbt_slo_s: float = 0.2
    weight_late: float = 0.02
    weight_goodput: float = 1.0
    weight_fairness: float = 0.0
    illegal_penalty: float = 0.01
    priority_levels: int = 1
    priority_weights: tuple[float, ...] = ()
    priority_updates: float = 0.0
    priority_pattern: Literal["random", "markov"] = "random"


@dataclass(frozen=True, kw_only=True)
class Load:
    """What is drawn for an episode.

    Attributes:
        requests: of an episode.
        arrival_scale: multiplies the times between arrivals: less is more load.
        clients, client_skew: users the requests are spread over, by Zipf's law of this exponent.
        predictions: policies see a prediction of the output length, ``o * exp(sigma * eps)``.
        sigma: of its error; 0 is exact.
    """

    requests: int = 600
    arrival_scale: float = 1.2
    clients: int = 1
    client_skew: float = 0.0
    predictions: bool = False
    sigma: float = 0.5


@dataclass(frozen=True, kw_only=True)
class RequestPreemptionScenario(Scenario, Engine, Copies, Service, Load):
    """LLM serving on one or more instances.

    Attributes:
        instances: GPUs (or tensor-parallel groups) behind one router.
        slots: requests an instance shows and holds; others wait outside, first come first.
        action: "pointer" (one edit of the running set at a time) or "scores" (a priority for each
            slot; the longest fitting prefix of the ranking runs).
        decision_iterations: iterations after which a policy is asked again while requests wait.
        ttls_s: seconds for which a finished turn's blocks may be pinned; empty: never.
        rebalance_s: seconds between the router's chances to migrate; 0: none.
        horizon_s: seconds after which an episode is truncated.
        max_steps: actions after which it is.
    """

    instances: int = 1
    slots: int = 256
    action: Literal["pointer", "scores"] = "pointer"
    decision_iterations: int = 64
    ttls_s: tuple[float, ...] = ()
    rebalance_s: float = 0.0
    horizon_s: float = 7_200.0
    max_steps: int = 40_000

    def check(self) -> None:
        """Raises ScenarioError where a field is out of range or two contradict each other."""
        for field in (
            "instances",
            "slots",
            "tp",
            "kv_blocks",
            "max_num_seqs",
            "token_budget",
            "group_blocks",
            "priority_levels",
            "requests",
            "clients",
            "decision_iterations",
            "max_steps",
        ):
            self._require(1 <= getattr(self, field) < 2**31, field, "at least 1, below 2**31")
        for field in (
            "stack_overhead",
            "swap_gb_s",
            "migration_gb_s",
            "ttft_slo_s",
            "tbt_slo_s",
            "arrival_scale",
            "horizon_s",
        ):
            self._require(0 < getattr(self, field) < 1e6, field, "above 0 and below 1e6")
        for field in (
            "cpu_blocks",
            "overlap_tax",
            "dispatch_us",
            "weight_late",
            "weight_goodput",
            "weight_fairness",
            "illegal_penalty",
            "client_skew",
            "sigma",
            "rebalance_s",
        ):
            self._require(0 <= getattr(self, field) < 1e6, field, "0 or more, below 1e6")
        self._check_together()

    def _check_together(self) -> None:
        self._require(
            self.max_num_seqs <= self.token_budget,
            "max_num_seqs",
            f"at most token_budget = {self.token_budget}",
        )
        self._require(
            0 <= self.priority_updates <= 1, "priority_updates", "from 0 to 1 an iteration"
        )
        self._require(
            len(self.priority_weights) in (0, self.priority_levels)
            and all(0 <= weight < 1e6 for weight in self.priority_weights),
            "priority_weights",
            f"empty, or {self.priority_levels} numbers from 0 (one a level)",
        )
        self._require(
            all(0 <= ttl < 1e6 for ttl in self.ttls_s)
            and len(set(self.ttls_s)) == len(self.ttls_s),
            "ttls_s",
            "different numbers of seconds, from 0",
        )
        self._require(
            self.action == "pointer" or (self.instances == 1 and not self.ttls_s),
            "action",
            "'pointer' where there are several instances or pins",
        )
        self._require(
            self.rebalance_s == 0 or self.instances > 1, "rebalance_s", "0 on one instance"
        )

    def weights(self) -> tuple[float, ...]:
        """Reward weight of each priority level."""
        return self.priority_weights or tuple(1.0 + i for i in range(self.priority_levels))
