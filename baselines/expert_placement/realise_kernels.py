"""Carrying out a plan by the machine's edits: what to do next with a layer.

A slot whose expert has other replicas is given what the plan wants. Where every wrong slot holds
the only replica of its expert, that expert is wanted at another wrong slot: the two swap. Only
wrong slots are touched, and what they held when the window began is not what the plan wants
there, so no edit undoes another.
"""

from fleetgym.baselines.expert_placement.situation import Int32
from fleetgym.envs.core.jit import inner, kernel
from fleetgym.envs.expert_placement.relabel import align


@inner
def may_hold(plan: Int32, begun: Int32, counts: Int32, slot: int, wanted: int) -> bool:
    """Whether the machine lets the slot be given the expert."""
    return bool(counts[plan[slot]] > 1 and wanted != plan[slot] and wanted != begun[slot])


@inner
def may_swap(plan: Int32, begun: Int32, i: int, j: int, per_gpu: int) -> bool:
    """Whether the machine lets the slots swap."""
    return bool(
        i // per_gpu != j // per_gpu
        and plan[i] != plan[j]
        and plan[j] != begun[i]
        and plan[i] != begun[j]
    )


@kernel
def next_edit(
    target: Int32, plan: Int32, begun: Int32, counts: Int32, per_gpu: int
) -> tuple[int, int]:
    """The next edit of a layer on its way to ``target``.

    Args:
        target: (R,) wanted; parts of it are reordered inside their GPUs.
        plan: (R,) as it is.
        begun: (R,) as the window began.
        counts: (E,) replicas of the plan.
        per_gpu: slots of a GPU.

    Returns:
        The slot, and the expert it shall hold or E + the slot to swap with; -1, -1 where there is
        nothing left to do.
    """
    slots, experts = plan.shape[0], counts.shape[0]
    for first in range(0, slots, per_gpu):
        align(target[first : first + per_gpu], plan[first : first + per_gpu])
    for slot in range(slots):
        if plan[slot] != target[slot] and may_hold(plan, begun, counts, slot, target[slot]):
            return slot, int(target[slot])
    for slot in range(slots):
        if plan[slot] == target[slot]:
            continue
        for other in range(slots):
            wrong = plan[other] != target[other]
            if (
                wrong
                and plan[other] == target[slot]
                and may_swap(plan, begun, slot, other, per_gpu)
            ):
                return slot, experts + other
    return -1, -1
