"""The papers' worked examples to the last figure; every schedule obeys the graph and the cores."""

import numpy as np
import pytest
from tests.baselines.mec_offloading.examples import heft_paper, peft_paper, random_problem
from tests.oracles.mec_schedules import check, insertion_by_hand

from fleetgym.baselines.mec_offloading.list_schedulers import (
    cpop,
    critical_path,
    edf,
    heft,
    peft,
)
from fleetgym.baselines.mec_offloading.ranks import (
    downward,
    optimistic_cost,
    ready_order,
    upward,
)


def test_ranks_of_the_heft_paper():
    problem = heft_paper()
    up, down = upward(problem), downward(problem)
    due = [108.000, 77.000, 80.000, 80.000, 69.000, 63.333, 42.667, 35.667, 44.333, 14.667]
    assert up == pytest.approx(due, abs=5e-4)
    assert down == pytest.approx([0, 31, 25, 22, 24, 27, 62.333, 66.667, 63.667, 93.333], abs=5e-4)
    assert (ready_order(problem, up) + 1).tolist() == [1, 3, 4, 2, 5, 6, 9, 7, 8, 10]
    assert (critical_path(problem, up) + 1).tolist() == [1, 2, 9, 10]


def test_heft_paper():
    problem = heft_paper()
    found = heft(problem)
    assert found.finish.max() == 80
    # Figure 4a: the tasks of each processor in the order they run.
    order = [[i + 1 for i in np.argsort(found.start) if found.place[i] == q] for q in range(3)]
    assert order == [[2, 8], [4, 6, 9, 10], [1, 3, 5, 7]]
    assert cpop(problem).finish.max() == 86


def test_peft_paper():
    problem = peft_paper()
    # Table 2 of the paper.
    table = [
        [64, 68, 86], [42, 39, 42], [27, 41, 43], [42, 39, 50], [28, 37, 28],
        [42, 39, 44], [13, 16, 22], [13, 16, 33], [13, 16, 20], [0, 0, 0],
    ]  # fmt: skip
    assert optimistic_cost(problem).tolist() == table
    assert peft(problem).finish.max() == 122
    assert heft(problem).finish.max() == 133


@pytest.mark.parametrize("cores", [1, 2])
@pytest.mark.parametrize("rich", [False, True])
def test_schedules_are_legal(cores, rich):
    for seed in range(30):
        problem = random_problem(seed, tasks=12, cores=cores, apps=1 + seed % 3, rich=rich)
        for schedule in (heft(problem), cpop(problem), peft(problem)):
            check(problem, schedule)
        due = np.array([100.0, 20.0, 300.0])
        check(problem, edf(problem, due))


@pytest.mark.parametrize("rich", [False, True])
def test_insertion_against_trying_every_start(rich):
    for seed in range(20):
        problem = random_problem(seed, tasks=9, cores=1 + seed % 2, rich=rich)
        order = ready_order(problem, upward(problem))
        by_hand = insertion_by_hand(problem, order, problem.tail)
        found = heft(problem)
        assert found.finish.tolist() == by_hand.finish.tolist()
        assert found.place.tolist() == by_hand.place.tolist()
