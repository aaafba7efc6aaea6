"""What no schedule can end before: the critical path at the best places, and the cores' time."""

import numpy as np

from fleetgym.baselines.mec_offloading.problem import FORBIDDEN, Float64, Problem


def earliest_finish(problem: Problem) -> Float64:
    """``(N, Q)`` ns, before which no schedule ends a task at a place; infinite where forbidden.

    The longest path to it, each parent at the place that suits this child best, cores always free.
    """
    allowed = problem.duration < FORBIDDEN
    n, q = allowed.shape
    idle = np.array(
        [problem.free[problem.first_core[p] : problem.first_core[p + 1]].min() for p in range(q)]
    )
    finish = np.full((n, q), np.inf)
    for i in range(n):
        start = np.maximum(problem.release[i], idle).astype(np.float64)
        for e in range(problem.first_in[i], problem.first_in[i + 1]):
            arrives = finish[problem.parent[e]][:, None] + problem.transfer[e]
            np.maximum(start, arrives.min(axis=0), out=start)
        finish[i, allowed[i]] = (start + problem.duration[i])[allowed[i]]
    return finish


def critical_path_bound(problem: Problem) -> float:
    """No schedule's objective is less: each application's critical path, and the least prices."""
    ends = (earliest_finish(problem) + problem.tail).min(axis=1)
    last = np.zeros(len(problem.weight))
    np.maximum.at(last, problem.app, ends)
    return float(problem.weight @ last) + _least_price(problem)


def area_bound(problem: Problem) -> float:
    """No schedule's objective is less, were the work water that fills the cores from their start.

    Each task counts with its least duration; of several applications the last to end counts, with
    the least of the weights.
    """
    work = int(problem.duration.min(axis=1).sum())
    free = np.sort(problem.free)
    level = 0.0
    for k in range(1, len(free) + 1):
        level = (work + int(free[:k].sum())) / k
        if k == len(free) or level <= free[k]:
            break
    return level * float(problem.weight.min()) + _least_price(problem)


def lower_bound(problem: Problem) -> float:
    """The larger of the two."""
    return max(critical_path_bound(problem), area_bound(problem))


def _least_price(problem: Problem) -> float:
    allowed = problem.duration < FORBIDDEN
    return float(np.where(allowed, problem.price, np.inf).min(axis=1).sum())
