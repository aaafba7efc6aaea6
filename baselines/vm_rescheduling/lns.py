"""Large neighbourhood search: patterns for the whole fleet, then repair, then local search.

The first neighbourhood is the whole fleet, as a choice of patterns (column generation); in most
fleets its plan meets its own bound and the search ends there, proven optimal. Where anti-affinity,
scarce memory or GPU, the order of moves or other terms of the objective stand in the way, the rest
of the time alternates two neighbourhoods: swaps and moves under annealing, and all plans that
begin with a random prefix of the best one (patterns again, for the moves left).
"""

import time
from dataclasses import replace

import numpy as np

from fleetgym.baselines.vm_rescheduling.annealing import CHUNK, Annealer
from fleetgym.baselines.vm_rescheduling.column_generation import EXACT, Master, small_enough
from fleetgym.baselines.vm_rescheduling.goal import best_prefix
from fleetgym.baselines.vm_rescheduling.patterns import machine_classes
from fleetgym.baselines.vm_rescheduling.placement import Kinds, kinds_of, move, placement_of
from fleetgym.baselines.vm_rescheduling.problem import NO_MOVES, Moves, Problem
from fleetgym.baselines.vm_rescheduling.realise import changes_of, machines_of, realise

ORDERS = 8  # draws of machines and orders for one choice of patterns
RELAX, CHOOSE = 0.45, 0.85  # shares of the time after which the linear, the integer master stop
BURST = 100  # chunks of one annealing
WARM, COLD = 0.4, 0.02  # its temperatures, in units of the annealer


class Clock:
    """A budget of seconds, counted from its creation."""

    def __init__(self, seconds: float) -> None:
        self.start, self.seconds = time.perf_counter(), seconds

    def at(self, share: float) -> float:
        """The instant when a share of the budget is spent."""
        return self.start + share * self.seconds

    def left(self, share: float = 1.0) -> bool:
        """Whether that share is not spent yet."""
        return time.perf_counter() < self.at(share)


def after(problem: Problem, kinds: Kinds, moves: Moves) -> Problem:
    """The problem after legal moves, with the moves left after them."""
    now = placement_of(problem, kinds)
    for vm, slot in moves:
        move(now, int(vm), int(slot))
    free = now.free.astype(np.int32)
    return replace(
        problem,
        free_cores=free[:, 0].copy(),
        free_memory=free[:, 1].copy(),
        free_gpu=free[:, 2].copy(),
        vm_slot=now.vm_slot.astype(np.int32),
        moves_left=problem.moves_left - len(moves),
    )


def by_patterns(
    problem: Problem, kinds: Kinds, rng: np.random.Generator, relax: float, choose: float
) -> tuple[Moves, float, bool]:
    """The plan of one choice of patterns.

    Args:
        problem: where the fleet stands.
        kinds: its types.
        rng: for the draw of machines and orders.
        relax: instant at which column generation stops.
        choose: instant at which the integer master stops.

    Returns:
        Moves, by how much they lower the objective, and whether nothing can lower it more.
    """
    classes = machine_classes(problem)
    if not small_enough(problem, classes):
        return NO_MOVES, 0.0, False
    master = Master(problem, classes)
    choice = master.choose(master.relax(relax), choose)
    best, gain = NO_MOVES, 0.0
    for _ in range(ORDERS):
        change = changes_of(classes, choice, machines_of(classes, choice, rng))
        moves, lowered = best_prefix(problem, kinds, realise(problem, kinds, change, rng))
        if lowered > gain + 1e-12:
            best, gain = moves, lowered
        if gain >= choice.gain * master.gains.scale - 1e-9:
            break
    goal = problem.objective
    others = goal.weight_memory or goal.weight_gpu or goal.weight_active
    proven = not others and gain >= (master.ceiling - EXACT) * master.gains.scale
    return best, gain, proven


def by_annealing(
    problem: Problem, kinds: Kinds, rng: np.random.Generator, start: Moves, clock: Clock
) -> Moves:
    """A plan near that of ``start``, by moves and swaps at falling temperature."""
    annealer = Annealer(problem, kinds, rng, start)
    for chunk in range(BURST):
        if not clock.left(0.95):
            break
        annealer.run(CHUNK, WARM * (COLD / WARM) ** (chunk / BURST))
    return annealer.plan()


def search(problem: Problem, rounds: int, seed: int, seconds: float = np.inf) -> Moves:
    """The search for a number of rounds, deterministic unless the seconds end first.

    Args:
        problem: where the fleet stands.
        rounds: of one neighbourhood after the first plan.
        seed: of all draws.
        seconds: wall-clock budget.

    Returns:
        (K, 2) moves, never worse than none.
    """
    if not len(problem.vm_slot) or problem.moves_left < 1:
        return NO_MOVES
    clock, rng, kinds = Clock(seconds), np.random.default_rng(seed), kinds_of(problem)
    best, gain, proven = by_patterns(problem, kinds, rng, clock.at(RELAX), clock.at(CHOOSE))
    for turn in range(rounds):
        if proven or not clock.left():
            break
        if turn % 2 == 0:
            found = by_annealing(problem, kinds, rng, best, clock)
        else:
            keep = best[: int(rng.integers(len(best) + 1))]
            rest = after(problem, kinds, keep)
            end = clock.at(1.0)
            found = np.concatenate([keep, by_patterns(rest, kinds, rng, end, end)[0]])
        found, lowered = best_prefix(problem, kinds, found)
        if lowered >= gain - 1e-12:
            best, gain = found, lowered
    return best


def plan(problem: Problem, seconds: float, seed: int) -> Moves:
    """The strongest plan found in the time; returns early where it is proven optimal.

    Args:
        problem: where the fleet stands.
        seconds: wall-clock budget.
        seed: of all draws.

    Returns:
        (K, 2) moves, never worse than none.
    """
    return search(problem, rounds=2**31, seed=seed, seconds=seconds)
