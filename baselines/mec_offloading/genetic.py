"""A genetic algorithm over orders and places, from random or from seeded solutions."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fleetgym.baselines.mec_offloading.decoding import (
    Room,
    Solution,
    allowed_places,
    copy_row,
    decode,
    room_for,
    solution_of,
)
from fleetgym.baselines.mec_offloading.list_schedulers import cpop, heft, peft
from fleetgym.baselines.mec_offloading.moves import change_place, change_turn
from fleetgym.baselines.mec_offloading.problem import Float64, Int32, Problem
from fleetgym.baselines.mec_offloading.ranks import ready_order
from fleetgym.baselines.vm_rescheduling.draws import UInt64, below, fresh_state, uniform
from fleetgym.envs.core.jit import inner, kernel

POPULATION = 48
TOURNAMENT = 3  # solutions that compete to be a parent
CROSSOVER = 0.9  # chance that a child has two parents
MUTATIONS = 1.5  # changes of place, and of turn, of a child on average


class Brood(NamedTuple):
    """K solutions now, and K children to come."""

    order: Int32  # (K, N)
    place: Int32  # (K, N)
    cost: Float64  # (K,)
    young_order: Int32  # (K, N)
    young_place: Int32  # (K, N)
    young_cost: Float64  # (K,)
    taken: NDArray[np.bool_]  # (N,) to work in
    places: Int32  # (N, Q) legal ones first
    choices: Int32  # (N,) legal places
    room: Room
    state: UInt64  # (1,) of the draws


@inner
def winner(cost: Float64, state: UInt64) -> int:
    """The cheapest of some solutions drawn at random."""
    best = below(state, len(cost))
    for _ in range(TOURNAMENT - 1):
        other = below(state, len(cost))
        if cost[other] < cost[best]:
            best = other
    return best


@inner
def cross(brood: Brood, one: int, two: int, child: int) -> None:
    """The first tasks of one parent with their places, then the rest as the other has them.

    What begins an order together with the rest of another keeps parents before children, so no
    repair is needed (Wang, Siegel, Roychowdhury and Maciejewski, JPDC 47, 1997).
    """
    n = len(brood.taken)
    cut = below(brood.state, n + 1)
    brood.taken[:] = False
    for k in range(cut):
        i = brood.order[one, k]
        brood.taken[i] = True
        brood.young_order[child, k] = i
        brood.young_place[child, i] = brood.place[one, i]
    at = cut
    for k in range(n):
        i = brood.order[two, k]
        if not brood.taken[i]:
            brood.young_order[child, at] = i
            brood.young_place[child, i] = brood.place[two, i]
            at += 1


@inner
def mutate(problem: Problem, brood: Brood, child: int) -> None:
    """Changes some places and turns of a child."""
    solution = Solution(brood.young_order[child], brood.young_place[child])
    n = len(brood.taken)
    for i in range(n):
        if uniform(brood.state) * n < MUTATIONS:
            change_place(brood.places, brood.choices, solution, i, brood.state)
    for _ in range(n):
        if uniform(brood.state) * n < MUTATIONS:
            change_turn(problem, solution.order, brood.state)


@kernel
def judge(problem: Problem, brood: Brood) -> None:
    """Prices the present solutions."""
    for k in range(len(brood.cost)):
        brood.cost[k] = decode(problem, Solution(brood.order[k], brood.place[k]), brood.room)


@kernel
def evolve(problem: Problem, brood: Brood, generations: int) -> None:
    """Replaces the solutions by their offspring, some generations long; the best lives on."""
    for _ in range(generations):
        best = 0
        for k in range(1, len(brood.cost)):
            best = k if brood.cost[k] < brood.cost[best] else best
        copy_row(brood.order[best], brood.young_order[0])
        copy_row(brood.place[best], brood.young_place[0])
        brood.young_cost[0] = brood.cost[best]
        for k in range(1, len(brood.cost)):
            one = winner(brood.cost, brood.state)
            two = winner(brood.cost, brood.state) if uniform(brood.state) < CROSSOVER else one
            cross(brood, one, two, k)
            mutate(problem, brood, k)
            child = Solution(brood.young_order[k], brood.young_place[k])
            brood.young_cost[k] = decode(problem, child, brood.room)
        for k in range(len(brood.cost)):
            copy_row(brood.young_order[k], brood.order[k])
            copy_row(brood.young_place[k], brood.place[k])
            brood.cost[k] = brood.young_cost[k]


def first_brood(problem: Problem, seed: int, seeds: tuple[Solution, ...]) -> Brood:
    """Random orders and places, some of them replaced by given solutions."""
    rng = np.random.default_rng(seed)
    n = len(problem.app)
    places, choices = allowed_places(problem)
    chosen = (rng.random((POPULATION, n)) * choices).astype(np.int64)
    brood = Brood(
        order=np.stack([ready_order(problem, rng.random(n)) for _ in range(POPULATION)]),
        place=places[np.arange(n), chosen],
        cost=np.zeros(POPULATION),
        young_order=np.zeros((POPULATION, n), np.int32),
        young_place=np.zeros((POPULATION, n), np.int32),
        young_cost=np.zeros(POPULATION),
        taken=np.zeros(n, np.bool_),
        places=places,
        choices=choices,
        room=room_for(problem),
        state=fresh_state(rng),
    )
    for k, solution in enumerate(seeds):
        brood.order[k], brood.place[k] = solution
    judge(problem, brood)
    return brood


def best_of(brood: Brood) -> Solution:
    """The best solution of the present generation."""
    best = int(np.argmin(brood.cost))
    return Solution(brood.order[best].copy(), brood.place[best].copy())


def list_seeds(problem: Problem) -> tuple[Solution, ...]:
    """What HEFT, CPOP and PEFT find."""
    return tuple(solution_of(scheduler(problem)) for scheduler in (heft, cpop, peft))


def breed(problem: Problem, generations: int, seed: int, *, seeded: bool) -> Solution:
    """The genetic algorithm for a number of generations: deterministic.

    Args:
        problem: any.
        generations: how many.
        seed: of all draws.
        seeded: whether HEFT's, CPOP's and PEFT's solutions are in the first generation.
    """
    brood = first_brood(problem, seed, list_seeds(problem) if seeded else ())
    evolve(problem, brood, generations)
    return best_of(brood)
