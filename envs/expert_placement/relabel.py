"""Fewest copies: which GPU takes which part of a placement, and in which of its slots.

GPUs of a homogeneous pool are interchangeable, so a placement may be relabelled: the parts go to
the GPUs that hold most of them already (an assignment problem, solved by the Hungarian method in
the form of shortest augmenting paths). Within a node only, where nodes must keep their experts.
"""

from fleetgym.envs.core.jit import inner, kernel
from fleetgym.envs.expert_placement.types import Int32, Int64, Scratch

FAR = 1 << 40


@inner
def in_common(part: Int32, held: Int32) -> int:
    """How many entries two small multisets have in common, those of ``part`` counted once each."""
    common = 0
    for i in range(part.shape[0]):
        fresh = True
        for j in range(i):
            if part[j] == part[i]:
                fresh = False
        if fresh:
            for j in range(held.shape[0]):
                if held[j] == part[i]:
                    common += 1
                    break
    return common


@inner
def assign(cost: Int64, size: int, work: Int64) -> None:
    """Least-cost assignment of rows 1..size to columns 1..size.

    Args:
        cost: (size + 1, size + 1) or more; row and column 0 are not looked at.
        size: of the problem.
        work: (6, size + 1) or more; row 0 holds on return the row of each column.
    """
    row_of, way, u, v, least, used = work[0], work[1], work[2], work[3], work[4], work[5]
    for j in range(size + 1):
        row_of[j] = u[j] = v[j] = 0
    for row in range(1, size + 1):
        row_of[0], column = row, 0
        for j in range(size + 1):
            least[j], used[j] = FAR, 0
        while row_of[column] != 0:
            used[column] = 1
            i, delta, following = row_of[column], FAR, 0
            for j in range(1, size + 1):
                if used[j]:
                    continue
                slack = cost[i, j] - u[i] - v[j]
                if slack < least[j]:
                    least[j], way[j] = slack, column
                if least[j] < delta:
                    delta, following = least[j], j
            for j in range(size + 1):
                if used[j]:
                    u[row_of[j]] += delta
                    v[j] -= delta
                else:
                    least[j] -= delta
            column = following
        while column != 0:
            before = way[column]
            row_of[column] = row_of[before]
            column = before


@inner
def align(plan: Int32, held: Int32) -> None:
    """Orders one GPU's part so that what it holds already stays in its slot."""
    for slot in range(plan.shape[0]):
        if plan[slot] == held[slot]:
            continue
        for other in range(plan.shape[0]):
            if plan[other] == held[slot] and plan[other] != held[other]:
                plan[slot], plan[other] = plan[other], plan[slot]
                break


@inner
def relabel_layer(plan: Int32, held: Int32, nodes: int, s: Scratch) -> None:
    """One layer, ``plan`` (R,) against what is ``held`` (R,); parts stay on their node of many."""
    gpus = s.gpu.shape[0]
    per_gpu, size = plan.shape[0] // gpus, gpus // nodes
    spare = s.items[0]
    for slot in range(plan.shape[0]):
        spare[slot] = plan[slot]
    for node in range(nodes):
        first = node * size
        for i in range(size):
            part = plan[(first + i) * per_gpu : (first + i + 1) * per_gpu]
            for j in range(size):
                at = (first + j) * per_gpu
                s.overlap[i + 1, j + 1] = -in_common(part, held[at : at + per_gpu])
        assign(s.overlap, size, s.assign)
        for j in range(size):
            source = (first + s.assign[0, j + 1] - 1) * per_gpu
            target = (first + j) * per_gpu
            for k in range(per_gpu):
                s.items[1, target + k] = spare[source + k]
    for g in range(gpus):
        at = g * per_gpu
        for k in range(per_gpu):
            plan[at + k] = s.items[1, at + k]
        align(plan[at : at + per_gpu], held[at : at + per_gpu])


@kernel
def relabel(plan: Int32, held: Int32, nodes: int, s: Scratch) -> None:
    """Every layer.

    Args:
        plan: (L, R), reordered.
        held: (L, R) what the slots hold now.
        nodes: 1 where a part may go to any GPU.
        s: room to work in.
    """
    for layer in range(plan.shape[0]):
        relabel_layer(plan[layer], held[layer], nodes, s)
