"""The Expert Parallelism Load Balancer of DeepSeek, from its published description.

Hierarchical: groups of experts are packed onto nodes by their tokens, each node replicates its own
experts, and packs the replicas onto its GPUs. Packing takes items heaviest first to the bin that
holds least and has room; replicas go one by one to the largest share. Global: one group, one node.
Source: https://github.com/deepseek-ai/EPLB; "Barbarians at the Gate" (2025) takes it as a task.
"""

from fleetgym.envs.core.jit import inner, kernel
from fleetgym.envs.expert_placement.packing import pack_sorted, replicate, sort_descending
from fleetgym.envs.expert_placement.types import Float64, Int32, Scratch


@inner
def pack_evenly(weight: Float64, bins: Float64, s: Scratch) -> None:
    """Packs items into bins of equal numbers: ``items[2]`` is bin * room + rank.

    Where a bin holds one item only there is nothing to balance and items keep their order.
    """
    size, room = weight.shape[0], weight.shape[0] // bins.shape[0]
    if room == 1:
        for item in range(size):
            s.items[2, item] = item
        return
    sort_descending(weight, s.order[0], s.order[1], size)
    pack_sorted(weight, s.order[0][:size], room, bins, s)


@inner
def order_by_node(load: Float64, groups: int, nodes: int, s: Scratch) -> None:
    """Writes into ``items[4]`` (E,) the experts in the order of the nodes they are packed onto."""
    size = load.shape[0] // groups
    for u in range(groups):
        tokens = 0.0
        for expert in range(u * size, (u + 1) * size):
            tokens += load[expert]
        s.key[u] = tokens
    pack_evenly(s.key[:groups], s.gpu[:nodes], s)
    for u in range(groups):
        for i in range(size):
            s.items[4, s.items[2, u] * size + i] = u * size + i


@inner
def eplb_layer(
    load: Float64, groups: int, nodes: int, plan: Int32, rank: Int32, s: Scratch
) -> None:
    """One layer: writes the expert of each slot (R,), and which of its replicas that is."""
    experts, slots, gpus = load.shape[0], plan.shape[0], s.gpu.shape[0]
    order_by_node(load, groups, nodes, s)
    own, node_slots = experts // nodes, slots // nodes
    place, seen = s.items[2], s.items[5]
    for node in range(nodes):
        for i in range(own):
            s.load[i] = load[s.items[4, node * own + i]]
            seen[i] = 0
        replicate(s.load[:own], s, node_slots)
        for item in range(node_slots):
            s.weight[item] = s.key[s.items[0, item]]
        pack_evenly(s.weight[:node_slots], s.gpu[: gpus // nodes], s)
        for item in range(node_slots):
            expert, slot = s.items[0, item], node * node_slots + place[item]
            plan[slot] = s.items[4, node * own + expert]
            rank[slot] = seen[expert]
            seen[expert] += 1


@kernel
def eplb(load: Float64, groups: int, nodes: int, plan: Int32, rank: Int32, s: Scratch) -> None:
    """Every layer.

    Args:
        load: (L, E) tokens.
        groups: a multiple of ``nodes``; 1 for a global plan.
        nodes: 1 for a global plan.
        plan: (L, R) expert of each slot, written; ``s`` has as many GPUs as there are.
        rank: (L, R) which replica of its expert the slot holds, written.
        s: room to work in.
    """
    for layer in range(plan.shape[0]):
        eplb_layer(load[layer], groups, nodes, plan[layer], rank[layer], s)
