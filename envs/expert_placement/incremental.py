"""A few edits instead of a new placement: each the one that lowers a layer's fullest GPU most.

Considered are swaps of an item of the fullest GPU, and one more replica of the expert that weighs
most there, in place of a replica of an expert that has others.
"""

from fleetgym.envs.core.jit import inner
from fleetgym.envs.expert_placement.packing import best_swap
from fleetgym.envs.expert_placement.types import Float64, Int32, Scratch

GAIN = 0.995  # an edit must bring the fullest GPU to less than this much of what it serves


@inner
def share_out(plan: Int32, counts: Int32, load: Float64, s: Scratch) -> int:
    """Writes the equal split into ``flow`` and ``gpu``, and returns the fullest GPU."""
    per_gpu, fullest = plan.shape[0] // s.gpu.shape[0], 0
    for g in range(s.gpu.shape[0]):
        tokens = 0.0
        for slot in range(g * per_gpu, (g + 1) * per_gpu):
            share = load[plan[slot]] * s.inverse[counts[plan[slot]]]
            s.flow[slot] = share
            tokens += share
        s.gpu[g] = tokens
        if tokens > s.gpu[fullest]:
            fullest = g
    return fullest


@inner
def change(plan: Int32, counts: Int32, slot: int, expert: int) -> None:
    """Gives the slot the expert."""
    counts[plan[slot]] -= 1
    counts[expert] += 1
    plan[slot] = expert


@inner
def best_replica(
    plan: Int32, counts: Int32, load: Float64, expert: int, s: Scratch
) -> tuple[int, float]:
    """Where one more replica of the expert lowers the fullest GPU most, and to what; or -1."""
    best, least = -1, 1e300
    for slot in range(plan.shape[0]):
        before = plan[slot]
        if before == expert or counts[before] < 2:
            continue
        change(plan, counts, slot, expert)
        after = s.gpu[share_out(plan, counts, load, s)]
        change(plan, counts, slot, before)
        if after < least:
            best, least = slot, after
    return best, least


@inner
def edit_layer(plan: Int32, counts: Int32, load: Float64, edits: int, s: Scratch) -> None:
    """Edits ``plan`` (R,) at most so many times; ``counts`` (E,) are its replicas."""
    per_gpu = plan.shape[0] // s.gpu.shape[0]
    for _ in range(edits):
        fullest = share_out(plan, counts, load, s)
        worst = s.gpu[fullest]
        heaviest = fullest * per_gpu
        for slot in range(heaviest, heaviest + per_gpu):
            if s.flow[slot] > s.flow[heaviest]:
                heaviest = slot
        hot = plan[heaviest]
        slot, after = best_replica(plan, counts, load, hot, s)
        share_out(plan, counts, load, s)
        i, j = best_swap(s.flow, s.gpu, fullest)
        swapped = worst
        if i >= 0:
            plan[i], plan[j] = plan[j], plan[i]
            swapped = s.gpu[share_out(plan, counts, load, s)]
            plan[i], plan[j] = plan[j], plan[i]
        if min(swapped, after) > GAIN * worst:
            break
        if swapped <= after:
            plan[i], plan[j] = plan[j], plan[i]
        else:
            change(plan, counts, slot, hot)
