"""A genetic algorithm over plans, after Sliwko's load balancing by migrations."""

import time

import numpy as np

from fleetgym.baselines.vm_rescheduling.draws import fresh_state
from fleetgym.baselines.vm_rescheduling.genetic_kernels import Brood, Rates, evolve, express_all
from fleetgym.baselines.vm_rescheduling.goal import best_prefix, goal_of, hosted_of
from fleetgym.baselines.vm_rescheduling.placement import kinds_of, placement_of
from fleetgym.baselines.vm_rescheduling.problem import NO_MOVES, Moves, Problem

POPULATION = 64


class Population:
    """Plans of ``moves_left`` genes, and the fleet they are expressed on."""

    def __init__(self, problem: Problem, seed: int) -> None:
        self.problem, self.kinds = problem, kinds_of(problem)
        self.state = fresh_state(np.random.default_rng(seed))
        self.now, self.hosted = placement_of(problem, self.kinds), hosted_of(problem)
        self.goal = goal_of(problem, self.kinds)
        shape = (POPULATION, problem.moves_left, 2)
        self.brood = Brood(
            genes=np.full(shape, -1, np.int32),
            cost=np.empty(POPULATION),
            young=np.empty(shape, np.int32),
            price=np.empty(POPULATION),
            origin=np.empty(problem.moves_left, np.int64),
        )
        express_all(self.now, self.hosted, self.goal, self.brood, self.state)

    def evolve(self, generations: int) -> None:
        """Lets that many generations pass."""
        evolve(self.now, self.hosted, self.goal, self.brood, Rates(), generations, self.state)

    def plan(self) -> Moves:
        """The best plan of the generation, without genes that mean nothing."""
        best = self.brood.genes[np.argmin(self.brood.cost)]
        moves, _ = best_prefix(self.problem, self.kinds, best[best[:, 0] >= 0])
        return moves


def breed(problem: Problem, generations: int, seed: int) -> Moves:
    """The genetic algorithm for a number of generations: deterministic."""
    if not len(problem.vm_slot) or problem.moves_left < 1:
        return NO_MOVES
    population = Population(problem, seed)
    population.evolve(generations)
    return population.plan()


def plan(problem: Problem, seconds: float, seed: int) -> Moves:
    """Genetic algorithm: tournament selection, one- and two-point crossover, mutation, repair.

    A chromosome is a sequence of migrations, at most ``moves_left``; a gene that is illegal when
    its turn comes is redrawn a few times and dropped if that does not help (repair).
    Sliwko, "Intelligent load balancing in cloud computing systems" (thesis, Westminster, 2018).

    Args:
        problem: where the fleet stands.
        seconds: wall-clock budget.
        seed: of all draws.

    Returns:
        (K, 2) moves, never worse than none.
    """
    start = time.perf_counter()
    if not len(problem.vm_slot) or problem.moves_left < 1:
        return NO_MOVES
    population = Population(problem, seed)
    while time.perf_counter() - start < 0.95 * seconds:
        population.evolve(1)
    return population.plan()
