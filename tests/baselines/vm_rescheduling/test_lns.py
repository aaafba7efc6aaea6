"""The pattern search: legal plans, known optima, bounds that hold."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from fleetgym.baselines.vm_rescheduling import lns
from fleetgym.baselines.vm_rescheduling.column_generation import Master
from fleetgym.baselines.vm_rescheduling.patterns import machine_classes
from fleetgym.baselines.vm_rescheduling.problem import Moves, Problem
from fleetgym.envs.vm_rescheduling.objective import Objective

CORES, MEMORY = 44, 184_388


def fleet(vms, pms, moves_left, objective=None, memory=MEMORY, groups=(), group_max=()):
    """A problem of (slot, cores, double) VMs with 2 GiB a core."""
    slot, cores, double = (np.array(column) for column in zip(*vms, strict=True))
    free = np.full(2 * pms, CORES)
    np.subtract.at(free, slot, cores)
    np.subtract.at(free, slot[double] + 1, cores[double])
    none = np.zeros(len(vms), np.int32)
    return Problem(
        free_cores=free.astype(np.int32),
        free_memory=(memory - 2048 * (CORES - free)).astype(np.int32),
        free_gpu=np.zeros(2 * pms, np.int32),
        vm_slot=slot.astype(np.int32),
        vm_cores=cores.astype(np.int32),
        vm_memory=(2048 * cores).astype(np.int32),
        vm_gpu=none,
        vm_double=double.astype(bool),
        vm_movable=np.ones(len(vms), bool),
        vm_group=np.array(groups or none - 1, np.int32),
        group_max=np.array(group_max, np.int32),
        moves_left=moves_left,
        objective=objective or Objective(),
    )


def random_fleet(seed, pms=4, moves_left=4, fill=0.85, **options):
    """Machines filled at random with the real sizes."""
    rng = np.random.default_rng(seed)
    free, vms = np.full(2 * pms, CORES), []
    while free.sum() > (1 - fill) * len(free) * CORES:
        cores, double = int(rng.choice([2, 4, 4, 8, 16])), bool(rng.random() < 0.15)
        slot = int(rng.integers(pms)) * 2 if double else int(rng.integers(2 * pms))
        nodes = slice(slot, slot + 1 + double)
        if (free[nodes] >= cores).all():
            free[nodes] -= cores
            vms.append((slot, cores, double))
    return fleet(vms, pms, moves_left, **options)


def replay(problem: Problem, moves: Moves) -> Problem:
    """Every move through ``Problem.moved``, which refuses illegal ones and too many."""
    for vm, slot in moves:
        problem = problem.moved(int(vm), int(slot))
    return problem


def best_by_brute_force(problem: Problem) -> float:
    """The least fragment rate over all sequences of moves."""
    best = problem.fragment_rate()
    if problem.moves_left:
        for vm in range(len(problem.vm_slot)):
            for slot in problem.legal_targets(vm):
                best = min(best, best_by_brute_force(problem.moved(vm, int(slot))))
    return best


def bound(problem: Problem) -> float:
    """No plan gets below this fragment rate."""
    master = Master(problem, machine_classes(problem))
    master.relax(np.inf)
    return problem.fragment_rate() - master.ceiling * master.gains.scale


@pytest.mark.parametrize("seed", range(6))
def test_reaches_the_optimum_that_brute_force_finds(seed: int) -> None:
    problem = random_fleet(seed, pms=2, moves_left=2, fill=0.8)
    optimum = best_by_brute_force(problem)
    found = replay(problem, lns.search(problem, rounds=4, seed=0)).fragment_rate()
    assert found == pytest.approx(optimum)
    assert bound(problem) <= optimum + 1e-9


def test_takes_a_chain_through_a_hole_that_opens_on_the_way() -> None:
    # Nodes with 4, 12 and 8 free cores: only the 8 of node 2 and the 4 of node 1 together help.
    problem = fleet(
        [(0, 36, False), (0, 4, False), (1, 28, False), (1, 4, False), (2, 44, False)],
        pms=2, moves_left=1,
    )  # fmt: skip
    assert replay(problem, lns.search(problem, 2, 0)).fragment_rate() == pytest.approx(
        best_by_brute_force(problem)
    )


@pytest.mark.parametrize(("seed", "movable", "limit"), list(product(range(3), (1.0, 0.5), (3, 12))))
def test_plans_are_legal_and_never_worse(seed: int, movable: float, limit: int) -> None:
    problem = random_fleet(seed, pms=12, moves_left=limit)
    allowed = np.random.default_rng(seed).random(len(problem.vm_slot)) < movable
    problem = replace(problem, vm_movable=allowed)
    moves = lns.search(problem, rounds=2, seed=seed)
    end = replay(problem, moves)
    assert bound(problem) - 1e-9 <= end.fragment_rate() <= problem.fragment_rate()
    assert moves.dtype == np.int32


@pytest.mark.parametrize("seed", range(3))
def test_anti_affinity_holds_all_the_way(seed: int) -> None:
    problem = random_fleet(seed, pms=10, moves_left=10)
    rng = np.random.default_rng(seed)
    group = rng.integers(-1, 4, len(problem.vm_slot)).astype(np.int32)
    load = np.zeros((4, 10), int)
    grouped = group >= 0
    np.add.at(load, (group[grouped], problem.vm_slot[grouped] // 2), 1)
    problem = replace(problem, vm_group=group, group_max=load.max(axis=1).astype(np.int32))
    end = replay(problem, lns.search(problem, rounds=2, seed=0))
    assert end.fragment_rate() < problem.fragment_rate()


@pytest.mark.parametrize("seed", range(3))
def test_scarce_memory_is_respected(seed: int) -> None:
    problem = random_fleet(seed, pms=8, moves_left=8, memory=2048 * 40 + 6_000, fill=0.7)
    assert machine_classes(problem).scarce
    end = replay(problem, lns.search(problem, rounds=2, seed=0))
    assert end.fragment_rate() <= problem.fragment_rate()


def test_other_terms_count_pairs_and_traffic() -> None:
    # Both nodes of machine 0 lack 4 cores for a pair of 32; nothing else gains.
    vms = [(0, 12, False), (0, 4, False), (1, 12, False), (1, 4, False), (2, 36, False),
           (3, 36, False)]  # fmt: skip
    goal = Objective(weight_fragment=0.0, weight_pair=1.0)
    problem = fleet(vms, pms=2, moves_left=2, objective=goal)
    assert len(lns.search(problem, 0, 0)) == 2
    dear = replace(problem, objective=replace(goal, weight_traffic=100.0))
    assert len(lns.search(dear, 2, 0)) == 0


def test_an_objective_without_patterns_is_left_to_local_search() -> None:
    goal = Objective(weight_fragment=0.0, weight_active=1.0)
    problem = fleet([(0, 4, False), (2, 40, False)], 2, 1, objective=goal)
    moves = lns.search(problem, rounds=1, seed=0)
    assert len(set(replay(problem, moves).vm_slot // 2)) == 1


def test_same_seed_same_plan() -> None:
    problem = random_fleet(5, pms=10, moves_left=10)
    first, second = (lns.search(problem, rounds=3, seed=7) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("seconds", [0.0, 0.2])
def test_plan_with_a_clock_is_legal(seconds: float) -> None:
    problem = random_fleet(1, pms=10, moves_left=6)
    end = replay(problem, lns.plan(problem, seconds, 0))
    assert end.fragment_rate() <= problem.fragment_rate()


def test_nothing_to_move() -> None:
    problem = random_fleet(0)
    assert lns.plan(replace(problem, moves_left=0), 1.0, 0).shape == (0, 2)
    still = replace(problem, vm_movable=np.zeros_like(problem.vm_movable))
    assert lns.search(still, 2, 0).shape == (0, 2)
