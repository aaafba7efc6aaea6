"""Simulated annealing and tabu search over orders and places."""

from typing import NamedTuple

import numpy as np

from fleetgym.baselines.mec_offloading.decoding import (
    Room,
    Solution,
    allowed_places,
    copy_row,
    decode,
    room_for,
    solution_of,
)
from fleetgym.baselines.mec_offloading.list_schedulers import heft
from fleetgym.baselines.mec_offloading.moves import change_place, change_turn, shift
from fleetgym.baselines.mec_offloading.problem import Float64, Int32, Int64, Problem
from fleetgym.baselines.vm_rescheduling.draws import UInt64, below, fresh_state, uniform
from fleetgym.envs.core.jit import kernel

HOT, COLD = 0.05, 0.0005  # temperatures, shares of the first objective
CHUNK = 1000  # neighbours at one temperature
TENURE = 6  # fewest steps for which tabu search keeps a task from a place it left
SAMPLE = 24  # neighbours of which it takes the best


class Walk(NamedTuple):
    """A search that goes from solution to solution."""

    now: Solution
    best: Solution
    cost: Float64  # (2,) of now and of the best
    places: Int32  # (N, Q) legal ones first
    choices: Int32  # (N,) legal places
    until: Int64  # (N, Q + 1) tabu search: step before which a task may not go there, or turn
    steps: Int64  # (1,) made
    room: Room
    state: UInt64  # (1,) of the draws


def start_walk(problem: Problem, seed: int, start: Solution) -> Walk:
    """A walk that begins at a solution."""
    n, places = problem.duration.shape
    room = room_for(problem)
    cost = decode(problem, start, room)
    now, best = (Solution(start.order.copy(), start.place.copy()) for _ in range(2))
    return Walk(
        now, best, np.array([cost, cost]), *allowed_places(problem),
        np.zeros((n, places + 1), np.int64), np.zeros(1, np.int64), room,
        fresh_state(np.random.default_rng(seed)),
    )  # fmt: skip


@kernel
def keep_best(walk: Walk) -> None:
    """Remembers the present solution if there was none as good."""
    if walk.cost[0] < walk.cost[1]:
        walk.cost[1] = walk.cost[0]
        copy_row(walk.now.order, walk.best.order)
        copy_row(walk.now.place, walk.best.place)


@kernel
def anneal_steps(problem: Problem, walk: Walk, steps: int, odds: Float64, heat: float) -> None:
    """Metropolis steps at one temperature.

    Args:
        problem: any.
        walk: moved on.
        steps: neighbours judged.
        odds: ``(K,)`` exp(-x) for x = 0, 1/16, 2/16, ..., since kernels take no exponentials.
        heat: the temperature, in units of the objective.
    """
    now, cost = walk.now, walk.cost
    n = len(now.order)
    for _ in range(steps):
        i, before, source, target = -1, 0, 0, 0
        if uniform(walk.state) < 0.5:
            i = below(walk.state, n)
            before = change_place(walk.places, walk.choices, now, i, walk.state)
        else:
            source, target = change_turn(problem, now.order, walk.state)
        judged = decode(problem, now, walk.room)
        worse = min((judged - cost[0]) / heat * 16, len(odds) - 1.0)
        if worse <= 0 or uniform(walk.state) < odds[int(worse)]:
            cost[0] = judged
            keep_best(walk)
        elif i >= 0:
            now.place[i] = before
        else:
            shift(now.order, target, source)


@kernel
def tabu_steps(problem: Problem, walk: Walk, steps: int) -> None:
    """Steps of tabu search: the best of a sample of neighbours, worse or not, that is not tabu.

    For some steps a task may not return to a place it left, nor change its turn again, unless that
    makes a new best: without the second the search would drift along a plateau for ever.
    """
    now, cost = walk.now, walk.cost
    n, last = len(now.order), walk.until.shape[1] - 1
    for _ in range(steps):
        step = walk.steps[0]
        walk.steps[0] += 1
        least, task, place, source, target = np.inf, -1, 0, 0, 0
        for _ in range(SAMPLE):
            if uniform(walk.state) < 0.5:
                i = below(walk.state, n)
                before = change_place(walk.places, walk.choices, now, i, walk.state)
                there = now.place[i]
                judged = decode(problem, now, walk.room)
                now.place[i] = before
                free = walk.until[i, there] <= step or judged < cost[1]
                if there != before and free and judged < least:
                    least, task, place = judged, i, there
            else:
                a, b = change_turn(problem, now.order, walk.state)
                judged = decode(problem, now, walk.room)
                shift(now.order, b, a)
                free = walk.until[now.order[a], last] <= step or judged < cost[1]
                if a != b and free and judged < least:
                    least, task, source, target = judged, -1, a, b
        if least < np.inf:
            tenure = TENURE + below(walk.state, n)
            if task >= 0:
                walk.until[task, now.place[task]] = step + 1 + tenure
                now.place[task] = place
            else:
                walk.until[now.order[source], last] = step + 1 + tenure
                shift(now.order, source, target)
            cost[0] = least
            keep_best(walk)


ODDS = np.exp(-np.arange(160) / 16)


def anneal(problem: Problem, steps: int, seed: int, start: Solution | None = None) -> Solution:
    """Simulated annealing, cooled geometrically over a number of steps: deterministic.

    Kirkpatrick, Gelatt and Vecchi, Science 220, 1983. Starts from HEFT's schedule.
    """
    walk = start_walk(problem, seed, start or solution_of(heft(problem)))
    chunks = max(1, steps // CHUNK)
    for chunk in range(chunks):
        anneal_steps(problem, walk, max(1, steps // chunks), ODDS, heat(walk, chunk / chunks))
    return walk.best


def heat(walk: Walk, progress: float) -> float:
    """The temperature after a share of the budget, in units of the objective."""
    return max(abs(float(walk.cost[1])), 1e-12) * HOT * float((COLD / HOT) ** progress)


def tabu(problem: Problem, steps: int, seed: int, start: Solution | None = None) -> Solution:
    """Tabu search (Glover, ORSA Journal on Computing 1, 1989) for a number of steps."""
    walk = start_walk(problem, seed, start or solution_of(heft(problem)))
    tabu_steps(problem, walk, steps)
    return walk.best
