"""LPT and swaps that keep the groups of experts on one node, as hierarchical EPLB does.

Groups go onto nodes by their tokens, and swaps of two groups even the nodes out; on each node LPT
and swaps place its experts and their replicas. One group and one node: `pack` of the machine.
"""

import numpy as np

from fleetgym.baselines.expert_placement.situation import Float64, Int32, Situation
from fleetgym.envs.core.jit import inner, kernel
from fleetgym.envs.expert_placement.packing import (
    SWAPS,
    improve,
    pack_sorted,
    sort_descending,
    sort_items,
)
from fleetgym.envs.expert_placement.relabel import relabel
from fleetgym.envs.expert_placement.types import Scratch


@inner
def assign_groups(load: Float64, groups: int, nodes: int, own: Int32, s: Scratch) -> None:
    """Writes into ``own`` (groups,) the groups in the order of the nodes they are packed onto."""
    size, room = load.shape[0] // groups, groups // nodes
    for u in range(groups):
        tokens = 0.0
        for expert in range(u * size, (u + 1) * size):
            tokens += load[expert]
        s.key[u] = tokens
    sort_descending(s.key, s.order[0], s.order[1], groups)
    pack_sorted(s.key, s.order[0][:groups], room, s.gpu[:nodes], s)
    for u in range(groups):
        own[s.items[2, u]] = u
        s.flow[s.items[2, u]] = s.key[u]
    improve(own, s.flow[:groups], s.gpu[:nodes], SWAPS)


@inner
def pack_node(load: Float64, plan: Int32, gpus: int, s: Scratch) -> None:
    """LPT and swaps of one node: ``load`` of its experts, ``plan`` of its slots, as they number."""
    slots = plan.shape[0]
    sort_items(load, slots, s)
    pack_sorted(s.weight, s.order[1][:slots], slots // gpus, s.gpu[:gpus], s)
    for item in range(slots):
        plan[s.items[2, item]] = s.items[0, item]
        s.flow[s.items[2, item]] = s.weight[item]
    improve(plan, s.flow[:slots], s.gpu[:gpus], SWAPS)


@kernel
def pack_nodes(load: Float64, groups: int, nodes: int, own: Int32, plan: Int32, s: Scratch) -> None:
    """Every layer.

    Args:
        load: (L, E) tokens.
        groups: a multiple of ``nodes``.
        nodes: a divisor of the GPUs.
        own: (groups,) room.
        plan: (L, R), written.
        s: room to work in.
    """
    experts, slots = load.shape[1] // nodes, plan.shape[1] // nodes
    size, room = load.shape[1] // groups, groups // nodes
    for layer in range(plan.shape[0]):
        assign_groups(load[layer], groups, nodes, own, s)
        for node in range(nodes):
            for expert in range(experts):
                u = own[node * room + expert // size]
                s.load[expert] = load[layer, u * size + expert % size]
            part = plan[layer, node * slots : (node + 1) * slots]
            pack_node(s.load[:experts], part, s.gpu.shape[0] // nodes, s)
            for slot in range(slots):
                u = own[node * room + part[slot] // size]
                part[slot] = u * size + part[slot] % size


def packed(situation: Situation, load: Float64, *, global_: bool = False) -> Int32:
    """A placement for expected loads, relabelled so that few experts are copied.

    Args:
        situation: whose topology is kept.
        load: ``(L, E)`` tokens.
        global_: groups may be torn apart.
    """
    groups, nodes = (1, 1) if global_ else situation.shape
    plan = np.empty_like(situation.plan)
    pack_nodes(
        np.ascontiguousarray(load), groups, nodes, np.empty(groups, np.int32), plan, situation.room
    )
    relabelled(situation, plan, nodes)
    return plan


def relabelled(situation: Situation, plan: Int32, nodes: int) -> None:
    """Gives the parts of a plan to the GPUs that hold most of them; of many nodes, each its own."""
    relabel(plan, situation.plan, nodes, situation.room)
