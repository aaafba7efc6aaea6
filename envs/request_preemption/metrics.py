"""Metrics of a world from its sums and histograms, in the units their names say."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fleetgym.envs.hardware import models
from fleetgym.envs.request_preemption.lateness import histogram_edges
from fleetgym.envs.request_preemption.scenario import RequestPreemptionScenario
from fleetgym.envs.request_preemption.types import (
    BLOCK,
    CLOCK,
    LATE_TBT,
    LATE_TTFT,
    PS,
    SERVICE,
    SUMS,
    TBT,
    TTFT,
    WORLD_FIELDS,
    Float64,
    World,
)

EDGES = histogram_edges()
MIDDLE = (EDGES[:-1] + np.minimum(EDGES[1:], EDGES[-2])) / 2 / PS  # of each bin, seconds
QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "p999": 0.999}


def metrics_of(
    world: World, weights: Float64, scenario: RequestPreemptionScenario
) -> Mapping[str, Float64]:
    """Every metric, ``(B,)``. Quantiles are by nearest rank, exact to 0.1%; 0 where nothing is."""
    counted = world.scalars[:, len(WORLD_FIELDS) :].T.astype(np.float64)
    sums = dict(zip(SUMS, counted, strict=True))
    seconds = world.scalars[:, CLOCK] / PS
    kv_bytes = models.model(scenario.model).kv_bytes_per_token(scenario.tp) * scenario.tp
    block_mib = BLOCK * kv_bytes / 2**20
    late = world.levels[:, LATE_TTFT : LATE_TBT + 1] @ weights / PS
    return {
        "slo_attainment": _share(sums["met"], sums["accepted"]),
        "goodput_rps": _share(sums["met"], seconds),
        **_quantiles("ttft", world.histograms[:, TTFT]),
        **_quantiles("tbt", world.histograms[:, TBT]),
        "e2e_mean_s": _share(sums["e2e"], sums["finished"]) / PS,
        "tpot_mean_s": _share(sums["tpot"], sums["tpot_n"]) / PS,
        "program_mean_s": _share(sums["program_time"], sums["programs"]) / PS,
        "throughput_tps": _share(sums["emitted"], seconds),
        "duration_s": seconds,
        "accepted": sums["accepted"],
        "finished": sums["finished"],
        "unfinished": sums["unfinished"],
        "rejected": sums["rejected"],
        "preemptions": sums["preemptions"],
        "recomputed_tokens": sums["recomputed"],
        "swapped_mib": sums["swapped"] * block_mib,
        "stall_share": _share(sums["stalled"], seconds * PS),
        "busy_share": _share(sums["busy"], seconds * PS * scenario.instances),
        "batch_mean": _share(sums["request_steps"], sums["iterations"]),
        "hit_tokens": sums["hit"],
        "jain_index": _jain(world.clients[:, SERVICE].astype(np.float64)),
        "service_gap_tokens": sums["max_gap"],
        "late_ttft_s": late[:, 0],
        "late_tbt_s": late[:, 1],
        "migrations": sums["migrations"],
        "migration_downtime_s": sums["downtime"] / PS,
        "iterations": sums["iterations"],
        "decisions": sums["decisions"],
        "dropped_actions": sums["dropped"],
        "illegal_actions": sums["illegal"],
    }


def _share(part: Float64, whole: Float64) -> Float64:
    share: Float64 = np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
    return share


def _quantiles(name: str, histogram: NDArray[np.int64]) -> dict[str, Float64]:
    """Quantiles by nearest rank: the middle of the bin that holds the value of that rank."""
    below = np.cumsum(histogram, axis=1, dtype=np.int64)
    found = {}
    for label, q in QUANTILES.items():
        rank = np.maximum(1, np.ceil(q * below[:, -1])).astype(np.int64)
        bins = np.array([np.searchsorted(row, n) for row, n in zip(below, rank, strict=True)])
        held = below[:, -1] > 0
        found[f"{name}_{label}_s"] = np.where(held, MIDDLE[np.where(held, bins, 0)], 0.0)
    return found


def _jain(service: Float64) -> Float64:
    """Jain's index of what clients were served: 1 is equal, 1 / clients is all to one."""
    square = service.shape[1] * (service**2).sum(axis=1)
    ones = np.ones(len(service))
    index: Float64 = np.divide(service.sum(axis=1) ** 2, square, out=ones, where=square > 0)
    return index
