"""Tree search: legal moves, a plan no worse than greedy's, the budget kept, both action modes."""

import time

import gymnasium as gym
import numpy as np
import pytest

import fleetgym
from fleetgym.baselines.vm_rescheduling import mcts
from fleetgym.baselines.vm_rescheduling.draws import fresh_state
from fleetgym.baselines.vm_rescheduling.mcts import MCTS, Search
from fleetgym.baselines.vm_rescheduling.mcts_kernels import lured_cost, play, price_all
from fleetgym.baselines.vm_rescheduling.planning import problem_of
from fleetgym.envs.core.view import View

ID = "VMRescheduling"


def problem(scenario="small", seed=0, **overrides):
    env = gym.make(f"fleetgym/{ID}-v0", scenario=scenario, **overrides)
    env.reset(options={"workload_seed": seed})
    return problem_of(View(env.unwrapped.simulator), 0)[0]


def rates(policy, scenario, seeds, **options):
    records = fleetgym.evaluate(policy, ID, scenario, seeds, **options)
    return [record.metrics["fragment_rate"] for record in records]


@pytest.mark.parametrize("action", ["two-phase", "pair"])
def test_the_optimum_of_the_toy(action):
    # `evaluate` raises where a move is illegal.
    assert rates(MCTS(0.05, 0), "toy", [0], action=action) == [pytest.approx(4 / 36)]


def test_no_worse_than_greedy_with_a_hardly_any_budget():
    seeds = range(4)
    searched, greedy = rates(MCTS(0.0, 0), "small", seeds), rates("greedy", "small", seeds)
    assert all(a <= b + 1e-9 for a, b in zip(searched, greedy, strict=True))


def test_worlds_side_by_side_and_anti_affinity():
    options = {"groups": 6, "group_size": 4, "num_worlds": 2}
    searched = rates(MCTS(0.1, 0), "small", range(3), **options)
    assert np.mean(searched) < np.mean(rates("greedy", "small", range(3), **options))


def test_a_changing_world_is_searched_anew():
    options = {"churn_per_min": 0.5, "decision_latency": "fixed:10"}
    records = fleetgym.evaluate(MCTS(0.2, 0), ID, "small", range(2), **options)
    assert all(record.metrics["departures"] > 0 for record in records)
    assert all(record.metrics["migrations"] > 0 for record in records)


def test_plans_are_legal_and_their_gain_is_true():
    present = problem(seed=3)
    search = Search(present, fresh_state(np.random.default_rng(0)))
    plan = []
    search.improve(plan, present.moves_left, time.perf_counter() + 0.1)
    rate, after = present.fragment_rate(), present
    for vm, slot in plan:
        after = after.moved(vm, slot)  # raises where it is illegal
    again = search._played(plan, present.moves_left)
    assert rate - after.fragment_rate() == pytest.approx(float(again.gain[0]))
    assert float(again.gain[0]) > 0


def test_nothing_illegal_stays_of_an_old_plan():
    present = problem()
    search = Search(present, fresh_state(np.random.default_rng(0)))
    vm = next(v for v in range(len(present.vm_slot)) if len(present.legal_targets(v)))
    target = int(present.legal_targets(vm)[0])
    full = next(
        s for s in range(len(present.free_cores)) if present.free_cores[s] < present.vm_cores[vm]
    )
    plan = search._played([(vm, full), (vm, int(present.vm_slot[vm])), (vm, target)], 10)
    assert plan.moves[0, 2] == target


def test_prices_after_moves_equal_prices_from_scratch():
    present = problem("small", groups=6, group_size=4)
    search = Search(present, fresh_state(np.random.default_rng(0)))
    position = search.root
    rng = np.random.default_rng(1)
    for _ in range(12):
        leave, enter = position.costs[0], position.costs[1]
        kind = int(rng.choice(np.flatnonzero((leave < np.inf).any(1) & (enter < np.inf).any(1))))
        source = int(rng.choice(np.flatnonzero(leave[kind] < np.inf)))
        targets = np.flatnonzero(enter[kind] < np.inf)
        targets = targets[targets // 2 != source // 2]
        if len(targets):
            before = sum(lured_cost(position.now, position.hosted, pm, search.goal, 0.0)
                         for pm in range(present.num_pms))  # fmt: skip
            change = play(
                position, kind, source, int(rng.choice(targets)), search.goal, search.lure
            )
            after = sum(lured_cost(position.now, position.hosted, pm, search.goal, 0.0)
                        for pm in range(present.num_pms))  # fmt: skip
            assert change == pytest.approx(after - before + search.goal.fee[kind])
    kept = position.costs.copy()
    price_all(position, search.goal, search.lure)
    np.testing.assert_allclose(kept, position.costs, atol=1e-12)


def test_the_budget_is_an_episodes(monkeypatch):
    now = [0.0]

    def tick():
        now[0] += 0.001  # every look at the clock takes a millisecond
        return now[0]

    monkeypatch.setattr(mcts.time, "perf_counter", tick)
    began = now[0]
    fleetgym.evaluate(MCTS(0.5, 0), ID, "small", [0])
    # Beyond it at most one iteration and the bookkeeping of each of the ten decisions.
    assert now[0] - began < 0.5 + 10 * 0.01
