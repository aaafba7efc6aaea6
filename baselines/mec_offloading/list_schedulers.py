"""List schedulers of the literature: HEFT, CPOP, PEFT, and EDF."""

from collections.abc import Callable

import numpy as np

from fleetgym.baselines.mec_offloading.insertion import ANYWHERE, schedule_in_order
from fleetgym.baselines.mec_offloading.problem import (
    FORBIDDEN,
    Float64,
    Int32,
    Problem,
    Schedule,
)
from fleetgym.baselines.mec_offloading.ranks import (
    downward,
    mean_duration,
    mean_transfer,
    optimistic_cost,
    ready_order,
    upward,
    without_noise,
)

ListScheduler = Callable[[Problem], Schedule]


def heft(problem: Problem) -> Schedule:
    """Heterogeneous earliest finish time: by falling upward rank, each where it ends first.

    Topcuoglu, Hariri and Wu, TPDS 13(3), 2002, figure 2, with insertion. The end counts with what
    the result takes to reach the user.
    """
    return schedule_in_order(problem, ready_order(problem, upward(problem)), _tail(problem))


def cpop(problem: Problem) -> Schedule:
    """Critical path on a processor: the critical path at one place, the rest where it ends first.

    Topcuoglu, Hariri and Wu 2002, figure 3. The place is that where the path takes least, among
    those where all of it may run; where there is none, its tasks are placed like the others.
    """
    up, down = upward(problem), downward(problem)
    given = np.full(len(up), ANYWHERE, np.int32)
    path = critical_path(problem, up)
    length = problem.duration[path].sum(axis=0, where=problem.duration[path] < FORBIDDEN)
    allowed = (problem.duration[path] < FORBIDDEN).all(axis=0)
    if allowed.any():
        given[path] = int(np.argmin(np.where(allowed, length, FORBIDDEN)))
    return schedule_in_order(problem, ready_order(problem, up + down), _tail(problem), given)


def peft(problem: Problem) -> Schedule:
    """Predict earliest finish time: by mean OCT, each where its end plus OCT is least.

    Arabnejad and Barbosa, TPDS 25(3), 2014, algorithm 1, with insertion.
    """
    table = optimistic_cost(problem)
    allowed = problem.duration < FORBIDDEN
    rank = np.where(allowed, table, 0).sum(axis=1) / allowed.sum(axis=1)
    return schedule_in_order(problem, ready_order(problem, rank), table)


def edf(problem: Problem, deadline: Float64) -> Schedule:
    """Earliest deadline first: each task where it ends first.

    A task's deadline is its application's, less what follows it on average: D - rank_u(i) + w_i.

    Args:
        problem: any.
        deadline: ``(A,)`` ns of each application.
    """
    due = deadline[problem.app] - upward(problem) + mean_duration(problem)
    return schedule_in_order(problem, ready_order(problem, -due), _tail(problem))


def critical_path(problem: Problem, up: Float64) -> Int32:
    """Tasks from the entry of greatest upward rank to an exit, each the child that decides it."""
    transfer = mean_transfer(problem)
    entries = np.flatnonzero(np.diff(problem.first_in) == 0)
    at = int(entries[np.argmax(without_noise(up[entries]))])
    path = [at]
    while problem.first_out[at] < problem.first_out[at + 1]:
        edges = problem.out_edge[problem.first_out[at] : problem.first_out[at + 1]]
        children = problem.child[edges]
        at = int(children[np.argmax(without_noise(transfer[edges] + up[children]))])
        path.append(at)
    return np.array(path, np.int32)


def _tail(problem: Problem) -> Float64:
    return problem.tail.astype(np.float64)
