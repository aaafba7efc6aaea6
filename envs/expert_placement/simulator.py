"""The expert placement machine behind the simulator protocol: spaces, resets, metrics."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from fleetgym.envs.core.errors import WorkloadError
from fleetgym.envs.core.simulator import (
    Actions,
    Observations,
    Role,
    Simulator,
    StepResult,
    read_only,
)
from fleetgym.envs.core.workload import Workload
from fleetgym.envs.expert_placement import kernels
from fleetgym.envs.expert_placement.layout import (
    allocate,
    check_capacity,
    load,
    mask_size,
    rules_of,
    scratch_of,
    view,
)
from fleetgym.envs.expert_placement.planners import SELECTABLE
from fleetgym.envs.expert_placement.scenario import ExpertPlacementScenario
from fleetgym.envs.expert_placement.types import (
    EXPERT_FEATURES,
    FIGURES,
    FRESH,
    GPU_FEATURES,
    LAYER_FEATURES,
    PROGRESS,
    SUMS,
    TERMINATED,
    TERMS,
    TRUNCATED,
    WINDOW,
    State,
    World,
)
from fleetgym.envs.expert_placement.workloads import ExpertWorkload

PLANNER, LAYER_AGENT = "planner", "layer"
TEMPLATES, TEMPLATE_BYTES = 512, 1 << 28  # of prepared workloads kept for cheap resets
MOST_TOKENS = 2**30  # of an expert in a forecast


class ExpertPlacementSimulator(Simulator):
    """B servers of one mixture-of-experts model, planned window by window.

    Under distributed control every layer is an agent that edits its own layer; they act at once,
    and the window is served when all have passed. The reward is the team's, less an agent's own
    penalties. A decision is the plan of a window: ``decision_starts`` where nothing legal has been
    done for it yet.
    """

    scenario: ExpertPlacementScenario

    def __init__(
        self, scenario: ExpertPlacementScenario, capacity: Mapping[str, int], num_worlds: int
    ) -> None:
        check_capacity(scenario, capacity)
        self.scenario = scenario
        self.capacity = dict(capacity)
        self.num_worlds = num_worlds
        self.workloads: list[Workload | None] = [None] * num_worlds
        self.term_names = TERMS
        self.rules = rules_of(scenario)
        self.scratch = scratch_of(scenario)
        self.world = allocate(scenario, num_worlds)
        self._fields = self.world._asdict()
        self._templates: OrderedDict[str, World] = OrderedDict()
        self._all = np.ones(num_worlds, np.bool_)
        flags = self.world.flags.view(np.bool_)
        self._result = StepResult(
            read_only(self.world.reward[:, :, len(TERMS)]),
            read_only(flags[:, TERMINATED]),
            read_only(flags[:, TRUNCATED]),
            read_only(self.world.status),
        )
        self._state = view(self.world)
        distributed = scenario.control == "distributed"
        self._role = LAYER_AGENT if distributed else PLANNER
        self._observation = self._layer_views() if distributed else self._planner_views()
        agents = (
            tuple(f"{LAYER_AGENT}_{i}" for i in range(scenario.layers)) if distributed else None
        )
        self.roles = {self._role: Role(agents or (PLANNER,), *_spaces(scenario))}

    def _planner_views(self) -> dict[str, NDArray[Any]]:
        w = self.world
        named = {
            "experts": w.obs_experts,
            "gpus": w.obs_gpus,
            "layers": w.obs_layers,
            "slot_expert": w.plan,
            "slot_begun": w.begun,
            "progress": w.progress,
            "chosen": w.chosen,
        }
        views = {name: read_only(array[:, None]) for name, array in named.items()}
        return views | {"action_mask": read_only(w.mask)}

    def _layer_views(self) -> dict[str, NDArray[Any]]:
        w, layers = self.world, self.scenario.layers
        progress = np.broadcast_to(
            w.progress[:, None], (self.num_worlds, layers, w.progress.shape[1])
        )
        named: dict[str, NDArray[Any]] = {
            "experts": w.obs_experts,
            "gpus": w.obs_gpus,
            "layers": w.obs_layers,
            "slot_expert": w.plan,
            "slot_begun": w.begun,
            "progress": progress,
            "chosen": self._state.slot[:, :, None],
            "action_mask": w.mask,
        }
        return {name: read_only(array) for name, array in named.items()}

    def reset(self, workloads: Sequence[Workload], worlds: Sequence[int] | None = None) -> None:
        """Starts the named worlds on their workloads; a workload met before costs a copy."""
        chosen = range(self.num_worlds) if worlds is None else worlds
        for world, workload in zip(chosen, workloads, strict=True):
            template = self._template(workload)._asdict()
            for name, array in self._fields.items():
                array[world] = template[name][0]
            self.workloads[world] = workload

    def _template(self, workload: Workload) -> World:
        if not isinstance(workload, ExpertWorkload):
            raise WorkloadError(f"{workload.name!r} is no workload for expert placement")
        key = workload.digest
        template = self._templates.get(key)
        if template is None:
            template = allocate(self.scenario, 1)
            load(template, workload, self.scenario, self.rules)
            self._templates[key] = template
            size = sum(array.nbytes for array in template)
            if len(self._templates) > min(TEMPLATES, TEMPLATE_BYTES // size):
                self._templates.popitem(last=False)
        else:
            self._templates.move_to_end(key)
        return template

    def elapse(self, duration: NDArray[np.int64]) -> None:
        """Lets ``duration`` (B,) ns pass, in which nothing is served: the next window pays."""
        kernels.elapse(self.world, np.asarray(duration, np.int64))

    def step(self, actions: Actions, active: NDArray[np.bool_] | None = None) -> StepResult:
        """One stage of an edit, or a window planned at once, of each active world."""
        given = np.asarray(actions[self._role], np.int64)
        active = self._all if active is None else active
        rest = (active, self.rules, self.scratch)
        if self.scenario.action == "forecast":
            kernels.step_forecast(self.world, given[:, 0], *rest)
        elif self.scenario.action == "select":
            kernels.step_select(self.world, given, *rest)
        else:
            kernels.step_edit(self.world, given, *rest)
        return self._result

    def observation(self) -> Observations:
        """Tables of experts, GPUs and layers, the placement, progress, and the mask."""
        return {self._role: self._observation}

    def action_mask(self) -> Mapping[str, NDArray[np.int8]]:
        """``(B, A, N)``."""
        return {self._role: self._observation["action_mask"]}

    def state(self) -> State:
        """The machine as it stands, as named read-only arrays."""
        return self._state

    def reward_terms(self) -> NDArray[np.float64]:
        """The last reward by terms, ``(B, A, terms)``."""
        return self.world.reward[:, :, : len(TERMS)]

    def metrics(self) -> Mapping[str, NDArray[np.float64]]:
        """Metrics of the windows served so far in each world, ``(B,)``."""
        sums = dict(zip(SUMS, self.world.sums.T.astype(np.float64), strict=True))
        figures = dict(zip(FIGURES, self.world.figures.T, strict=True))
        time = sums["serving"] + sums["stall"] + sums["thinking"]
        regret = {"regret_to_hold_s": (time - sums["held"]) / 1e9}
        if self.scenario.regret:
            regret["regret_to_clairvoyant_s"] = (time - sums["clairvoyant"]) / 1e9
        return {
            "time_s": time / 1e9,
            "relative_time": _ratio(time, sums["balanced"]),
            "serving_s": sums["serving"] / 1e9,
            "stall_s": sums["stall"] / 1e9,
            "thinking_s": sums["thinking"] / 1e9,
            "balancedness": _ratio(figures["mean"], figures["max"]),
            "layer_balancedness": _ratio(figures["balancedness"], figures["served"]),
            "inter_node_share": _ratio(figures["inter"], figures["tokens"], empty=0.0),
            "moved_gb": sums["copies"] * self.scenario.expert_mb / 1e3,
            **regret,
            "dropped_tokens": self._dropped(),
            "edits": sums["edits"],
            "illegal_actions": sums["illegal"],
            "windows": self._state.window.astype(np.float64),
        }

    def _dropped(self) -> NDArray[np.float64]:
        """Tokens of the last window whose expert is nowhere: 0, whatever a policy does."""
        lost = np.where(self.world.replicas > 0, 0, self.world.history[:, 0])
        total: NDArray[np.float64] = lost.sum(axis=(1, 2)).astype(np.float64)
        return total

    def now(self) -> NDArray[np.int64]:
        """The clock of each world, ``(B,)`` ns."""
        return self._state.clock

    def over(self) -> NDArray[np.bool_]:
        """True once the last window is served."""
        return self._result.terminated | self._result.truncated

    def decision_starts(self) -> NDArray[np.bool_]:
        """True where nothing legal has been done for the window yet."""
        starts: NDArray[np.bool_] = self.world.scalars[:, FRESH] == 1
        return starts

    def forget_future(self) -> None:
        """Every window to come is like the last one."""
        for world in range(self.num_worlds):
            served = int(self.world.scalars[world, WINDOW])
            self.world.future[world, served:] = self.world.history[world, 0]
            kernels.refer_again(self.world, world, self.rules, self.scratch)
        kernels.write_masks(self.world, self.rules)

    def _arrays(self) -> Mapping[str, NDArray[Any]]:
        return self._fields

    def _moving(self) -> tuple[str, ...]:
        return ("plan", "begun", "gpu_tokens", "layers", "scalars", "sums", "figures")


def _spaces(scenario: ExpertPlacementScenario) -> tuple[spaces.Dict, spaces.Space[Any]]:
    layers, experts, slots = scenario.layers, scenario.experts, scenario.slots
    distributed = scenario.control == "distributed"
    lead = () if distributed else (layers,)
    size = mask_size(scenario)
    chosen = ((1,), slots - 1) if distributed else ((2,), max(layers, slots) - 1)
    observation = spaces.Dict(
        {
            "experts": spaces.Box(0.0, 1.0, (*lead, experts, len(EXPERT_FEATURES)), np.float32),
            "gpus": spaces.Box(0.0, 1.0, (*lead, scenario.gpus, len(GPU_FEATURES)), np.float32),
            "layers": spaces.Box(0.0, 1.0, (*lead, len(LAYER_FEATURES)), np.float32),
            "slot_expert": spaces.Box(0, experts - 1, (*lead, slots), np.int32),
            "slot_begun": spaces.Box(0, experts - 1, (*lead, slots), np.int32),
            "progress": spaces.Box(0.0, 1.0, (len(PROGRESS),), np.float32),
            "chosen": spaces.Box(-1, chosen[1], chosen[0], np.int32),
            "action_mask": spaces.MultiBinary(size),
        }
    )
    if scenario.action == "select":
        return observation, spaces.Discrete(len(SELECTABLE))
    if scenario.action == "forecast":
        return observation, spaces.Box(0, MOST_TOKENS, (layers, experts), np.int64)
    return observation, spaces.Discrete(size)


def _ratio(
    part: NDArray[np.float64], whole: NDArray[np.float64], empty: float = 1.0
) -> NDArray[np.float64]:
    """Part over whole; ``empty`` where nothing was served yet."""
    return np.divide(part, whole, out=np.full_like(part, empty), where=whole > 0)
