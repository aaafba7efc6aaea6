"""How search methods change a solution: a task to another place, or to another turn."""

from fleetgym.baselines.mec_offloading.decoding import Solution
from fleetgym.baselines.mec_offloading.problem import Int32, Problem
from fleetgym.baselines.vm_rescheduling.draws import UInt64, below
from fleetgym.envs.core.jit import inner


@inner
def turn_of(order: Int32, i: int) -> int:
    """The position of task i."""
    for k in range(len(order)):
        if order[k] == i:
            return k
    return -1


@inner
def shift(order: Int32, source: int, target: int) -> None:
    """Moves the task at one position to another; those between make room."""
    task = order[source]
    step = 1 if target > source else -1
    k = source
    while k != target:
        order[k] = order[k + step]
        k += step
    order[target] = task


@inner
def span(problem: Problem, order: Int32, at: int) -> tuple[int, int]:
    """First and last position that the task at a position may take, the others in order."""
    i = order[at]
    low, high = at, at
    while low > 0 and not has_edge(problem, order[low - 1], i):
        low -= 1
    while high < len(order) - 1 and not has_edge(problem, i, order[high + 1]):
        high += 1
    return low, high


@inner
def has_edge(problem: Problem, i: int, j: int) -> bool:
    """Whether task i is a parent of task j."""
    found = False
    for e in range(problem.first_in[j], problem.first_in[j + 1]):
        found |= problem.parent[e] == i
    return found


@inner
def change_turn(problem: Problem, order: Int32, state: UInt64) -> tuple[int, int]:
    """Moves a random task to a random position that it may take; returns the two positions."""
    source = below(state, len(order))
    low, high = span(problem, order, source)
    target = low + below(state, high - low + 1)
    shift(order, source, target)
    return source, target


@inner
def change_place(places: Int32, choices: Int32, solution: Solution, i: int, state: UInt64) -> int:
    """Gives task i another of its places at random, if it has one; returns the one before."""
    before = int(solution.place[i])
    if choices[i] > 1:
        other = places[i, below(state, choices[i] - 1)]
        solution.place[i] = places[i, choices[i] - 1] if other == before else other
    return before
