"""What an order and places amount to: the search methods' solutions and how they are judged."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fleetgym.baselines.mec_offloading.insertion import arrival, empty_schedule
from fleetgym.baselines.mec_offloading.problem import (
    FORBIDDEN,
    Int32,
    Int64,
    Problem,
    Schedule,
)
from fleetgym.envs.core.jit import inner, kernel


class Room(NamedTuple):
    """Where a solution is decoded."""

    schedule: Schedule
    free: Int64  # (L,) ns, when each core is free
    end: Int64  # (A,) ns, when each application ends


class Solution(NamedTuple):
    """Tasks in the order they queue, parents before children, and the place of each."""

    order: Int32  # (N,)
    place: Int32  # (N,)


@inner
def copy_row(source: NDArray[Any], target: NDArray[Any]) -> None:
    """Copies a row, without the room that Numba's slices would allocate."""
    for k in range(len(source)):
        target[k] = source[k]


@inner
def first_free(problem: Problem, free: Int64, q: int) -> int:
    """The core of place q that is free first, ties to the first."""
    best = problem.first_core[q]
    for core in range(problem.first_core[q] + 1, problem.first_core[q + 1]):
        if free[core] < free[best]:
            best = core
    return int(best)


@inner
def append(problem: Problem, room: Room, i: int, q: int) -> int:
    """Runs task i at place q behind all that queue there; returns its core."""
    schedule = room.schedule
    core = first_free(problem, room.free, q)
    schedule.place[i], schedule.core[i] = q, core
    start = max(arrival(problem, schedule, i, q), room.free[core])
    schedule.start[i] = start
    schedule.finish[i] = start + problem.duration[i, q]
    room.free[core] = schedule.finish[i]
    return core


@kernel
def decode(problem: Problem, solution: Solution, room: Room) -> float:
    """The objective of a solution: each place serves its tasks first come, first served.

    Every schedule that no task can be moved earlier in is some solution's, so the best one is.

    Returns:
        Sum over applications of weight x end (with the tail), plus the prices of the places.
    """
    copy_row(problem.free, room.free)
    room.end[:] = 0
    price = 0.0
    for i in solution.order:
        q = solution.place[i]
        append(problem, room, i, q)
        app = problem.app[i]
        room.end[app] = max(room.end[app], room.schedule.finish[i] + problem.tail[i, q])
        price += problem.price[i, q]
    return price + weighted(problem, room.end)


@inner
def weighted(problem: Problem, end: Int64) -> float:
    """The weighted ends of the applications."""
    total = 0.0
    for a in range(len(end)):
        total += problem.weight[a] * end[a]
    return total


def room_for(problem: Problem) -> Room:
    """Room to decode solutions of a problem."""
    return Room(
        empty_schedule(len(problem.app)),
        np.zeros_like(problem.free),
        np.zeros(len(problem.weight), np.int64),
    )


def objective(problem: Problem, schedule: Schedule) -> float:
    """What `decode` would say of a schedule made in another way."""
    tasks = np.arange(len(problem.app))
    end = np.zeros(len(problem.weight), np.int64)
    np.maximum.at(end, problem.app, schedule.finish + problem.tail[tasks, schedule.place])
    return float(problem.weight @ end + problem.price[tasks, schedule.place].sum())


def solution_of(schedule: Schedule) -> Solution:
    """The solution that decodes to a schedule, or to a better one where holes close."""
    order = np.lexsort((np.arange(len(schedule.start)), schedule.finish, schedule.start))
    return Solution(order.astype(np.int32), schedule.place.astype(np.int32))


def allowed_places(problem: Problem) -> tuple[Int32, Int32]:
    """Where tasks may run: ``(N, Q)`` places, the legal ones first, and ``(N,)`` how many are."""
    legal = problem.duration < FORBIDDEN
    order = np.argsort(~legal, axis=1, kind="stable").astype(np.int32)
    return order, legal.sum(axis=1).astype(np.int32)
