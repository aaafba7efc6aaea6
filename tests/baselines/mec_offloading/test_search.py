"""Search over orders and places: legal solutions, better with more work, the same for a seed."""

import numpy as np
import pytest
from tests.baselines.mec_offloading.examples import random_problem
from tests.oracles.mec_schedules import objective, queue

from fleetgym.baselines.mec_offloading.annealing import (
    anneal,
    start_walk,
    tabu,
    tabu_steps,
)
from fleetgym.baselines.mec_offloading.decoding import (
    Solution,
    decode,
    room_for,
    solution_of,
)
from fleetgym.baselines.mec_offloading.decoding import objective as objective_of
from fleetgym.baselines.mec_offloading.genetic import breed, first_brood, list_seeds
from fleetgym.baselines.mec_offloading.list_schedulers import heft
from fleetgym.baselines.mec_offloading.problem import FORBIDDEN, make
from fleetgym.baselines.mec_offloading.ranks import ready_order
from fleetgym.envs.core.errors import PolicyError

SEARCHES = {
    "annealing": lambda problem, effort, seed: anneal(problem, 2000 * effort, seed),
    "tabu": lambda problem, effort, seed: tabu(problem, 80 * effort, seed),
    "genetic": lambda problem, effort, seed: breed(problem, 40 * effort, seed, seeded=False),
    "seeded": lambda problem, effort, seed: breed(problem, 40 * effort, seed, seeded=True),
}


def legal(problem, solution):
    n = len(problem.app)
    assert sorted(solution.order.tolist()) == list(range(n))
    turn = np.argsort(solution.order)
    assert (turn[problem.parent] < turn[problem.child]).all()
    assert (problem.duration[np.arange(n), solution.place] < FORBIDDEN).all()


@pytest.mark.parametrize("rich", [False, True])
def test_decoding_against_queues_by_hand(rich):
    for seed in range(20):
        problem = random_problem(seed, tasks=15, cores=1 + seed % 3, apps=2, rich=rich)
        rng = np.random.default_rng(seed)
        order = ready_order(problem, rng.random(15))
        place = np.array([rng.choice(np.flatnonzero(row < FORBIDDEN)) for row in problem.duration])
        room = room_for(problem)
        cost = decode(problem, Solution(order, place.astype(np.int32)), room)
        start, finish = queue(problem, order, place)
        assert room.schedule.start.tolist() == start.tolist()
        assert cost == pytest.approx(objective(problem, place, finish))
        assert cost == pytest.approx(objective_of(problem, room.schedule))


def test_a_list_schedule_is_no_worse_as_a_solution():
    for seed in range(20):
        problem = random_problem(seed, tasks=20, cores=1 + seed % 2)
        schedule = heft(problem)
        cost = decode(problem, solution_of(schedule), room_for(problem))
        assert cost <= objective_of(problem, schedule)


@pytest.mark.parametrize("search", SEARCHES)
def test_solutions_are_legal_and_get_better(search):
    room = None
    short, long = [], []
    for seed in range(6):
        problem = random_problem(seed, tasks=25, places=4, cores=2, apps=2, rich=True)
        room = room_for(problem)
        for effort, costs in ((1, short), (20, long)):
            found = SEARCHES[search](problem, effort, seed)
            again = SEARCHES[search](problem, effort, seed)
            legal(problem, found)
            assert found.order.tolist() == again.order.tolist()
            assert found.place.tolist() == again.place.tolist()
            costs.append(decode(problem, found, room))
            if search != "genetic":
                start = decode(problem, solution_of(heft(problem)), room)
                assert costs[-1] <= start
    assert np.mean(long) < np.mean(short)


def test_a_first_brood_is_legal_and_priced():
    problem = random_problem(5, tasks=12, rich=True)
    brood = first_brood(problem, 0, list_seeds(problem))
    for order, place, cost in zip(brood.order, brood.place, brood.cost, strict=True):
        legal(problem, Solution(order, place))
        assert decode(problem, Solution(order, place), room_for(problem)) == cost


def test_tabu_moves_on_from_a_local_optimum():
    problem = random_problem(1, tasks=12)
    walk = start_walk(problem, 0, solution_of(heft(problem)))
    costs = []
    for _ in range(60):
        tabu_steps(problem, walk, 1)
        costs.append(float(walk.cost[0]))
    assert max(np.diff(costs)) > 0, "it goes uphill where all neighbours are worse"
    assert walk.cost[1] == min(costs)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"duration": [1, 2]}, "expected \\(tasks, places\\)"),
        ({"duration": [[1, FORBIDDEN], [FORBIDDEN, FORBIDDEN]]}, "task 1 may run nowhere"),
        ({"duration": [[1, -2], [1, 1]]}, "a duration of -2 ns"),
        ({"edges": [[1, 0]]}, "a parent comes before its children"),
        ({"edges": [[0, 2]]}, "a parent comes before its children"),
        ({"edges": [[0, 1], [0, 1]], "transfer": [1, 1]}, "an edge is there twice"),
        ({"transfer": [1, 2]}, "transfers have shape"),
        ({"transfer": [[[1, 1], [1, 0]]]}, "a transfer within a place"),
        ({"cores": [1, 0]}, "at least one core"),
        ({"release": [[0, 0]]}, "releases have shape"),
        ({"free": [0, 0, 0]}, "times at which cores are free have shape"),
        ({"app": [0, 1], "weight": [1.0]}, "2 applications, 1 weights"),
    ],
)
def test_problems_that_do_not_fit(change, message):
    fields = {"duration": [[1, 2], [3, 4]], "edges": [[0, 1]], "transfer": [5]}
    make(**fields)
    with pytest.raises(PolicyError, match=message):
        make(**(fields | change))
