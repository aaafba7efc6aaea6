"""Local search of one layer's placement for several windows at once.

The objective is sum over windows of weight x (time of the slowest GPU) + fee x (experts to copy).
Swaps stay inside a node, so the share of each group on each node, and with it what a slot costs in
each window, stays as it is, and a swap is priced from the three slowest GPUs of every window.
Replacements, which change the shares, are priced by the machine's own `layer_ns`.
"""

from typing import NamedTuple

from fleetgym.baselines.expert_placement.situation import Float64, Int32, Int64
from fleetgym.envs.core.jit import inner, kernel
from fleetgym.envs.expert_placement.serving import dispatch, group_nodes, layer_ns
from fleetgym.envs.expert_placement.types import Rules, Scratch

MOVES = 80  # swaps of a layer in a round
REPLACEMENTS = 6  # of a layer in a round


class Search(NamedTuple):
    """One layer's search: K windows, and room."""

    plan: Int32  # (R,) being improved
    counts: Int32  # (E,) its replicas
    held: Int32  # (R,) what the slots hold now
    loads: Int32  # (K, E) tokens
    weights: Float64  # (K,)
    fee: float  # ns for each expert to copy
    cost: Float64  # (K, R) ns of each slot in each window
    time: Float64  # (K, G) ns of each GPU in each window
    slowest: Int64  # (K, 3) GPUs


@inner
def lacks(x: Search, expert: int, gpu: int, per_gpu: int) -> int:
    """1 where the GPU does not hold the expert now."""
    for slot in range(gpu * per_gpu, (gpu + 1) * per_gpu):
        if x.held[slot] == expert:
            return 0
    return 1


@inner
def price(x: Search, rules: Rules, s: Scratch) -> None:
    """Writes what every slot and GPU takes in every window."""
    slots, gpus = x.plan.shape[0], rules.gpus
    per_gpu, per_node = slots // gpus, slots // rules.nodes
    for k in range(x.loads.shape[0]):
        dispatch(x.plan, x.counts, x.loads[k], rules, s)
        group_nodes(x.plan, rules, s)
        for g in range(gpus):
            x.time[k, g] = 0.0
        for slot in range(slots):
            together = s.node_group[0, slot // per_node, s.group[x.plan[slot]]]
            inter = (1.0 - rules.dedup * together) * rules.far
            each = rules.token_ns + inter * rules.inter_ns + (rules.away - inter) * rules.intra_ns
            x.cost[k, slot] = s.flow[slot] * each
            x.time[k, slot // per_gpu] += x.cost[k, slot]


@inner
def rank_slowest(x: Search) -> None:
    """Writes the three slowest GPUs of every window, slowest first."""
    for k in range(x.time.shape[0]):
        first, second, third = -1, -1, -1
        for g in range(x.time.shape[1]):
            if first < 0 or x.time[k, g] > x.time[k, first]:
                first, second, third = g, first, second
            elif second < 0 or x.time[k, g] > x.time[k, second]:
                second, third = g, second
            elif third < 0 or x.time[k, g] > x.time[k, third]:
                third = g
        x.slowest[k, 0], x.slowest[k, 1], x.slowest[k, 2] = first, second, third


@inner
def swap_gain(x: Search, i: int, j: int, a: int, b: int, floor: int) -> float:
    """By how much the weighted times fall if slots i of GPU a and j of GPU b swap, ns."""
    gain = 0.0
    for k in range(x.time.shape[0]):
        moved = x.cost[k, i] - x.cost[k, j]
        other = 0.0
        for rank in range(3):
            g = x.slowest[k, rank]
            if g >= 0 and g != a and g != b:
                other = x.time[k, g]
                break
        after = max(x.time[k, a] - moved, x.time[k, b] + moved, other, floor)
        gain += x.weights[k] * (max(x.time[k, x.slowest[k, 0]], floor) - after)
    return gain


@inner
def fee_of(x: Search, i: int, j: int, a: int, b: int, per_gpu: int) -> float:
    """What the swap adds to the copies' fee."""
    mine, theirs = x.plan[i], x.plan[j]
    more = lacks(x, mine, b, per_gpu) + lacks(x, theirs, a, per_gpu)
    less = lacks(x, mine, a, per_gpu) + lacks(x, theirs, b, per_gpu)
    return x.fee * (more - less)


@inner
def best_of(x: Search, a: int, rules: Rules) -> tuple[float, int, int]:
    """The best swap of a slot of GPU a with one of another GPU of its node."""
    per_gpu, size = x.plan.shape[0] // rules.gpus, rules.gpus // rules.nodes
    best, source, target = 1.0, -1, -1  # at least a nanosecond
    node = a // size
    for i in range(a * per_gpu, (a + 1) * per_gpu):
        for b in range(node * size, (node + 1) * size):
            if b == a:
                continue
            for j in range(b * per_gpu, (b + 1) * per_gpu):
                if x.plan[i] == x.plan[j]:
                    continue
                gain = swap_gain(x, i, j, a, b, rules.floor)
                if gain > best - 2.0 * x.fee:
                    gain -= fee_of(x, i, j, a, b, per_gpu)
                    if gain > best:
                        best, source, target = gain, i, j
    return best, source, target


@inner
def swap(x: Search, i: int, j: int, per_gpu: int) -> None:
    """Swaps two slots, and what they cost."""
    x.plan[i], x.plan[j] = x.plan[j], x.plan[i]
    for k in range(x.cost.shape[0]):
        moved = x.cost[k, i] - x.cost[k, j]
        x.time[k, i // per_gpu] -= moved
        x.time[k, j // per_gpu] += moved
        x.cost[k, i], x.cost[k, j] = x.cost[k, j], x.cost[k, i]


@inner
def make_swaps(x: Search, rules: Rules, s: Scratch) -> int:
    """Swaps while one of a window's slowest GPU is worth it; returns how often."""
    per_gpu = x.plan.shape[0] // rules.gpus
    price(x, rules, s)
    made = 0
    while made < MOVES:
        rank_slowest(x)
        best, source, target = 0.0, -1, -1
        for k in range(x.time.shape[0]):
            a, known = x.slowest[k, 0], False
            for earlier in range(k):
                known = known or x.slowest[earlier, 0] == a
            if not known:
                gain, i, j = best_of(x, a, rules)
                if i >= 0 and gain > best:
                    best, source, target = gain, i, j
        if source < 0:
            break
        swap(x, source, target, per_gpu)
        made += 1
    return made


@inner
def weighted(x: Search, rules: Rules, s: Scratch) -> float:
    """Sum over windows of weight x time of the layer, ns."""
    total = 0.0
    for k in range(x.loads.shape[0]):
        total += x.weights[k] * layer_ns(x.plan, x.counts, x.loads[k], rules, s)[0]
    return total


@inner
def give(x: Search, slot: int, expert: int) -> None:
    """Gives the slot the expert."""
    x.counts[x.plan[slot]] -= 1
    x.counts[expert] += 1
    x.plan[slot] = expert


@inner
def replace_once(x: Search, rules: Rules, s: Scratch) -> bool:
    """One more replica, in its node, of what costs most on the slowest GPU, where worth its fee."""
    per_gpu, per_node = x.plan.shape[0] // rules.gpus, x.plan.shape[0] // rules.nodes
    price(x, rules, s)
    rank_slowest(x)
    first = x.slowest[0, 0] * per_gpu
    heaviest = first
    for slot in range(first, first + per_gpu):
        if x.cost[0, slot] > x.cost[0, heaviest]:
            heaviest = slot
    hot, node = x.plan[heaviest], heaviest // per_node
    before, best, chosen = weighted(x, rules, s), 1.0, -1
    for slot in range(node * per_node, (node + 1) * per_node):
        old = x.plan[slot]
        if old == hot or x.counts[old] < 2:
            continue
        gpu = slot // per_gpu
        fee = x.fee * (lacks(x, hot, gpu, per_gpu) - lacks(x, old, gpu, per_gpu))
        give(x, slot, hot)
        gain = before - weighted(x, rules, s) - fee
        give(x, slot, old)
        if gain > best:
            best, chosen = gain, slot
    if chosen >= 0:
        give(x, chosen, hot)
    return bool(chosen >= 0)


@kernel
def search(x: Search, rules: Rules, s: Scratch) -> None:
    """Improves one layer until neither swaps nor replacements are worth it."""
    make_swaps(x, rules, s)
    for _ in range(REPLACEMENTS):
        if not replace_once(x, rules, s) or make_swaps(x, rules, s) == 0:
            break
