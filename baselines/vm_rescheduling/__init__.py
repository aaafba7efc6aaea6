"""Planners and policies for VM rescheduling, each runnable by name."""

from functools import partial

from fleetgym.baselines.policy import Baseline, RandomLegal
from fleetgym.baselines.vm_rescheduling import (
    alpha_vbpp,
    annealing,
    exact,
    genetic,
    greedy,
    ha,
    lns,
    pop,
    slot_greedy,
)
from fleetgym.baselines.vm_rescheduling.mcts import MCTS
from fleetgym.baselines.vm_rescheduling.planning import Planner, PlanPolicy
from fleetgym.baselines.vm_rescheduling.problem import NO_MOVES, Moves, Problem


def hold(problem: Problem, seconds: float, seed: int) -> Moves:
    """Migrates nothing."""
    return NO_MOVES


PLANNERS: dict[str, Planner] = {
    "hold": hold,
    "greedy": greedy.plan,
    "ha": ha.plan,
    "slot-greedy": slot_greedy.plan,
    "alpha-vbpp": alpha_vbpp.plan,
    "pop": pop.plan,
    "annealing": annealing.plan,
    "genetic": genetic.plan,
    "lns": lns.plan,
    "exact": exact.plan,
}
SUMMARIES = {
    "hold": "no migration: what doing nothing is worth",
    "greedy": "best single move, while it improves",
    "ha": "ByteDance's filter and score (VMR2L, EuroSys'25), with the memory check it lacks",
    "slot-greedy": "one X-core slot at a time by the fewest moves into holes of other nodes",
    "alpha-vbpp": "take alpha VMs off, pack them again (vector bin packing; VMR2L)",
    "pop": "exact on random parts of the fleet (POP, SOSP'21)",
    "annealing": "simulated annealing",
    "genetic": "genetic algorithm (Sliwko's thesis)",
    "lns": "column generation over patterns of a machine, then local search",
    "exact": "aggregated MIP by HiGHS, decoded into feasible single moves",
}
SECONDS = {"exact": 10.0}


def _policy(name: str, seconds: float, seed: int) -> PlanPolicy:
    return PlanPolicy(name, PLANNERS[name], seconds, seed)


BASELINES: tuple[Baseline, ...] = (
    Baseline("random", "uniform over the legal actions", lambda seconds, seed: RandomLegal(seed)),
    *(
        Baseline(name, SUMMARIES[name], partial(_policy, name), SECONDS.get(name, 1.0))
        for name in PLANNERS
    ),
    Baseline("mcts", "UCT over single migrations, from the best single moves on", MCTS),
)
