"""Local search of one layer's placement for many samples of its loads at once.

The objective is the sum over GPUs of the mean of (time / perfectly balanced time) to the sixth: it
falls with every GPU that is relieved, and is nearly the slowest one's. Its logarithm over 6 follows
that of the slowest GPU, which turns a gain into nanoseconds and lets it be weighed against a fee
for each expert to copy. A move swaps two slots of a node, or gives a slot whose expert has other
replicas to an expert that weighs much on a GPU that takes long, on whichever node; one replica of
an expert stays on the node of its group. Moves are ranked with the shares of groups on nodes as
they are, and kept only where the exact times agree.
"""

from typing import NamedTuple

from fleetgym.baselines.expert_placement.situation import Float64, Int32, Int64
from fleetgym.envs.core.jit import inner, kernel
from fleetgym.envs.expert_placement.types import Int8, Rules, Scratch

POWER = 6  # see `power`
MOVES = 160  # of a layer under one cap
TRIED = 8  # GPUs that are tried for a move, those that weigh most first
HOT = 2  # experts of a GPU that are tried for one more replica
LEAST = 1e-5  # of the slowest GPU's time: a move has to gain more


class Sampled(NamedTuple):
    """One layer's search, K samples, and room."""

    plan: Int32  # (R,) being improved
    counts: Int32  # (E,) its replicas
    home: Int64  # (U,) node of each group
    had: Int8  # (G, E) 1 where a GPU holds the expert before anything is copied
    has: Int8  # (G, E) how often the plan has it there
    copies: Int64  # (G,) experts to copy
    loads: Float64  # (E, K) tokens
    tokens: Float64  # (R, K) of each slot
    mean: Float64  # (R,) of them over the samples
    each: Float64  # (M, U, K) ns of a token of a group on a node
    time: Float64  # (G, K) / perfectly balanced time
    weight: Float64  # (G,) of each GPU in the objective
    total: Float64  # (2,) of the weights; mean over samples of the slowest GPU's time, ns
    tried: Int64  # (G,) 1 for GPUs that offered no move
    stopped: Int64  # (1,) moves that the cap forbade since a move was made


@inner
def power(time: float) -> float:
    """To the sixth."""
    two = time * time
    four = two * two
    return four * two


@inner
def price(x: Sampled, unit: float, rules: Rules, s: Scratch) -> None:
    """Writes what every slot and GPU takes; ``unit`` is the perfectly balanced time, ns."""
    slots, samples = x.tokens.shape
    per_gpu, per_node = slots // rules.gpus, slots // rules.nodes
    x.each[:, :, :] = 0.0
    x.time[:, :] = 0.0
    for slot in range(slots):
        expert = x.plan[slot]
        share, load, mine = s.inverse[x.counts[expert]], x.loads[expert], x.tokens[slot]
        there = x.each[slot // per_node, s.group[expert]]
        total = 0.0
        for k in range(samples):
            mine[k] = load[k] * share
            there[k] += mine[k]
            total += mine[k]
        x.mean[slot] = total / samples
    price_tokens(x, unit, rules)
    for slot in range(slots):
        ns, mine = x.each[slot // per_node, s.group[x.plan[slot]]], x.tokens[slot]
        time = x.time[slot // per_gpu]
        for k in range(samples):
            time[k] += mine[k] * ns[k]
    weigh(x, unit, rules)


@inner
def price_tokens(x: Sampled, unit: float, rules: Rules) -> None:
    """Turns tokens of a group on a node into what one of them takes there, as `gpu_ns` has it."""
    nodes, groups, samples = x.each.shape
    for u in range(groups):
        for k in range(samples):
            whole = 1e-9
            for node in range(nodes):
                whole += x.each[node, u, k]
            for node in range(nodes):
                inter = (1.0 - rules.dedup * x.each[node, u, k] / whole) * rules.far
                intra = rules.away - inter
                ns = rules.token_ns + inter * rules.inter_ns + intra * rules.intra_ns
                x.each[node, u, k] = ns / unit


@inner
def weigh(x: Sampled, unit: float, rules: Rules) -> None:
    """Writes the weight of every GPU, their total, and the mean of the slowest."""
    gpus, samples = x.time.shape
    x.total[0] = x.total[1] = 0.0
    for k in range(samples):
        slowest = 0.0
        for g in range(gpus):
            slowest = max(slowest, x.time[g, k])
        x.total[1] += max(slowest * unit, rules.floor) / samples
    for g in range(gpus):
        x.weight[g] = 0.0
        for k in range(samples):
            x.weight[g] += power(x.time[g, k]) / samples
        x.total[0] += x.weight[g]


@inner
def worth(x: Sampled, less: float) -> float:
    """What it is worth, ns of the slowest GPU, that the weights fall by ``less``."""
    return float(x.total[1] * less / (POWER * x.total[0]))


@inner
def added(x: Sampled, gpu: int, come: int, gone: int) -> int:
    """Copies that a GPU needs beyond those it needs now if one expert comes for another."""
    return int(x.had[gpu, gone]) - int(x.had[gpu, come])


@inner
def full(x: Sampled, gpu: int, more: int, cap: int) -> bool:
    """Whether the GPU may not be given so many more experts to copy."""
    over = more > 0 and x.copies[gpu] + more > cap
    x.stopped[0] += over
    return bool(over)


@inner
def after_swap(x: Sampled, i: int, j: int, per_gpu: int, size: int, s: Scratch) -> float:
    """Weights of the GPUs of slots i and j, of one node, once these have swapped."""
    a, b = i // per_gpu, j // per_gpu
    mine, theirs, time_a, time_b = x.tokens[i], x.tokens[j], x.time[a], x.time[b]
    one = x.each[a // size, s.group[x.plan[i]]]
    other = x.each[a // size, s.group[x.plan[j]]]
    total = 0.0
    for k in range(mine.shape[0]):
        moved = mine[k] * one[k] - theirs[k] * other[k]
        total += power(time_a[k] - moved) + power(time_b[k] + moved)
    return float(total / mine.shape[0])


@inner
def best_swap(
    x: Sampled, a: int, fee: float, cap: int, rules: Rules, s: Scratch
) -> tuple[float, int, int]:
    """The swap of a slot of GPU a, inside its node, that gains most: ns, slots, or -1."""
    per_gpu, size = x.plan.shape[0] // rules.gpus, rules.gpus // rules.nodes
    best, source, target = 0.0, -1, -1
    first = a // size * size
    for b in range(first, first + size):
        if b == a:
            continue
        both = x.weight[a] + x.weight[b]
        for i in range(a * per_gpu, (a + 1) * per_gpu):
            mine = x.plan[i]
            if x.has[b, mine] > 0:
                continue
            for j in range(b * per_gpu, (b + 1) * per_gpu):
                theirs = x.plan[j]
                if x.mean[j] >= x.mean[i] or x.has[a, theirs] > 0:
                    continue
                here, there = added(x, a, theirs, mine), added(x, b, mine, theirs)
                if full(x, a, here, cap) or full(x, b, there, cap):
                    continue
                less = both - after_swap(x, i, j, per_gpu, size, s)
                gain = worth(x, less) - fee * (here + there)
                if gain > best:
                    best, source, target = gain, i, j
    return best, source, target


@inner
def less_by(x: Sampled, slot: int, expert: int, rules: Rules, s: Scratch) -> float:
    """By how much the weights fall once the slot is given the expert."""
    slots, samples = x.tokens.shape
    per_gpu, size = slots // rules.gpus, rules.gpus // rules.nodes
    old, here, mine = x.plan[slot], slot // per_gpu, x.tokens[slot]
    grown = s.inverse[x.counts[old] - 1] - s.inverse[x.counts[old]]
    final = s.inverse[x.counts[expert] + 1]
    shrunk = s.inverse[x.counts[expert]] - final
    less = 0.0
    for g in range(rules.gpus):
        if g != here and x.has[g, old] == 0 and x.has[g, expert] == 0:
            continue
        out, come = x.each[g // size, s.group[old]], x.each[g // size, s.group[expert]]
        up, down = x.has[g, old] * grown, x.has[g, expert] * shrunk
        after = 0.0
        for k in range(samples):
            if g == here:
                more = x.loads[expert, k] * final * come[k] - mine[k] * out[k]
            else:
                more = up * x.loads[old, k] * out[k] - down * x.loads[expert, k] * come[k]
            after += power(x.time[g, k] + more)
        less += x.weight[g] - after / samples
    return less


@inner
def may_go(x: Sampled, slot: int, per_gpu: int, size: int, s: Scratch) -> bool:
    """Whether the slot may be given another expert: its own has others, one at home."""
    old, gpu = x.plan[slot], slot // per_gpu
    if x.counts[old] < 2 or x.has[gpu, old] > 1:
        return False
    home, left = x.home[s.group[old]], 0
    if gpu // size != home:
        return True
    for g in range(home * size, (home + 1) * size):
        left += x.has[g, old]
    return bool(left > 1)


@inner
def heaviest(x: Sampled, a: int, per_gpu: int, but: int) -> int:
    """The slot of GPU a with most tokens, other than ``but``; -1 where there is none."""
    best = -1
    for slot in range(a * per_gpu, (a + 1) * per_gpu):
        if slot != but and (best < 0 or x.mean[slot] > x.mean[best]):
            best = slot
    return best


@inner
def best_replica(
    x: Sampled, a: int, fee: float, cap: int, rules: Rules, s: Scratch
) -> tuple[float, int, int]:
    """The best slot for one more replica of what weighs most on GPU a: ns, slot, expert."""
    per_gpu, size = x.plan.shape[0] // rules.gpus, rules.gpus // rules.nodes
    best, chosen, given, hot = 0.0, -1, -1, -1
    for _ in range(HOT):
        hot = heaviest(x, a, per_gpu, hot)
        if hot < 0:
            break
        expert = x.plan[hot]
        for slot in range(x.plan.shape[0]):
            b, old = slot // per_gpu, x.plan[slot]
            if old == expert or x.has[b, expert] > 0 or not may_go(x, slot, per_gpu, size, s):
                continue
            more = added(x, b, expert, old)
            if full(x, b, more, cap):
                continue
            gain = worth(x, less_by(x, slot, expert, rules, s)) - fee * more
            if gain > best:
                best, chosen, given = gain, slot, expert
    return best, chosen, given


@inner
def put(x: Sampled, slot: int, expert: int, per_gpu: int) -> int:
    """Gives the slot the expert; returns how many more copies that takes."""
    old, gpu = x.plan[slot], slot // per_gpu
    more = added(x, gpu, expert, old)
    x.copies[gpu] += more
    x.has[gpu, old] -= 1
    x.has[gpu, expert] += 1
    x.counts[old] -= 1
    x.counts[expert] += 1
    x.plan[slot] = expert
    return more


@inner
def next_gpu(x: Sampled) -> int:
    """The GPU that weighs most of those not tried, which now is; -1 where there is none."""
    best = -1
    for g in range(x.weight.shape[0]):
        if x.tried[g] == 0 and (best < 0 or x.weight[g] > x.weight[best]):
            best = g
    if best >= 0:
        x.tried[best] = 1
    return best


@inner
def move(x: Sampled, fee: float, cap: int, unit: float, rules: Rules, s: Scratch) -> bool:
    """Makes the best move of a GPU that weighs much; False where none of them has one."""
    per_gpu = x.plan.shape[0] // rules.gpus
    x.tried[:] = 0
    x.stopped[0] = 0
    for _ in range(TRIED):
        a = next_gpu(x)
        if a < 0:
            break
        least = LEAST * x.total[1]
        swap_gain, i, j = best_swap(x, a, fee, cap, rules, s)
        gain, slot, expert = best_replica(x, a, fee, cap, rules, s)
        if max(gain, swap_gain) <= least:
            continue
        swaps = swap_gain >= gain
        if not swaps:
            i, j = slot, slot
        mine, theirs = x.plan[i], x.plan[j]
        before, one = x.total[0], x.total[1]
        more = put(x, i, theirs if swaps else expert, per_gpu)
        if swaps:
            more += put(x, j, mine, per_gpu)
        price(x, unit, rules, s)
        if one * (before - x.total[0]) / (POWER * before) - fee * more > least:
            return True
        put(x, i, mine, per_gpu)
        if swaps:
            put(x, j, theirs, per_gpu)
        price(x, unit, rules, s)
    return False


@inner
def begin(x: Sampled, held: Int32, per_gpu: int) -> None:
    """Writes what follows from the plan, and from what the slots hold."""
    x.has[:, :] = 0
    x.had[:, :] = 0
    x.copies[:] = 0
    x.counts[:] = 0
    for slot in range(x.plan.shape[0]):
        x.has[slot // per_gpu, x.plan[slot]] += 1
        x.counts[x.plan[slot]] += 1
        x.had[slot // per_gpu, held[slot]] = 1
    for slot in range(x.plan.shape[0]):
        x.copies[slot // per_gpu] += 1 - x.had[slot // per_gpu, x.plan[slot]]


@inner
def keep(plan: Int32, best: Int32) -> None:
    """Copies a placement."""
    for slot in range(plan.shape[0]):
        best[slot] = plan[slot]


@inner
def cost_of(x: Sampled, lasts: float, rules: Rules) -> float:
    """What ``lasts`` windows and the copies take, ns."""
    most = 0
    for g in range(x.copies.shape[0]):
        most = max(most, int(x.copies[g]))
    return float(lasts * x.total[1] + most * rules.copy_ns)


@kernel
def search(
    x: Sampled,
    held: Int32,
    caps: Int64,
    fee: float,
    lasts: float,
    unit: float,
    enough: float,
    best: Int32,
    rules: Rules,
    s: Scratch,
) -> float:
    """Improves one layer under one cap after the other; keeps the cheapest in ``best``.

    Args:
        x: the search; its plan is where it starts.
        held: (R,) what the slots hold now.
        caps: (C,) most experts that a GPU is given to copy, rising.
        fee: ns of a window, for each expert to copy.
        lasts: windows that a placement is expected to serve.
        unit: ns of the layer, perfectly balanced.
        enough: ns; a start that costs more is kept as it is.
        best: (R,) written.
        rules: of the scenario.
        s: room to work in.

    Returns:
        ns of ``lasts`` windows and of the copies.
    """
    begin(x, held, x.plan.shape[0] // rules.gpus)
    price(x, unit, rules, s)
    least = cost_of(x, lasts, rules)
    keep(x.plan, best)
    if least > enough:
        return least
    for step in range(caps.shape[0]):
        for _ in range(MOVES):
            if not move(x, fee, caps[step], unit, rules, s):
                break
        cost = cost_of(x, lasts, rules)
        if cost < least:
            least = cost
            keep(x.plan, best)
        if x.stopped[0] == 0:
            break
    return least
