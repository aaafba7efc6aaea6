"""How a placement serves a window: tokens of each GPU, and the time of a layer.

Tokens of an expert are split over its replicas, equally or by `balance`. A GPU's time is what its
tokens take at their experts, and what sending them takes. Tokens start evenly on all GPUs: of
those a GPU serves, (M - 1) / M come from other nodes, of M. A token goes to a node once, however
many experts of it are there: where a node holds the share f of the tokens of a group of experts,
of which each token picks h, it saves f (1 - 1/h) of the sends (exact for h = 2). The rest of what
comes from other GPUs is sent inside the node.
"""

import numpy as np

from fleetgym.envs.core.jit import inner, kernel
from fleetgym.envs.expert_placement.balance import balance
from fleetgym.envs.expert_placement.types import Int32, Rules, Scratch


@inner
def count_replicas(plan: Int32, replicas: Int32) -> None:
    """Counts the slots ``plan`` (R,) that hold each expert (E,)."""
    replicas[:] = 0
    for slot in range(plan.shape[0]):
        replicas[plan[slot]] += 1


@inner
def split(plan: Int32, replicas: Int32, load: Int32, s: Scratch) -> None:
    """Splits the tokens of each expert equally over its slots: ``flow``, and ``gpu`` in order."""
    per_gpu = plan.shape[0] // s.gpu.shape[0]
    for g in range(s.gpu.shape[0]):
        tokens = 0.0
        for slot in range(g * per_gpu, (g + 1) * per_gpu):
            # Unsigned: no check for indices counted from the end.
            expert = np.uint32(plan[slot])
            share = load[expert] * s.inverse[np.uint32(replicas[expert])]
            s.flow[slot] = share
            tokens += share
        s.gpu[g] = tokens


@inner
def dispatch(plan: Int32, replicas: Int32, load: Int32, rules: Rules, s: Scratch) -> None:
    """Sends a layer's tokens to the slots: writes ``flow`` and ``gpu``."""
    split(plan, replicas, load, s)
    if rules.lp_dispatch:
        balance(plan, replicas, load, s)


@inner
def group_nodes(plan: Int32, rules: Rules, s: Scratch) -> None:
    """Writes into ``node_group`` which share of a group's tokens each node serves.

    Slots are summed in four turns, each into a row of its own: neighbours are mostly of one group,
    and a sum that waits for the one before it is slow.
    """
    per_node = plan.shape[0] // rules.nodes
    for node in range(rules.nodes):
        rows = s.node_group[:, node]
        for u in range(rules.groups):
            rows[0, u] = rows[1, u] = rows[2, u] = rows[3, u] = 0.0
        for slot in range(node * per_node, (node + 1) * per_node):
            group = np.uint32(s.group[np.uint32(plan[slot])])
            rows[np.uint32(slot & 3), group] += s.flow[slot]
        for u in range(rules.groups):
            rows[0, u] += rows[1, u] + rows[2, u] + rows[3, u]
    for u in range(rules.groups):
        whole = 0.0
        for node in range(rules.nodes):
            whole += s.node_group[0, node, u]
        if whole > 0.0:
            for node in range(rules.nodes):
                s.node_group[0, node, u] /= whole


@inner
def saved_sends(plan: Int32, rules: Rules, s: Scratch) -> None:
    """Writes into ``key`` (G,) the tokens of each GPU whose send over nodes may be saved."""
    group_nodes(plan, rules, s)
    per_gpu, size = plan.shape[0] // rules.gpus, rules.gpus // rules.nodes
    for node in range(rules.nodes):
        row = s.node_group[0, node]
        for g in range(node * size, (node + 1) * size):
            saved = 0.0
            for slot in range(g * per_gpu, (g + 1) * per_gpu):
                saved += s.flow[slot] * row[np.uint32(s.group[np.uint32(plan[slot])])]
            s.key[g] = saved


@inner
def gpu_ns(tokens: float, inter: float, rules: Rules) -> int:
    """Time of a GPU that serves the tokens, ``inter`` of them sent from other nodes, ns."""
    intra = tokens * rules.away - inter
    time = tokens * rules.token_ns + inter * rules.inter_ns + intra * rules.intra_ns
    return max(rules.floor, int(time))


@inner
def layer_ns(
    plan: Int32, replicas: Int32, load: Int32, rules: Rules, s: Scratch
) -> tuple[int, float]:
    """Time of a layer of a window, ns, and the tokens sent between nodes.

    Leaves in ``gpu`` the tokens of each GPU.
    """
    dispatch(plan, replicas, load, rules, s)
    return dispatched_ns(plan, rules, s)


@inner
def dispatched_ns(plan: Int32, rules: Rules, s: Scratch) -> tuple[int, float]:
    """As `layer_ns`, of tokens that have been sent to the slots."""
    saves = rules.nodes > 1 and rules.dedup > 0.0
    if saves:
        saved_sends(plan, rules, s)
    worst, sent = 0, 0.0
    for g in range(rules.gpus):
        saved = s.key[g] * rules.dedup if saves else 0.0
        inter = (s.gpu[g] - saved) * rules.far
        worst = max(worst, gpu_ns(s.gpu[g], inter, rules))
        sent += inter
    return worst, sent


@inner
def balanced_ns(load: Int32, rules: Rules) -> int:
    """A lower bound of `layer_ns` over all placements and dispatches, ns.

    Every GPU serves the mean and every send that can be saved is. The mean over the GPUs of the
    time at least sends nothing more, and the maximum is at least the mean.
    """
    tokens = 0
    for expert in range(load.shape[0]):
        tokens += load[expert]
    mean = tokens / rules.gpus
    return gpu_ns(mean, mean * (1.0 - rules.dedup) * rules.far, rules)


@kernel
def window_ns(plan: Int32, replicas: Int32, load: Int32, rules: Rules, s: Scratch) -> int:
    """Time of serving a window, without migration, ns.

    Args:
        plan: (L, R).
        replicas: (L, E) of the plan.
        load: (L, E) tokens.
        rules: of the scenario.
        s: room to work in.
    """
    total = 0
    for layer in range(plan.shape[0]):
        total += layer_ns(plan[layer], replicas[layer], load[layer], rules, s)[0]
    return total


@kernel
def count_all(plan: Int32, replicas: Int32) -> None:
    """Counts the replicas (L, E) of every layer's placement (L, R)."""
    for layer in range(plan.shape[0]):
        count_replicas(plan[layer], replicas[layer])
