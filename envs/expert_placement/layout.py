"""Allocating the arrays of B worlds, and loading a workload into one."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleetgym.envs.core.errors import WorkloadError
from fleetgym.envs.core.simulator import read_only
from fleetgym.envs.expert_placement import kernels
from fleetgym.envs.expert_placement.eplb import eplb
from fleetgym.envs.expert_placement.planners import SELECTABLE
from fleetgym.envs.expert_placement.scenario import ExpertPlacementScenario, declared_ns
from fleetgym.envs.expert_placement.types import (
    CLOCK,
    EDITS_LEFT,
    EXPERT_FEATURES,
    FIGURES,
    GPU_FEATURES,
    LAYER,
    LAYER_FEATURES,
    PASSED,
    PROGRESS,
    SLOT,
    SUMS,
    TERMS,
    WINDOW,
    Int32,
    Rules,
    Scratch,
    State,
    World,
)
from fleetgym.envs.expert_placement.workloads import ExpertWorkload


def mask_size(scenario: ExpertPlacementScenario) -> int:
    """N: entries of an agent's mask."""
    if scenario.action == "select":
        return len(SELECTABLE)
    if scenario.action == "forecast":
        return 1
    targets = scenario.experts + scenario.slots
    return targets if scenario.control == "distributed" else max(scenario.layers + 1, targets)


def allocate(scenario: ExpertPlacementScenario, b: int) -> World:
    """Arrays of B worlds that have not begun."""
    layers, experts, slots = scenario.layers, scenario.experts, scenario.slots
    agents = layers if scenario.control == "distributed" else 1
    i8, i32, i64, f32, f64 = np.int8, np.int32, np.int64, np.float32, np.float64
    world = World(
        plan=np.zeros((b, layers, slots), i32),
        begun=np.zeros((b, layers, slots), i32),
        replicas=np.ones((b, layers, experts), i32),
        history=np.ones((b, scenario.history, layers, experts), i32),
        future=np.ones((b, scenario.windows, layers, experts), i32),
        references=np.ones((b, 3, scenario.windows), i64),
        gpu_tokens=np.zeros((b, layers, scenario.gpus), f64),
        layers=np.zeros((b, layers, 5), i32),
        scalars=np.zeros((b, 6), i64),
        sums=np.zeros((b, len(SUMS)), i64),
        figures=np.zeros((b, len(FIGURES)), f64),
        obs_experts=np.zeros((b, layers, experts, len(EXPERT_FEATURES)), f32),
        obs_gpus=np.zeros((b, layers, scenario.gpus, len(GPU_FEATURES)), f32),
        obs_layers=np.zeros((b, layers, len(LAYER_FEATURES)), f32),
        progress=np.zeros((b, len(PROGRESS)), f32),
        chosen=np.full((b, 2), -1, i32),
        mask=np.zeros((b, agents, mask_size(scenario)), i8),
        reward=np.zeros((b, agents, len(TERMS) + 1), f64),
        flags=np.zeros((b, 2), i8),
        status=np.zeros((b, agents), i8),
    )
    world.scalars[:, LAYER] = -1
    world.layers[:, :, SLOT] = -1
    return world


def scratch(layers: int, experts: int, slots: int, gpus: int, nodes: int, groups: int) -> Scratch:
    """Room for the kernels to work in."""
    i32, i64 = np.int32, np.int64
    return Scratch(
        inverse=1.0 / np.maximum(1, np.arange(slots + 1)),
        group=np.arange(experts, dtype=i64) // (experts // groups),
        flow=np.zeros(slots),
        gpu=np.zeros(gpus),
        node_group=np.zeros((4, nodes, groups)),
        counts=np.zeros(experts, i32),
        spare=np.zeros(slots, i32),
        rank=np.zeros(slots, i32),
        forecast=np.zeros(experts),
        load=np.zeros(experts),
        weight=np.zeros(slots),
        key=np.zeros(slots),
        order=np.zeros((2, slots), i64),
        items=np.zeros((7, slots), i64),
        overlap=np.zeros((gpus + 1, gpus + 1), i64),
        assign=np.zeros((6, gpus + 1), i64),
        old_ns=np.zeros(layers, i64),
        new_ns=np.zeros(layers, i64),
        incoming=np.zeros((layers, gpus), i64),
    )


def scratch_of(scenario: ExpertPlacementScenario) -> Scratch:
    """Room for the kernels to work in, of the scenario's sizes."""
    return scratch(
        scenario.layers,
        scenario.experts,
        scenario.slots,
        scenario.gpus,
        scenario.nodes,
        scenario.groups,
    )


def rules_of(scenario: ExpertPlacementScenario) -> Rules:
    """The scalars of a scenario, as the kernels take them."""
    edits = 3 * scenario.layers * scenario.edits_per_layer
    return Rules(
        gpus=scenario.gpus,
        nodes=scenario.nodes,
        groups=scenario.groups,
        lp_dispatch=scenario.dispatch == "lp",
        overlapped=scenario.migration == "overlapped",
        distributed=scenario.control == "distributed",
        edit=scenario.action == "edit",
        floor=round(scenario.floor_us * 1e3) * scenario.iterations_per_window,
        token_ns=scenario.ns_per_token,
        inter_ns=scenario.bytes_per_token / scenario.inter_gb_s,
        intra_ns=scenario.bytes_per_token / scenario.intra_gb_s,
        away=(scenario.gpus - 1) / scenario.gpus,
        far=(scenario.nodes - 1) / scenario.nodes,
        dedup=1.0 - 1.0 / scenario.group_picks,
        copy_ns=scenario.copy_ns,
        interference=scenario.interference,
        edits=scenario.edits_per_layer,
        edit_ns=declared_ns(scenario, "edit"),
        plan_ns=declared_ns(scenario, "forecast"),
        planner_ns=np.array([declared_ns(scenario, name) for name in SELECTABLE]),
        max_steps=scenario.windows * (2 * edits + 16) + 1_000,
        illegal_penalty=scenario.illegal_penalty,
    )


def view(world: World) -> State:
    """What a policy may see: read-only views of the rows, by name."""
    named: dict[str, NDArray[Any]] = {
        name: getattr(world, name)
        for name in ("plan", "begun", "replicas", "history", "gpu_tokens")
    }
    rows = {"edits_left": EDITS_LEFT, "slot": SLOT, "passed": PASSED}
    named |= {name: world.layers[:, :, row] for name, row in rows.items()}
    rows = {"layer": LAYER, "window": WINDOW, "clock": CLOCK}
    named |= {name: world.scalars[:, row] for name, row in rows.items()}
    return State(**{name: read_only(array) for name, array in named.items()})


def check_capacity(scenario: ExpertPlacementScenario, capacity: Mapping[str, int]) -> None:
    """Raises WorkloadError where a source's workloads are not of the scenario's size."""
    for name in ("layers", "experts"):
        if name not in capacity:
            raise WorkloadError(
                f"the workload source's capacity lacks {name!r}; it needs layers, experts"
            )
        if capacity[name] != getattr(scenario, name):
            raise WorkloadError(
                f"the workload has {capacity[name]} {name}, scenario {scenario.name!r} "
                f"{getattr(scenario, name)}: set {name}={capacity[name]}"
            )


def load(
    world: World, workload: ExpertWorkload, scenario: ExpertPlacementScenario, rules: Rules
) -> None:
    """Loads a workload into the one world of freshly allocated arrays.

    Raises:
        WorkloadError: its loads have another shape, are negative, or 0 for a whole layer.
    """
    loads = _checked(workload, scenario)
    room = scratch_of(scenario)
    world.history[0] = loads[: scenario.history][::-1]
    world.future[0] = loads[scenario.history :]
    world.plan[0] = first_plan(scenario, world.history[0, 0])
    kernels.prepare(world, 0, rules, room)
    for window in range(scenario.windows if scenario.regret else 0):
        kernels.refer_clairvoyant(world, 0, window, rules, room)


def _checked(workload: ExpertWorkload, scenario: ExpertPlacementScenario) -> Int32:
    loads = workload.loads
    where = f"workload {workload.name!r} (seed {workload.seed})"
    shape = (scenario.history + scenario.windows, scenario.layers, scenario.experts)
    if loads.shape != shape or loads.dtype.kind not in "iu":
        raise WorkloadError(
            f"{where} has {loads.dtype} loads of shape {loads.shape}, the scenario asks for whole "
            f"numbers of shape {shape} (history + windows, layers, experts)"
        )
    totals = loads.sum(axis=2, dtype=np.int64)
    if (loads < 0).any() or (totals < 1).any() or (totals >= 2**30).any():
        window, layer = np.argwhere((loads < 0).any(axis=2) | (totals < 1) | (totals >= 2**30))[0]
        raise WorkloadError(
            f"{where}: window {window}, layer {layer} has loads from {loads[window, layer].min()} "
            f"that add up to {totals[window, layer]}: they must be 0 or more, and add up to 1 at "
            "least and less than 2**30"
        )
    return loads.astype(np.int32)


def first_plan(scenario: ExpertPlacementScenario, loads: Int32) -> Int32:
    """The placement an episode begins with, ``(L, R)``.

    Args:
        scenario: whose ``start`` is followed.
        loads: ``(L, E)`` of the last window of the history.
    """
    plan = np.empty((scenario.layers, scenario.slots), np.int32)
    if scenario.start == "linear":
        plan[:] = np.arange(scenario.slots) % scenario.experts
        return plan
    whole = scenario.groups % scenario.nodes == 0
    groups, nodes = (scenario.groups, scenario.nodes) if whole else (1, 1)
    room = scratch_of(scenario)
    eplb(loads.astype(np.float64), groups, nodes, plan, np.empty_like(plan), room)
    return plan
