"""LP dispatch: tokens split over replicas so that the fullest GPU serves as few as possible.

min t subject to: the shares of an expert's replicas add up to its tokens, those of a GPU's slots
to at most t. The optimum is the largest, over sets of GPUs, of (tokens that only they can serve) /
(GPUs in the set). It is found from below: tokens flow from GPUs above t along chains of shared
experts to GPUs below; where a GPU above t reaches none, the GPUs it reaches are such a set, and t
rises to their mean (Dinkelbach's method on cuts, which ends after few rises).
"""

from fleetgym.envs.core.jit import inner
from fleetgym.envs.expert_placement.types import Int32, Scratch

EXACT = 1e-9  # of the mean: what floating point may leave
ROUNDS = 100_000  # of augmenting: far beyond what was ever seen; the split stays valid if it ends


@inner
def balance(plan: Int32, replicas: Int32, load: Int32, s: Scratch) -> None:
    """Turns the equal split in ``flow`` and ``gpu`` into the least maximum."""
    gpus = s.gpu.shape[0]
    link_replicas(plan, replicas, s)
    level = 0.0
    for g in range(gpus):
        level += s.gpu[g]
    level /= gpus
    slack = level * EXACT
    for _ in range(ROUNDS):
        fullest = 0
        for g in range(gpus):
            if s.gpu[g] > s.gpu[fullest]:
                fullest = g
        if s.gpu[fullest] <= level + slack:
            break
        reached = search(plan, fullest, level - slack, s)
        goal = s.assign[4, 0]
        if goal < 0:
            tokens = 0.0
            for i in range(reached):
                tokens += s.gpu[s.assign[1, i]]
            raised = tokens / reached
            if raised <= level + slack * 0.5 or s.gpu[fullest] <= raised + slack:
                break
            level = raised
            continue
        push(fullest, goal, level, s)
    rescale(plan, replicas, load, s)


@inner
def link_replicas(plan: Int32, replicas: Int32, s: Scratch) -> None:
    """Writes into ``order[0]`` the next slot of the same expert, in a ring."""
    first, last = s.items[0], s.items[1]
    for expert in range(replicas.shape[0]):
        first[expert] = -1
    for slot in range(plan.shape[0]):
        expert = plan[slot]
        if first[expert] < 0:
            first[expert] = slot
        else:
            s.order[0, last[expert]] = slot
        last[expert] = slot
    for expert in range(replicas.shape[0]):
        s.order[0, last[expert]] = first[expert]


@inner
def search(plan: Int32, start: int, below: float, s: Scratch) -> int:
    """Breadth first over GPUs from ``start``; returns how many it reached.

    Into ``assign``: rows 1 the GPUs in order, 2 and 3 the slot left and the slot entered on the
    way to each, 4 at 0 the first one that serves less than ``below``, or -1; 5 whether reached.
    """
    gpus = s.gpu.shape[0]
    per_gpu = plan.shape[0] // gpus
    queue, left, entered, seen = s.assign[1], s.assign[2], s.assign[3], s.assign[5]
    s.assign[4, 0] = -1
    for g in range(gpus):
        seen[g] = 0
    queue[0], seen[start] = start, 1
    head, tail = 0, 1
    while head < tail:
        g = queue[head]
        head += 1
        for slot in range(g * per_gpu, (g + 1) * per_gpu):
            if s.flow[slot] <= 0.0:
                continue
            other = s.order[0, slot]
            while other != slot:
                h = other // per_gpu
                if not seen[h]:
                    seen[h] = 1
                    left[h], entered[h] = slot, other
                    queue[tail] = h
                    tail += 1
                    if s.gpu[h] < below:
                        s.assign[4, 0] = h
                        return int(tail)
                other = s.order[0, other]
    return int(tail)


@inner
def push(start: int, goal: int, level: float, s: Scratch) -> None:
    """Moves as many tokens along the way found as both ends and every share on it allow."""
    per_gpu = s.flow.shape[0] // s.gpu.shape[0]
    amount = min(s.gpu[start] - level, level - s.gpu[goal])
    g = goal
    while g != start:
        amount = min(amount, s.flow[s.assign[2, g]])
        g = s.assign[2, g] // per_gpu
    g = goal
    while g != start:
        source, target = s.assign[2, g], s.assign[3, g]
        s.flow[source] -= amount
        s.flow[target] += amount
        g = source // per_gpu
    s.gpu[start] -= amount
    s.gpu[goal] += amount


@inner
def rescale(plan: Int32, replicas: Int32, load: Int32, s: Scratch) -> None:
    """Takes out what rounding left: an expert's shares add up to its tokens, GPUs to shares."""
    whole = s.load
    for expert in range(load.shape[0]):
        whole[expert] = 0.0
    for slot in range(plan.shape[0]):
        whole[plan[slot]] += s.flow[slot]
    for slot in range(plan.shape[0]):
        expert = plan[slot]
        if replicas[expert] == 1:
            s.flow[slot] = load[expert]
        elif whole[expert] > 0.0:
            s.flow[slot] *= load[expert] / whole[expert]
    per_gpu = plan.shape[0] // s.gpu.shape[0]
    for g in range(s.gpu.shape[0]):
        tokens = 0.0
        for slot in range(g * per_gpu, (g + 1) * per_gpu):
            tokens += s.flow[slot]
        s.gpu[g] = tokens
