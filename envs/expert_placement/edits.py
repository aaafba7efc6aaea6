"""Edits of a placement: which are legal, and what they do.

An edit gives a slot another expert, whose replicas grow by one while those of the expert that was
there shrink by one, or swaps the experts of two slots on different GPUs. No expert may lose its
last replica, and no slot that was changed in this window may get back the expert it had when the
window began: that would undo what is being done.
"""

import numpy as np

from fleetgym.envs.core.jit import inner
from fleetgym.envs.expert_placement.types import EDITS_LEFT, Int8, Int32, World


@inner
def has_partner(plan: Int32, start: Int32, slot: int, per_gpu: int) -> bool:
    """Whether there is a slot of another GPU to swap with; the next GPU's slots come first."""
    now, begun = plan[slot], start[slot]
    first = slot - slot % per_gpu
    for i in range(plan.shape[0] - per_gpu):
        other = first + per_gpu + i
        if other >= plan.shape[0]:
            other -= plan.shape[0]
        theirs = plan[other]
        if theirs != now and theirs != begun and start[other] != now:
            return True
    return False


@inner
def editable(w: World, b: int, layer: int, slot: int, per_gpu: int) -> bool:
    """Whether the slot has a legal target."""
    plan = w.plan[b, layer]
    # Of three experts or more one at least is neither what is there nor what was.
    spare = w.replicas[b, layer, plan[slot]] > 1
    return bool(spare or has_partner(plan, w.begun[b, layer], slot, per_gpu))


@inner
def any_edit(w: World, b: int, layer: int, per_gpu: int) -> bool:
    """Whether the layer has a legal edit."""
    if w.layers[b, layer, EDITS_LEFT] < 1:
        return False
    slot = 0
    while slot < w.plan.shape[2] and not editable(w, b, layer, slot, per_gpu):
        slot += 1
    return bool(slot < w.plan.shape[2])


@inner
def mark_slots(w: World, b: int, layer: int, mask: Int8, per_gpu: int) -> None:
    """Marks the slots (R,) that have a legal target."""
    plan, start, replicas = w.plan[b, layer], w.begun[b, layer], w.replicas[b, layer]
    for slot in range(plan.shape[0]):
        spare = replicas[np.uint32(plan[slot])] > 1
        mask[slot] = spare or has_partner(plan, start, slot, per_gpu)


@inner
def mark_targets(w: World, b: int, layer: int, slot: int, mask: Int8, per_gpu: int) -> None:
    """Marks the targets (E + R,) of the slot: experts, then slots to swap with."""
    experts, slots = w.replicas.shape[2], w.plan.shape[2]
    plan, start = w.plan[b, layer], w.begun[b, layer]
    now, begun = plan[slot], start[slot]
    spare = w.replicas[b, layer, now] > 1
    for expert in range(experts):
        mask[expert] = spare
    mask[now] = 0
    mask[begun] = 0
    partners = mask[experts:]
    for other in range(slots):
        partners[other] = (plan[other] != now) & (plan[other] != begun) & (start[other] != now)
    first = slot - slot % per_gpu
    for other in range(first, first + per_gpu):
        partners[other] = 0


@inner
def apply_edit(w: World, b: int, layer: int, slot: int, target: int) -> None:
    """Makes a legal edit and counts it."""
    experts = w.replicas.shape[2]
    plan, now = w.plan[b, layer], w.plan[b, layer, slot]
    if target < experts:
        w.replicas[b, layer, now] -= 1
        w.replicas[b, layer, target] += 1
        plan[slot] = target
    else:
        plan[slot], plan[target - experts] = plan[target - experts], now
    w.layers[b, layer, EDITS_LEFT] -= 1
