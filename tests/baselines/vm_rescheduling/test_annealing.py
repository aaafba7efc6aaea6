"""Simulated annealing and the genetic algorithm: what every metaheuristic here must hold."""

from dataclasses import replace

import numpy as np
import pytest

from fleetgym.baselines.vm_rescheduling import annealing, genetic
from fleetgym.baselines.vm_rescheduling.annealing import Annealer
from fleetgym.baselines.vm_rescheduling.goal import goal_of, hosted_of, placement_cost
from fleetgym.baselines.vm_rescheduling.placement import kinds_of
from fleetgym.baselines.vm_rescheduling.problem import Problem
from fleetgym.envs.vm_rescheduling.objective import Objective


def fleet(seed: int, pms: int = 8, moves_left: int = 6, **weights: float) -> Problem:
    """Machines filled at random with the real sizes, some VMs fixed, some in groups."""
    rng = np.random.default_rng(seed)
    free, rows = np.full(2 * pms, 44), []
    while free.sum() > 13 * pms:
        cores, double = int(rng.choice([2, 4, 4, 8, 16])), bool(rng.random() < 0.15)
        slot = int(rng.integers(pms)) * 2 if double else int(rng.integers(2 * pms))
        nodes = slice(slot, slot + 1 + double)
        if (free[nodes] >= cores).all():
            free[nodes] -= cores
            rows.append((slot, cores, double))
    slot, cores, double = (np.array(column) for column in zip(*rows, strict=True))
    group = rng.integers(-1, 3, len(rows)).astype(np.int32)
    load = np.zeros((3, pms), np.int32)
    np.add.at(load, (group[group >= 0], slot[group >= 0] // 2), 1)
    return Problem(
        free_cores=free.astype(np.int32),
        free_memory=(4096 * free).astype(np.int32),
        free_gpu=np.zeros(2 * pms, np.int32),
        vm_slot=slot.astype(np.int32),
        vm_cores=cores.astype(np.int32),
        vm_memory=(4096 * cores).astype(np.int32),
        vm_gpu=np.zeros(len(rows), np.int32),
        vm_double=double,
        vm_movable=rng.random(len(rows)) < 0.9,
        vm_group=group,
        group_max=load.max(axis=1),
        moves_left=moves_left,
        objective=Objective(**weights),
    )


def objective(problem: Problem) -> float:
    """The objective without traffic."""
    free = np.stack([problem.free_cores, problem.free_memory, problem.free_gpu], axis=1)
    goal = goal_of(problem, kinds_of(problem))
    return placement_cost(free.astype(np.int64), hosted_of(problem), goal)


def end_of(problem, moves):
    """The problem after moves that ``Problem.moved`` accepts."""
    for vm, slot in moves:
        problem = problem.moved(int(vm), int(slot))
    return problem


SEARCHES = [
    pytest.param(lambda problem, seed: annealing.anneal(problem, 10, seed), id="annealing"),
    pytest.param(lambda problem, seed: genetic.breed(problem, 60, seed), id="genetic"),
]


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("seed", range(4))
def test_plans_are_legal_and_lower_the_objective(search, seed) -> None:
    problem = fleet(seed, weight_pair=0.3, weight_memory=0.2, weight_active=0.1)
    end = end_of(problem, search(problem, seed))
    assert objective(end) < objective(problem)


@pytest.mark.parametrize("search", SEARCHES)
def test_same_seed_same_plan_and_another_seed_another(search) -> None:
    problem = fleet(1, pms=20, moves_left=10)
    np.testing.assert_array_equal(search(problem, 3), search(problem, 3))
    assert not np.array_equal(search(problem, 3), search(problem, 4))


@pytest.mark.parametrize("search", SEARCHES)
def test_finds_the_one_move_that_helps(search) -> None:
    # Node 0 has 12 free cores and could have 16; only node 1 has room for its 4-core VM.
    problem = replace(
        fleet(0, pms=1, moves_left=1),
        free_cores=np.array([12, 4], np.int32),
        free_memory=np.array([60_000, 60_000], np.int32),
        vm_slot=np.array([0, 0, 1], np.int32),
        vm_cores=np.array([28, 4, 40], np.int32),
        vm_memory=np.array([8, 8, 8], np.int32),
        vm_gpu=np.zeros(3, np.int32),
        vm_double=np.zeros(3, bool),
        vm_movable=np.ones(3, bool),
        vm_group=np.full(3, -1, np.int32),
    )
    moves = search(problem, 0)
    np.testing.assert_array_equal(moves, [[1, 1]])
    assert end_of(problem, moves).fragment_rate() == 0.0


@pytest.mark.parametrize("search", SEARCHES)
def test_traffic_dearer_than_any_gain_keeps_all_at_home(search) -> None:
    assert len(search(fleet(2, weight_traffic=1e3), 0)) == 0


@pytest.mark.parametrize("planner", [annealing.plan, genetic.plan])
@pytest.mark.parametrize("seconds", [0.0, 0.1])
def test_plan_with_a_clock_is_legal(planner, seconds) -> None:
    problem = fleet(3)
    assert objective(end_of(problem, planner(problem, seconds, 0))) <= objective(problem)


@pytest.mark.parametrize("planner", [annealing.plan, genetic.plan])
def test_no_moves_left(planner) -> None:
    assert planner(fleet(0, moves_left=0), 1.0, 0).shape == (0, 2)


def test_the_running_cost_does_not_drift_and_the_limit_holds() -> None:
    problem = fleet(4, weight_pair=0.5, weight_active=0.2, weight_traffic=0.01)
    annealer = Annealer(problem, kinds_of(problem), np.random.default_rng(0))
    for heat in (2.0, 0.5, 0.05):
        annealer.run(5_000, heat)
        search, goal = annealer.search, annealer.goal
        away = np.flatnonzero(search.now.vm_slot != search.home)
        assert set(search.away[: search.number[0]]) == set(away)
        assert len(away) <= problem.moves_left
        cost = placement_cost(search.now.free, search.hosted, goal)
        fees = goal.fee[search.now.vm_type[away]].sum()
        assert annealer.cost == pytest.approx(cost + fees)
        assert (search.now.free >= 0).all()
        assert (search.now.load <= search.now.most[:, None]).all()
