"""How urgent tasks are: upward and downward ranks, and PEFT's optimistic cost table."""

import numpy as np

from fleetgym.baselines.mec_offloading.problem import FORBIDDEN, Float64, Int32, Problem


def mean_duration(problem: Problem) -> Float64:
    """w: ``(N,)`` ns, mean over the places where the task may run."""
    allowed = problem.duration < FORBIDDEN
    total = np.where(allowed, problem.duration, 0).sum(axis=1)
    return np.asarray(total / allowed.sum(axis=1), np.float64)


def mean_transfer(problem: Problem) -> Float64:
    """c: ``(E,)`` ns, mean over the pairs of different places where the two ends may run."""
    allowed = problem.duration < FORBIDDEN
    apart = 1 - np.eye(allowed.shape[1])
    pairs = allowed[problem.parent][:, :, None] & allowed[problem.child][:, None, :]
    share = pairs * apart
    total = (problem.transfer * share).sum(axis=(1, 2))
    return np.asarray(total / np.maximum(share.sum(axis=(1, 2)), 1), np.float64)


def mean_tail(problem: Problem) -> Float64:
    """``(N,)`` ns, mean of the tail over the places where the task may run."""
    allowed = problem.duration < FORBIDDEN
    total = np.where(allowed, problem.tail, 0).sum(axis=1)
    return np.asarray(total / allowed.sum(axis=1), np.float64)


def upward(problem: Problem) -> Float64:
    """rank_u(i) = w_i + max over children j of (c_ij + rank_u(j)), and an exit's tail.

    Topcuoglu, Hariri and Wu, TPDS 13(3), 2002, equation 5.

    Returns:
        ``(N,)`` ns.
    """
    w, c, after = mean_duration(problem), mean_transfer(problem), mean_tail(problem)
    for i in range(len(w) - 1, -1, -1):
        for k in range(problem.first_out[i], problem.first_out[i + 1]):
            e = problem.out_edge[k]
            after[i] = max(after[i], c[e] + after[problem.child[e]])
        after[i] += w[i]
    return after


def downward(problem: Problem) -> Float64:
    """rank_d(i) = max over parents j of (rank_d(j) + w_j + c_ji), 0 at an entry.

    Topcuoglu, Hariri and Wu 2002, equation 7.

    Returns:
        ``(N,)`` ns.
    """
    w, c = mean_duration(problem), mean_transfer(problem)
    before = np.zeros(len(w))
    for e, (i, j) in enumerate(zip(problem.parent, problem.child, strict=True)):
        before[j] = max(before[j], before[i] + w[i] + c[e])
    return before


def optimistic_cost(problem: Problem) -> Float64:
    """OCT(i, p): the least time from the end of i at p to the exit, were cores always free.

    The maximum over children j of the least over their places q of OCT(j, q) + w(j, q) + c_ij,
    with c_ij the mean transfer and 0 where q is p; an exit's is its tail. Arabnejad and Barbosa,
    TPDS 25(3), 2014, equation 5.

    Returns:
        ``(N, Q)`` ns.
    """
    c = mean_transfer(problem)
    n, q = problem.duration.shape
    apart = 1 - np.eye(q)
    table = problem.tail.astype(np.float64)
    through = np.where(problem.duration < FORBIDDEN, problem.duration, np.inf)
    for i in range(n - 1, -1, -1):
        for k in range(problem.first_out[i], problem.first_out[i + 1]):
            e = problem.out_edge[k]
            j = problem.child[e]
            to_exit = (table[j] + through[j])[None, :] + c[e] * apart
            np.maximum(table[i], to_exit.min(axis=1), out=table[i])
    return table


def without_noise(rank: Float64) -> Float64:
    """Ranks to a 1,024th of a nanosecond: sums of the same thirds in another order are a tie."""
    return np.asarray(np.round(rank * 1024) / 1024, np.float64)


def ready_order(problem: Problem, priority: Float64) -> Int32:
    """``(N,)`` tasks as a ready list gives them out, the highest priority first, ties by number."""
    n = len(problem.app)
    priority = without_noise(priority)
    waiting = np.diff(problem.first_in)
    ready = [int(i) for i in np.flatnonzero(waiting == 0)]
    order = np.empty(n, np.int32)
    for at in range(n):
        best = min(ready, key=lambda i: (-priority[i], i))
        ready.remove(best)
        order[at] = best
        for k in range(problem.first_out[best], problem.first_out[best + 1]):
            j = int(problem.child[problem.out_edge[k]])
            waiting[j] -= 1
            if not waiting[j]:
                ready.append(j)
    return order
