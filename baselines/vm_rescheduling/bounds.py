"""Certified lower bounds on the objective that any plan can reach."""

import time
from dataclasses import replace

import numpy as np

from fleetgym.baselines.highs import linprog
from fleetgym.baselines.vm_rescheduling.board import objective_of
from fleetgym.baselines.vm_rescheduling.column_generation import Master, small_enough
from fleetgym.baselines.vm_rescheduling.counts import programme
from fleetgym.baselines.vm_rescheduling.patterns import machine_classes
from fleetgym.baselines.vm_rescheduling.problem import Problem
from fleetgym.envs.core.errors import PolicyError


def linear_bound(problem: Problem) -> float:
    """The linear relaxation of the exact integer programme: of any weights, and mostly weak.

    Raises:
        PolicyError: HiGHS did not solve it.
    """
    before = objective_of(problem)
    if problem.moves_left < 1 or not problem.vm_movable.any():
        return before
    stated = programme(problem)
    answer = linprog(
        -stated.worth,
        A_eq=stated.matrix[: stated.equal],
        b_eq=stated.limit[: stated.equal],
        A_ub=stated.matrix[stated.equal :],
        b_ub=stated.limit[stated.equal :],
        bounds=np.stack([stated.lower, stated.upper], axis=1),
        method="highs",
    )
    if answer.x is None:
        raise PolicyError(f"HiGHS did not solve the linear relaxation: {answer.message}")
    return max(0.0, before + stated.unit * float(answer.fun))


def pattern_bound(problem: Problem, seconds: float) -> float:
    """The bound of column generation: within a slot or two of the optimum, in a tenth of a second.

    Of the objective's terms it sees fragments, pairs and traffic; the others count as nothing.

    Args:
        problem: of any weights.
        seconds: after which prices are taken as they are; they always bound.
    """
    seen = replace(problem.objective, weight_memory=0.0, weight_gpu=0.0, weight_active=0.0)
    seen_problem = replace(problem, objective=seen)
    before = objective_of(seen_problem)
    if problem.moves_left < 1 or not problem.vm_movable.any():
        return objective_of(problem)
    classes = machine_classes(seen_problem)
    if not small_enough(seen_problem, classes):
        return 0.0
    master = Master(seen_problem, classes)
    master.relax(time.perf_counter() + seconds)
    return max(0.0, before - master.gains.scale * master.ceiling)
