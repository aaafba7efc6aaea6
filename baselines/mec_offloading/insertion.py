"""List scheduling with insertion: a task may fill a hole that earlier ones left on a core."""

from typing import NamedTuple

import numpy as np

from fleetgym.baselines.mec_offloading.problem import (
    FORBIDDEN,
    Float64,
    Int32,
    Int64,
    Problem,
    Schedule,
)
from fleetgym.envs.core.jit import inner, kernel

ANYWHERE = -1  # in place of a place that is given


class Plan(NamedTuple):
    """A schedule as it grows: the tasks of each core by their start."""

    start: Int64  # (L, N) ns
    finish: Int64  # (L, N) ns
    filled: Int32  # (L,) tasks


@inner
def arrival(problem: Problem, schedule: Schedule, i: int, q: int) -> int:
    """When all that task i needs is at place q, ns; its parents have been placed."""
    at = problem.release[i, q]
    for e in range(problem.first_in[i], problem.first_in[i + 1]):
        j = problem.parent[e]
        at = max(at, schedule.finish[j] + problem.transfer[e, schedule.place[j], q])
    return int(at)


@inner
def hole(plan: Plan, core: int, since: int, length: int) -> tuple[int, int]:
    """The first time from ``since`` at which a core is idle for so long, and its row there."""
    start, finish, filled = plan.start[core], plan.finish[core], plan.filled[core]
    at = since
    for k in range(filled):
        if at + length <= start[k]:
            return at, k
        at = max(at, finish[k])
    return at, int(filled)


@inner
def insert(plan: Plan, core: int, row: int, start: int, finish: int) -> None:
    """Puts a task on a core, before the others from ``row`` on."""
    for k in range(plan.filled[core], row, -1):
        plan.start[core, k] = plan.start[core, k - 1]
        plan.finish[core, k] = plan.finish[core, k - 1]
    plan.start[core, row] = start
    plan.finish[core, row] = finish
    plan.filled[core] += 1


@kernel
def place_in_order(
    problem: Problem, order: Int32, given: Int32, lookahead: Float64, plan: Plan, schedule: Schedule
) -> None:
    """Places tasks one by one where (end + lookahead) is least, ties to the first place and core.

    Args:
        problem: as `problem.make` checked it.
        order: ``(N,)`` tasks, parents before children.
        given: ``(N,)`` place of a task, or ANYWHERE.
        lookahead: ``(N, Q)`` ns, added to the end where places are compared: OCT or tail.
        plan: emptied, to work in.
        schedule: written.
    """
    plan.filled[:] = 0
    for i in order:
        best, best_core, best_row, best_start = 0.0, -1, 0, 0
        for q in range(problem.duration.shape[1]):
            length = problem.duration[i, q]
            if length >= FORBIDDEN or (given[i] != ANYWHERE and given[i] != q):
                continue
            since = arrival(problem, schedule, i, q)
            for core in range(problem.first_core[q], problem.first_core[q + 1]):
                start, row = hole(plan, core, max(since, problem.free[core]), length)
                score = start + length + lookahead[i, q]
                if best_core < 0 or score < best:
                    best, best_core, best_row, best_start = score, core, row, start
                    schedule.place[i] = q
                if start == since:
                    break  # no other core of this place can do better
        finish = best_start + problem.duration[i, schedule.place[i]]
        insert(plan, best_core, best_row, best_start, finish)
        schedule.core[i] = best_core
        schedule.start[i] = best_start
        schedule.finish[i] = finish


def schedule_in_order(
    problem: Problem, order: Int32, lookahead: Float64, given: Int32 | None = None
) -> Schedule:
    """The schedule of `place_in_order`."""
    n, cores = len(problem.app), len(problem.free)
    schedule = empty_schedule(n)
    plan = Plan(
        np.empty((cores, n), np.int64), np.empty((cores, n), np.int64), np.zeros(cores, np.int32)
    )
    anywhere = np.full(n, ANYWHERE, np.int32)
    place_in_order(problem, order, anywhere if given is None else given, lookahead, plan, schedule)
    return schedule


def empty_schedule(n: int) -> Schedule:
    """Room for a schedule of n tasks."""
    return Schedule(
        np.zeros(n, np.int32), np.zeros(n, np.int32), np.zeros(n, np.int64), np.zeros(n, np.int64)
    )
