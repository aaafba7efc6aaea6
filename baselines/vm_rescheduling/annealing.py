"""Plain simulated annealing over placements, and the search it shares with the LNS."""

import time

import numpy as np

from fleetgym.baselines.vm_rescheduling.draws import fresh_state
from fleetgym.baselines.vm_rescheduling.goal import (
    GPU_CHUNK,
    best_prefix,
    goal_of,
    hosted_of,
    placement_cost,
)
from fleetgym.baselines.vm_rescheduling.placement import Kinds, kinds_of, placement_of
from fleetgym.baselines.vm_rescheduling.problem import NO_MOVES, Moves, Problem
from fleetgym.baselines.vm_rescheduling.realise import displacement_of, realise
from fleetgym.baselines.vm_rescheduling.search_kernels import Search, anneal_steps, relocate

CHUNK = 5_000  # neighbours at one temperature, between two looks at the clock
HOT, COLD = 1.0, 0.02  # temperatures, in halves of a slot: the usual step of the objective
RESTARTS = 8  # orders tried to make a placement happen


class Annealer:
    """A placement under search, from the problem's own or from one that moves lead to."""

    def __init__(
        self, problem: Problem, kinds: Kinds, rng: np.random.Generator, start: Moves = NO_MOVES
    ) -> None:
        self.problem, self.kinds, self.rng = problem, kinds, rng
        self.state = fresh_state(rng)
        self.goal = goal_of(problem, kinds)
        vms = len(problem.vm_slot)
        self.search = Search(
            now=placement_of(problem, kinds),
            home=problem.vm_slot.astype(np.int64),
            hosted=hosted_of(problem),
            away=np.zeros(vms, np.int64),
            away_at=np.full(vms, -1, np.int64),
            number=np.zeros(1, np.int64),
        )
        self.cost = placement_cost(self.search.now.free, self.search.hosted, self.goal)
        for vm, slot in start:
            self.cost += relocate(self.search, self.goal, int(vm), int(slot))
        self.best, self.best_slot = self.cost, self.search.now.vm_slot.copy()

    @property
    def unit(self) -> float:
        """Half a slot's worth of the objective: what temperatures are measured in."""
        goal = self.goal
        cores = goal.fragment_cores * (goal.fragment + goal.pair)
        other = goal.memory_chunk * goal.memory + GPU_CHUNK * goal.gpu + goal.active
        return (cores + other) / 2 or 1.0

    def run(self, steps: int, heat: float) -> None:
        """Anneals for a number of neighbours at a temperature in units."""
        self.cost, self.best = anneal_steps(
            self.search, self.goal, self.problem.moves_left, steps, heat * self.unit, self.state,
            self.cost, self.best, self.best_slot,
        )  # fmt: skip

    def plan(self) -> Moves:
        """Moves towards the best placement seen: the best of some orders and of their prefixes."""
        change = displacement_of(self.problem, self.kinds, self.best_slot)
        start = placement_cost(
            placement_of(self.problem, self.kinds).free, hosted_of(self.problem), self.goal
        )
        best, gain = NO_MOVES, 0.0
        for _ in range(RESTARTS):
            moves = realise(self.problem, self.kinds, change, self.rng)
            moves, lowered = best_prefix(self.problem, self.kinds, moves)
            if lowered > gain + 1e-12:
                best, gain = moves, lowered
            if gain >= start - self.best - 1e-12:
                break
        return best


def temperature(progress: float) -> float:
    """Geometric cooling, in units, for the share of the budget spent."""
    return float(HOT * (COLD / HOT) ** min(progress, 1.0))


def anneal(problem: Problem, chunks: int, seed: int) -> Moves:
    """Simulated annealing for a number of chunks of ``CHUNK`` neighbours: deterministic."""
    if not len(problem.vm_slot) or problem.moves_left < 1:
        return NO_MOVES
    annealer = Annealer(problem, kinds_of(problem), np.random.default_rng(seed))
    for chunk in range(chunks):
        annealer.run(CHUNK, temperature(chunk / chunks))
    return annealer.plan()


def plan(problem: Problem, seconds: float, seed: int) -> Moves:
    """Simulated annealing that cools down as the time runs out.

    Kirkpatrick, Gelatt and Vecchi, Science 220 (1983). A neighbour moves a VM to a random slot, or
    home, or exchanges two; a placement displaces at most ``moves_left`` VMs.

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
    annealer = Annealer(problem, kinds_of(problem), np.random.default_rng(seed))
    while (spent := time.perf_counter() - start) < 0.95 * seconds:
        annealer.run(CHUNK, temperature(spent / seconds))
    return annealer.plan()
