"""The fields of an expert placement scenario, and what they mean in nanoseconds."""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

from fleetgym.envs.core.errors import ScenarioError
from fleetgym.envs.core.scenario import Scenario

MOST = 32_000  # experts, slots or layers: far beyond any model, and sizes stay small


@dataclass(frozen=True, kw_only=True)
class Model:
    """The model's experts, where they can be, and what serving and copying them takes.

    Defaults describe DeepSeek-V3 on 32 H100s of 4 nodes. A token is a pair of a token and an
    expert: 8 for each token of the batch. An expert's three matrices are 7168 x 2048: 88 MFLOP a
    token at 0.6 of 989 TFLOP/s, 44 MB in FP8. Dispatch sends 7,168 bytes a token (FP8) and
    combine 14,336 (BF16). A GPU reads its 9 experts from HBM in 0.12 ms, which is the floor.
    """

    layers: int = 58
    experts: int = 256
    slots: int = 288  # a layer, slots / gpus on each GPU
    gpus: int = 32
    nodes: int = 4
    groups: int = 8  # of consecutive experts; routing picks the experts of a token from few groups
    group_picks: float = 2.0  # experts a token picks from a group it is routed to
    tokens_per_iteration: int = 65_536  # 32 GPUs x 256 tokens x 8 experts
    iterations_per_window: int = 100
    ns_per_token: float = 148.0
    floor_us: float = 120.0  # of a layer in an iteration
    bytes_per_token: int = 21_504
    inter_gb_s: float = 50.0  # of a GPU's link to other nodes
    intra_gb_s: float = 450.0  # of a GPU's link inside its node
    expert_mb: float = 44.0
    copy_gb_s: float = 50.0  # into a GPU
    interference: float = 0.1  # by which copying slows serving down, where they overlap


@dataclass(frozen=True, kw_only=True)
class ExpertPlacementScenario(Scenario, Model):
    """Windows to plan one after the other. Fields of the model are described at `Model`.

    Attributes:
        windows: of an episode.
        history: windows a policy sees, all of them served before the first decision.
        skew: of a generated workload's loads, "flat", "olmoe" or "deepseek".
        drift: of a generated workload's loads, "none", "slow", "medium", "fast" or "abrupt".
        start: the first placement, "planned" (EPLB for the last window of the history) or
            "linear" (experts in order, over again).
        action: "edit" (slot by slot), "select" (a named planner) or "forecast" (predicted loads).
        edits_per_layer: most edits of a layer in a window.
        dispatch: how a load is split over replicas, "equal" or "lp" (least maximum over GPUs).
        migration: "synchronous" (serving waits) or "overlapped" (layer by layer, while serving).
        thinking: multiplies the planning times that ``planners.toml`` declares; 0 for none.
        illegal_penalty: subtracted for an action the mask forbids.
        regret: whether a reset packs every window to come, for ``regret_to_clairvoyant_s``: most of
            what a reset costs, so training may do without.
    """

    windows: int = 20
    history: int = 8
    skew: Literal["flat", "olmoe", "deepseek"] = "deepseek"
    drift: Literal["none", "slow", "medium", "fast", "abrupt"] = "medium"
    start: Literal["planned", "linear"] = "planned"
    action: Literal["edit", "select", "forecast"] = "edit"
    edits_per_layer: int = 288
    dispatch: Literal["equal", "lp"] = "equal"
    migration: Literal["synchronous", "overlapped"] = "synchronous"
    thinking: float = 1.0
    illegal_penalty: float = 0.01
    regret: bool = True

    def check(self) -> None:
        """Raises ScenarioError where a field is out of range or two contradict each other."""
        for field in ("layers", "experts", "slots", "gpus", "nodes", "groups", "windows"):
            self._require(1 <= getattr(self, field) <= MOST, field, f"from 1 to {MOST}")
        for field in ("history", "edits_per_layer", "iterations_per_window"):
            self._require(1 <= getattr(self, field) <= MOST, field, f"from 1 to {MOST}")
        self._require(
            1 <= self.tokens_per_iteration * self.iterations_per_window < 2**30,
            "tokens_per_iteration",
            "at least 1, and below 2**30 in a window",
        )
        self._require(self.experts >= 3, "experts", "at least 3")
        self._require(self.gpus >= 2, "gpus", "at least 2")
        self._require(
            self.slots >= self.experts, "slots", f"at least the {self.experts} experts of a layer"
        )
        for field, whole in (("gpus", "slots"), ("nodes", "gpus"), ("groups", "experts")):
            rule = f"a divisor of {whole} = {getattr(self, whole)}"
            self._require(getattr(self, whole) % getattr(self, field) == 0, field, rule)
        for field in ("inter_gb_s", "intra_gb_s", "copy_gb_s"):
            self._require(0 < getattr(self, field) < 1e9, field, "above 0 and below 1e9")
        # What is at once the least traffic and the least time bounds every placement.
        self._require(
            self.inter_gb_s <= self.intra_gb_s,
            "inter_gb_s",
            f"at most intra_gb_s = {self.intra_gb_s}",
        )
        self._require(1 <= self.group_picks < 1e3, "group_picks", "from 1 to 1000")
        for field in ("ns_per_token", "floor_us", "expert_mb", "thinking", "illegal_penalty"):
            self._require(0 <= getattr(self, field) < 1e9, field, "0 or more, and below 1e9")
        self._require(0 <= self.bytes_per_token < 2**30, "bytes_per_token", "from 0 to 2**30")
        self._require(0 <= self.interference < 1e3, "interference", "0 or more, and below 1000")
        self._require(
            self.ns_per_token + self.floor_us > 0, "ns_per_token", "above 0 if floor_us is not"
        )
        self._require(
            self.control == "central" or self.action == "edit",
            "action",
            "'edit' where control is 'distributed'",
        )

    @property
    def slots_per_gpu(self) -> int:
        """Of a layer."""
        return self.slots // self.gpus

    @property
    def copy_ns(self) -> int:
        """Of copying one expert to a GPU."""
        return round(self.expert_mb * 1e6 / self.copy_gb_s)


@cache
def _declared() -> dict[str, float]:
    text = (files("fleetgym.envs.expert_placement") / "planners.toml").read_text(encoding="utf-8")
    return {name: float(value) for name, value in tomllib.loads(text)["us_per_slot"].items()}


def declared_ns(scenario: ExpertPlacementScenario, planner: str) -> int:
    """What planning a window takes by the one table that charges everybody, ns.

    Args:
        scenario: whose slots are planned.
        planner: a name of ``planners.toml``; "edit" is charged for each edit.

    Raises:
        ScenarioError: the table has no such planner.
    """
    table = _declared()
    if planner not in table:
        raise ScenarioError(f"planners.toml declares no time for {planner!r}: {', '.join(table)}")
    slots = 1 if planner == "edit" else scenario.layers * scenario.slots
    return round(table[planner] * 1e3 * slots * scenario.thinking)
