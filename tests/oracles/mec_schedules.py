"""Static schedules the slow way: what makes one legal, every hole tried, every schedule tried."""

import itertools

import numpy as np

from fleetgym.baselines.mec_offloading.problem import FORBIDDEN, Schedule


def edges_of(problem):
    """(parent, child, transfer[from, to]) of each edge."""
    return list(zip(problem.parent, problem.child, problem.transfer, strict=True))


def cores_of(problem, place):
    return range(problem.first_core[place], problem.first_core[place + 1])


def check(problem, schedule):
    """Asserts all that a schedule must obey; returns its objective."""
    place, core, start, finish = schedule
    for i in range(len(place)):
        assert problem.duration[i, place[i]] < FORBIDDEN
        assert finish[i] == start[i] + problem.duration[i, place[i]]
        assert start[i] >= problem.release[i, place[i]]
        assert core[i] in cores_of(problem, place[i])
        assert start[i] >= problem.free[core[i]]
    for i, j, transfer in edges_of(problem):
        assert start[j] >= finish[i] + transfer[place[i], place[j]]
    for i, j in itertools.combinations(range(len(place)), 2):
        if core[i] == core[j]:
            assert finish[i] <= start[j] or finish[j] <= start[i]
    return objective(problem, place, finish)


def objective(problem, place, finish):
    """Weighted ends of the applications, plus what the tasks' places add."""
    tasks = range(len(place))
    total = sum(problem.price[i, place[i]] for i in tasks)
    for app in set(problem.app.tolist()):
        ends = [finish[i] + problem.tail[i, place[i]] for i in tasks if problem.app[i] == app]
        total += problem.weight[app] * max(ends)
    return total


def insertion_by_hand(problem, order, lookahead):
    """Each task at the place and start, of all whole numbers, where end + lookahead is least."""
    n = len(order)
    place, core = np.full(n, -1), np.full(n, -1)
    start, finish = np.zeros(n, int), np.zeros(n, int)
    placed = []
    for i in order:
        best = None
        for q in range(problem.duration.shape[1]):
            length = problem.duration[i, q]
            if length >= FORBIDDEN:
                continue
            since = problem.release[i, q]
            for a, b, transfer in edges_of(problem):
                if b == i:
                    since = max(since, finish[a] + transfer[place[a], q])
            for c in cores_of(problem, q):
                at = max(since, problem.free[c])
                while any(
                    core[k] == c and at < finish[k] and start[k] < at + length for k in placed
                ):
                    at += 1
                option = (at + length + lookahead[i, q], q, c, at)
                best = option if best is None or option < best else best
        _, place[i], core[i], start[i] = best
        finish[i] = start[i] + problem.duration[i, place[i]]
        placed.append(i)
    return Schedule(place, core, start, finish)


def best_objective(problem):
    """The least objective over every order and place, first come first served."""
    n, places = problem.duration.shape
    least = np.inf
    for order in itertools.permutations(range(n)):
        turn = {i: k for k, i in enumerate(order)}
        if any(turn[i] > turn[j] for i, j, _ in edges_of(problem)):
            continue
        for chosen in itertools.product(range(places), repeat=n):
            if all(problem.duration[i, q] < FORBIDDEN for i, q in enumerate(chosen)):
                least = min(least, objective(problem, chosen, queue(problem, order, chosen)[1]))
    return least


def queue(problem, order, place):
    """Starts and ends where each place serves its tasks in the order given."""
    start, finish = np.zeros(len(order), int), np.zeros(len(order), int)
    free = problem.free.copy()
    for i in order:
        core = min(cores_of(problem, place[i]), key=lambda c: free[c])
        ready = [finish[a] + t[place[a], place[i]] for a, b, t in edges_of(problem) if b == i]
        start[i] = max(problem.release[i, place[i]], free[core], *ready, 0)
        finish[i] = free[core] = start[i] + problem.duration[i, place[i]]
    return start, finish
