"""The exact solver: an integer programme over counts, decoded into legal moves, and its bound.

VMR2L (EuroSys'25, section 3) states the problem with a binary for each VM and target; counts of
interchangeable VMs (`counts`) say the same with a thousandth of the variables.
"""

import time
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import Bounds, LinearConstraint

from fleetgym.baselines.highs import milp
from fleetgym.baselines.vm_rescheduling.board import objective_of
from fleetgym.baselines.vm_rescheduling.bounds import pattern_bound
from fleetgym.baselines.vm_rescheduling.counts import Float64, Programme, programme
from fleetgym.baselines.vm_rescheduling.goal import best_prefix
from fleetgym.baselines.vm_rescheduling.grouped_kinds import grouped_kinds_of
from fleetgym.baselines.vm_rescheduling.ordering import order
from fleetgym.baselines.vm_rescheduling.placement import Int64
from fleetgym.baselines.vm_rescheduling.problem import NO_MOVES, Moves, Problem

EXACT = 1e-6  # of a unit of the programme, or of the objective: less than one slot
BOUND_SECONDS = 1.0  # beyond the time given, for a closer bound where HiGHS leaves a gap
REPAIRS = 6  # times a plan that cannot be ordered is made anew without its cycles


@dataclass(frozen=True, eq=False)
class Solution:
    """A plan and its certificate."""

    moves: Moves
    value: float  # weighted objective after the moves: the fragment rate under default weights
    bound: float  # no plan of at most moves_left moves has less
    optimal: bool  # they agree


def plan(problem: Problem, seconds: float, seed: int) -> Moves:
    """The moves of `solve`."""
    return _search(problem, seconds, seed).moves


def solve(problem: Problem, seconds: float, seed: int = 0) -> Solution:
    """Minimises the weighted objective.

    Args:
        problem: of any weights.
        seconds: of wall time, kept as well as HiGHS does.
        seed: of the order of the moves.
    """
    found = _search(problem, seconds, seed)
    if found.optimal:
        return found
    bound = max(found.bound, pattern_bound(problem, BOUND_SECONDS))
    return replace(found, bound=bound, optimal=found.value <= bound + EXACT)


def _search(problem: Problem, seconds: float, seed: int) -> Solution:
    """What HiGHS finds and proves, made anew without its cycles where it cannot be ordered."""
    deadline = time.perf_counter() + seconds
    kinds = grouped_kinds_of(problem)
    before = objective_of(problem)
    if problem.moves_left < 1 or not problem.vm_movable.any():
        return Solution(NO_MOVES, before, before, True)
    settled = np.zeros(len(problem.free_cores), np.bool_)
    best, best_gain, most_gain, done = NO_MOVES, 0.0, before, False
    for repair in range(1 + REPAIRS):
        stated = programme(problem, settled if repair else None)
        counts, units = _optimum(stated, deadline)
        if not repair:
            most_gain = min(units * stated.unit, before)
        if counts is None:
            break
        counts = _fewest_moves(stated, counts, deadline)
        moves, stuck = order(problem, kinds, _change(stated, counts), seed)
        moves, gain = best_prefix(problem, kinds, moves)
        if gain > best_gain:
            best, best_gain = moves, gain
        done = best_gain >= most_gain - EXACT * stated.unit
        if done or not stuck.any() or time.perf_counter() > deadline:
            break
        settled |= stuck
    return Solution(best, before - best_gain, before - most_gain, done)


def _change(stated: Programme, counts: Float64) -> Int64:
    cells = stated.cells
    return np.stack([cells.kind, cells.place, counts[: len(cells.kind)].astype(np.int64)], axis=1)


def _highs(
    stated: Programme, cost: Float64, lower: Float64, upper: Float64, deadline: float, gap: float,
    also: LinearConstraint | None = None,
) -> tuple[Float64 | None, float]:  # fmt: skip
    """Minimises ``cost``: the best solution found, whole where it must be, and the dual bound."""
    least = np.full(len(stated.limit), -np.inf)
    least[: stated.equal] = stated.limit[: stated.equal]
    constraints = [LinearConstraint(stated.matrix, least, stated.limit)]
    answer = milp(
        cost,
        constraints=constraints if also is None else [*constraints, also],
        bounds=Bounds(lower, upper),
        integrality=stated.integral,
        options={"time_limit": max(deadline - time.perf_counter(), 0.01), "mip_rel_gap": gap},
    )
    dual = answer.get("mip_dual_bound")
    found = None if answer.x is None else np.where(stated.integral, np.round(answer.x), answer.x)
    return found, -np.inf if dual is None else float(dual)


def _optimum(stated: Programme, deadline: float) -> tuple[Float64 | None, float]:
    """Best counts found, and the most units that any plan gains."""
    gap = 0.0 if stated.whole else EXACT
    counts, dual = _highs(stated, -stated.worth, stated.lower, stated.upper, deadline, gap)
    most = min(-dual, float(np.maximum(stated.worth * stated.upper, 0).sum()))
    return counts, float(np.floor(most + EXACT)) if stated.whole else most


def _fewest_moves(stated: Programme, counts: Float64, deadline: float) -> Float64:
    """As good a plan with the fewest moves, among those that change no other cells."""
    still = np.zeros(len(counts), np.bool_)
    still[: len(stated.cells.kind)] = counts[: len(stated.cells.kind)] == 0
    lower, upper = np.where(still, 0, stated.lower), np.where(still, 0, stated.upper)
    moves = np.zeros(len(counts))
    moves[stated.leaving] = 1.0
    gain = float(stated.worth @ counts)
    no_less = LinearConstraint(stated.worth[None], gain - EXACT * max(abs(gain), 1.0), np.inf)
    fewer, _ = _highs(stated, moves, lower, upper, deadline, 0.0, no_less)
    return counts if fewer is None else fewer
