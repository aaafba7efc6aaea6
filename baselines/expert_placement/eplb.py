"""EPLB under the field's own signature, so that a serving stack's planner can be swapped with it.

``rebalance_experts`` takes what https://github.com/deepseek-ai/EPLB takes, as NumPy arrays, and
returns what it returns: the hierarchical plan where the groups fit the nodes, else the global one.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fleetgym.envs.core.errors import PolicyError
from fleetgym.envs.expert_placement.eplb import eplb
from fleetgym.envs.expert_placement.layout import scratch

Int64 = NDArray[np.int64]


def rebalance_experts(
    weight: ArrayLike, num_replicas: int, num_groups: int, num_nodes: int, num_gpus: int
) -> tuple[Int64, Int64, Int64]:
    """Plans which expert each slot holds.

    Args:
        weight: ``(L, E)`` tokens of every expert, 0 or more.
        num_replicas: R, slots of a layer; a multiple of ``num_gpus``, at least E.
        num_groups: of experts; a divisor of E.
        num_nodes: a divisor of ``num_gpus``.
        num_gpus: G.

    Returns:
        phy2log: ``(L, R)`` expert of each slot.
        log2phy: ``(L, E, most)`` slots of each expert, then -1.
        logcnt: ``(L, E)`` replicas of each expert.

    Raises:
        PolicyError: a load is negative or not finite, or sizes do not fit each other.
    """
    load = np.ascontiguousarray(weight, np.float64)
    _check(load, num_replicas, num_groups, num_nodes, num_gpus)
    layers, experts = load.shape
    groups, nodes = (num_groups, num_nodes) if num_groups % num_nodes == 0 else (1, 1)
    plan = np.empty((layers, num_replicas), np.int32)
    rank = np.empty_like(plan)
    eplb(load, groups, nodes, plan, rank, scratch(1, experts, num_replicas, num_gpus, 1, groups))
    counts = np.zeros((layers, experts), np.int64)
    rows = np.arange(layers)[:, None]
    np.add.at(counts, (rows, plan), 1)
    slots = np.full((layers, experts, counts.max()), -1, np.int64)
    slots[rows, plan, rank] = np.arange(num_replicas)
    return plan.astype(np.int64), slots, counts


def _check(load: NDArray[np.float64], slots: int, groups: int, nodes: int, gpus: int) -> None:
    if load.ndim != 2 or 0 in load.shape:
        raise PolicyError(f"EPLB: weight has shape {load.shape}, not (layers, experts)")
    if not np.isfinite(load).all() or (load < 0).any():
        layer, expert = np.argwhere(~(np.isfinite(load) & (load >= 0)))[0]
        raise PolicyError(
            f"EPLB: weight[{layer}, {expert}] is {load[layer, expert]}: loads must be finite and "
            "0 or more"
        )
    experts = load.shape[1]
    for good, what in (
        (min(groups, nodes, gpus) >= 1, f"{groups} groups, {nodes} nodes, {gpus} GPUs: at least 1"),
        (slots >= experts, f"{slots} replicas are fewer than the {experts} experts"),
        (gpus > 0 and slots % gpus == 0, f"{slots} replicas do not divide by {gpus} GPUs"),
        (nodes > 0 and gpus % nodes == 0, f"{gpus} GPUs do not divide by {nodes} nodes"),
        (groups > 0 and experts % groups == 0, f"{experts} experts, {groups} groups: no divisor"),
    ):
        if not good:
            raise PolicyError(f"EPLB: {what}")
