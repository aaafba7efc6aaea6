"""The exact solver for few tasks: every order and place, less what a bound rules out."""

from typing import NamedTuple

import numpy as np

from fleetgym.baselines.mec_offloading.bounds import lower_bound
from fleetgym.baselines.mec_offloading.decoding import (
    Room,
    Solution,
    copy_row,
    decode,
    first_free,
    room_for,
    solution_of,
)
from fleetgym.baselines.mec_offloading.insertion import arrival
from fleetgym.baselines.mec_offloading.list_schedulers import heft
from fleetgym.baselines.mec_offloading.problem import (
    FORBIDDEN,
    Float64,
    Int32,
    Int64,
    Problem,
)
from fleetgym.envs.core.errors import PolicyError
from fleetgym.envs.core.jit import inner, kernel

MAX_TASKS = 24
NODES = 20_000_000  # most partial schedules looked at
EXACT = 1e-9  # of the objective: what counts as no better


class Tree(NamedTuple):
    """Where the search stands: the tasks placed so far, by depth."""

    order: Int32  # (N,) tasks placed
    choice: Int64  # (N + 1,) task x Q + place to be tried next at a depth
    core: Int32  # (N,) taken
    was_free: Int64  # (N,) ns at which that core was free before
    placed: Int32  # (N,) 1 where a task is
    waiting: Int32  # (N,) parents of a task not placed yet
    early: Int64  # (N, Q) ns, before which a task cannot end at a place
    best: Solution
    least: Float64  # (1,) its objective
    room: Room


@inner
def bound(problem: Problem, tree: Tree, since: int) -> float:
    """No schedule that goes on from here has less; what is to come starts at ``since`` at best."""
    room, early = tree.room, tree.early
    n, places = problem.duration.shape
    room.end[:] = 0
    price = 0.0
    for i in range(n):
        if tree.placed[i]:
            q = room.schedule.place[i]
            end = room.schedule.finish[i] + problem.tail[i, q]
            price += problem.price[i, q]
        else:
            end, cheapest = FORBIDDEN, np.inf
            for q in range(places):
                early[i, q] = FORBIDDEN
                if problem.duration[i, q] < FORBIDDEN:
                    early[i, q] = earliest(problem, tree, i, q, since)
                    end = min(end, early[i, q] + problem.tail[i, q])
                    cheapest = min(cheapest, problem.price[i, q])
            price += cheapest
        room.end[problem.app[i]] = max(room.end[problem.app[i]], end)
    total = price
    for a in range(len(room.end)):
        total += problem.weight[a] * room.end[a]
    return total


@inner
def earliest(problem: Problem, tree: Tree, i: int, q: int, since: int) -> int:
    """Before which a task not placed yet cannot end at place q, ns."""
    schedule = tree.room.schedule
    at = max(since, problem.release[i, q])
    at = max(at, tree.room.free[first_free(problem, tree.room.free, q)])
    for e in range(problem.first_in[i], problem.first_in[i + 1]):
        j = problem.parent[e]
        if tree.placed[j]:
            comes = schedule.finish[j] + problem.transfer[e, schedule.place[j], q]
        else:
            comes = FORBIDDEN
            for p in range(problem.duration.shape[1]):
                if tree.early[j, p] < FORBIDDEN:
                    comes = min(comes, tree.early[j, p] + problem.transfer[e, p, q])
        at = max(at, comes)
    return int(at + problem.duration[i, q])


@inner
def put(problem: Problem, tree: Tree, depth: int, i: int, q: int, start: int) -> None:
    """Places task i at place q."""
    room = tree.room
    core = first_free(problem, room.free, q)
    tree.order[depth], tree.core[depth], tree.was_free[depth] = i, core, room.free[core]
    room.schedule.place[i] = q
    room.schedule.start[i] = start
    room.schedule.finish[i] = start + problem.duration[i, q]
    room.free[core] = room.schedule.finish[i]
    tree.placed[i] = 1
    settle(problem, tree, i, -1)


@inner
def take_back(problem: Problem, tree: Tree, depth: int) -> None:
    """Undoes the last placing."""
    i = tree.order[depth]
    tree.room.free[tree.core[depth]] = tree.was_free[depth]
    tree.placed[i] = 0
    settle(problem, tree, i, 1)


@inner
def settle(problem: Problem, tree: Tree, i: int, change: int) -> None:
    """Tells the children of a task that it is placed, or is no more."""
    for k in range(problem.first_out[i], problem.first_out[i + 1]):
        tree.waiting[problem.child[problem.out_edge[k]]] += change


@inner
def keep(problem: Problem, tree: Tree, cost: float) -> None:
    """Remembers a whole schedule that is the best so far."""
    tree.least[0] = cost
    copy_row(tree.order, tree.best.order)
    copy_row(tree.room.schedule.place, tree.best.place)


@kernel
def search(problem: Problem, tree: Tree, nodes: int, slack: float) -> int:
    """Tries every order and place by rising start, depth first.

    A best schedule in which nothing can start earlier, its tasks by rising start, is what placing
    them one by one at the first time possible gives: so each task may start no earlier than the one
    placed before it, and the core that is free first is as good as any of its place.

    Args:
        problem: any.
        tree: the best solution known is replaced by a better one.
        nodes: most partial schedules looked at.
        slack: objective by which a solution must be better to count.

    Returns:
        Partial schedules looked at, or -1 if there are more.
    """
    n, places = problem.duration.shape
    depth, seen = 0, 0
    tree.choice[0] = 0
    while depth >= 0:
        if tree.choice[depth] >= n * places:
            depth -= 1
            if depth >= 0:
                take_back(problem, tree, depth)
            continue
        i, q = tree.choice[depth] // places, tree.choice[depth] % places
        tree.choice[depth] += 1
        if tree.placed[i] or tree.waiting[i] or problem.duration[i, q] >= FORBIDDEN:
            continue
        since = tree.room.schedule.start[tree.order[depth - 1]] if depth else 0
        core = first_free(problem, tree.room.free, q)
        start = max(arrival(problem, tree.room.schedule, i, q), tree.room.free[core])
        if start < since:
            continue
        seen += 1
        if seen > nodes:
            return -1
        put(problem, tree, depth, i, q, start)
        cost = bound(problem, tree, start)
        if cost >= tree.least[0] - slack:
            take_back(problem, tree, depth)
        elif depth == n - 1:
            keep(problem, tree, cost)
            take_back(problem, tree, depth)
        else:
            depth += 1
            tree.choice[depth] = 0
    return seen


class Answer(NamedTuple):
    """A solution and its certificate."""

    solution: Solution
    value: float  # its objective
    bound: float  # no schedule has less
    optimal: bool  # they agree


def solve(problem: Problem, start: Solution | None = None, nodes: int = NODES) -> Answer:
    """Minimises the objective by branch and bound.

    Args:
        problem: of at most ``MAX_TASKS`` tasks.
        start: a solution to improve on; HEFT's if left out.
        nodes: most partial schedules looked at; beyond, the answer may not be optimal.

    Raises:
        PolicyError: too many tasks.
    """
    n, places = problem.duration.shape
    if n > MAX_TASKS:
        raise PolicyError(f"{n} tasks are too many for branch and bound; at most {MAX_TASKS}")
    best = start or solution_of(heft(problem))
    room = room_for(problem)
    value = decode(problem, best, room)
    room.free[:] = problem.free
    tree = Tree(
        order=np.zeros(n, np.int32),
        choice=np.zeros(n + 1, np.int64),
        core=np.zeros(n, np.int32),
        was_free=np.zeros(n, np.int64),
        placed=np.zeros(n, np.int32),
        waiting=np.diff(problem.first_in).astype(np.int32),
        early=np.zeros((n, places), np.int64),
        best=Solution(best.order.copy(), best.place.copy()),
        least=np.array([value]),
        room=room,
    )
    done = search(problem, tree, nodes, EXACT * abs(value)) >= 0
    found = float(tree.least[0])
    return Answer(tree.best, found, found if done else min(lower_bound(problem), found), done)
