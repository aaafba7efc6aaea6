"""Allocating the arrays of B worlds, and loading a workload into one."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fleetgym.envs.core.errors import WorkloadError
from fleetgym.envs.core.simulator import read_only
from fleetgym.envs.expert_cache import clairvoyant, kernels
from fleetgym.envs.expert_cache.scenario import ExpertCacheScenario
from fleetgym.envs.expert_cache.types import (
    BATCH,
    CHOSEN,
    EXPERT,
    FEATURES,
    FIRST,
    LAST,
    LAST_EVENT,
    LOG_RANGE,
    PLACE,
    PROGRESS,
    ROWS,
    SCALARS,
    TERMS,
    TRAIL,
    UNIT,
    WRITTEN,
    Int16,
    Int64,
    Rules,
    State,
    World,
)
from fleetgym.envs.expert_cache.workloads import RoutingWorkload
from fleetgym.traces.schema_routing import FULL, Routing


@dataclass(frozen=True)
class Sizes:
    """Upper sizes of the workloads: steps with the warm-up, L, E exactly, K, and P."""

    steps: int
    layers: int
    experts: int
    active: int
    top: int

    @classmethod
    def of(cls, capacity: Mapping[str, int]) -> "Sizes":
        """From a workload source's ``capacity``."""
        try:
            return cls(**{field: int(capacity[field]) for field in cls.__dataclass_fields__})
        except KeyError as error:
            raise WorkloadError(
                f"the workload source's capacity lacks {error}; it needs "
                f"{', '.join(cls.__dataclass_fields__)}"
            ) from error


def allocate(sizes: Sizes, slots: int, prefetch: bool, b: int) -> World:
    """Arrays of B empty worlds of C slots a layer."""
    n, layers, e, k = sizes.steps * sizes.layers, sizes.layers, sizes.experts, sizes.active
    ahead = e if prefetch else 0
    i8, i16, i64, f32 = np.int8, np.int16, np.int64, np.float32
    world = World(
        routes=np.zeros((b, n, 2 * k + 2 * sizes.top + e), i16),
        references=np.zeros((b, 2), i64),
        table=np.zeros((b, layers, ROWS, e), i16),
        tenants=np.zeros((b, layers, 2, slots), i16),
        copies=np.zeros((b, layers, 2, slots), i64),
        request=np.zeros((b, 5, k), i64),
        scalars=np.zeros((b, SCALARS), i64),
        history=np.zeros((b, n, e), i16),
        trail=np.zeros((b, TRAIL, 4), i64),
        features=np.zeros((b, slots + 1 + ahead, len(FEATURES)), f32),
        progress=np.zeros((b, len(PROGRESS)), f32),
        mask=np.zeros((b, 1 + slots + ahead), i8),
        reward=np.zeros((b, len(TERMS) + 1), np.float64),
        flags=np.zeros((b, 3), i8),
    )
    world.table[:, :, [PLACE, LAST]] = -1
    world.copies[:, :, WRITTEN] = -1
    world.scalars[:, CHOSEN] = -1
    return world


def view(world: World) -> State:
    """What a policy may see: read-only views."""
    return State(**{name: read_only(getattr(world, name)) for name in State._fields})


def load(
    world: World, workload: RoutingWorkload, scenario: ExpertCacheScenario, rules: Rules
) -> None:
    """Loads a workload into the one world of freshly allocated arrays.

    Raises:
        WorkloadError: the workload does not fit the arrays.
    """
    routing, warmup = workload.routing, workload.warmup
    steps, layers, _ = routing.experts.shape
    _check_fits(world, workload)
    n, slots, width = steps * layers, world.tenants.shape[3], world.request.shape[2]
    top = (world.routes.shape[2] - routing.num_experts) // 2 - width
    world.routes[0, :n] = routes_of(routing, width, top)
    scalars, table = world.scalars[0], world.table[0]
    scalars[FIRST], scalars[LAST_EVENT], scalars[BATCH] = warmup * layers, n, workload.batch
    kernels.warm_up(world, 0)
    last = table[:, LAST].copy()
    recent = np.argsort(-last, axis=1, kind="stable")[:, :slots].astype(np.int16)
    world.tenants[0, :, EXPERT] = recent
    np.put_along_axis(
        table[:, PLACE], recent.astype(np.int64), np.arange(slots, dtype=np.int16)[None], 1
    )
    experts, span = (
        np.ascontiguousarray(world.routes[0, :, :width]),
        (layers, int(scalars[FIRST]), n),
    )
    world.references[0, 0] = clairvoyant.lru_hits(experts, *span, recent.copy(), last)
    world.references[0, 1] = clairvoyant.min_hits(experts, *span, recent.copy())
    kernels.start(world, 0, rules)


def routes_of(routing: Routing, width: int, top: int) -> Int16:
    """``(T * L, 2 width + 2 top + E)`` the events of a routing, as `World.routes` has them."""
    n, k = routing.experts.shape[0] * routing.experts.shape[1], routing.experts.shape[2]
    routes = np.zeros((n, 2 * width + 2 * top + routing.num_experts), np.int16)
    routes[:, :width] = -1
    routes[:, :k] = routing.experts.reshape(n, k)
    routes[:, width : width + k] = routing.counts.reshape(n, k)
    scores = scores_of(routing).reshape(n, -1)
    tops = np.argsort(-scores, axis=1, kind="stable")[:, :top]
    routes[:, 2 * width : 2 * width + top] = tops
    routes[:, 2 * width + top : 2 * width + 2 * top] = np.take_along_axis(scores, tops, 1) // 2
    routes[:, 2 * width + 2 * top :] = log_scores(scores)
    return routes


def scores_of(routing: Routing) -> Int64:
    """``(T, L, E)`` router scores in units of 1 / FULL.

    Where they were not captured the activated experts share alike, by tokens.
    """
    if routing.scores.size:
        return routing.scores.astype(np.int64)
    scores = np.zeros((*routing.experts.shape[:2], routing.num_experts + 1), np.int64)
    counts = routing.counts.astype(np.int64)
    shares = counts * FULL // counts.sum(axis=2, keepdims=True)
    np.put_along_axis(scores, routing.experts.astype(np.int64), shares, axis=2)
    return scores[:, :, :-1]  # the last one took the padding


def log_scores(scores: Int64) -> Int16:
    """(LOG_RANGE + ln p) / LOG_RANGE of scores, in UNITs; half a unit of scores stands for 0."""
    table = np.log(np.maximum(np.arange(FULL + 1), 0.5) / FULL)
    return np.rint((LOG_RANGE + table) / LOG_RANGE * UNIT).astype(np.int16)[scores]


def _check_fits(world: World, workload: RoutingWorkload) -> None:
    routing = workload.routing
    steps, layers, k = routing.experts.shape
    where = f"workload {workload.name!r} (seed {workload.seed})"
    for what, size, due in (
        ("layers", layers, world.table.shape[1]),
        ("experts a layer", routing.num_experts, world.table.shape[3]),
    ):
        if size != due:
            raise WorkloadError(f"{where} has {size} {what}, its source's capacity says {due}")
    room = world.routes.shape[1] // layers
    for what, size, most in (
        ("steps", steps, room),
        ("activated experts", k, world.request.shape[2]),
    ):
        if size > most:
            raise WorkloadError(
                f"{where} has {size} {what}, its source's capacity allows {most}: raise it"
            )
    if not 1 <= workload.warmup < steps:
        raise WorkloadError(
            f"{where} has a warm-up of {workload.warmup} of {steps} steps: it takes at least one, "
            "and one to play"
        )
