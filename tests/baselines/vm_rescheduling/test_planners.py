"""What every planner that needs no training owes: legal plans, never worse, never below a bound."""

import pytest
from tests.oracles.vm_plans import objective, play, tiny

from fleetgym.baselines.vm_rescheduling import alpha_vbpp, exact, greedy, ha, pop, slot_greedy
from fleetgym.baselines.vm_rescheduling.bounds import linear_bound
from fleetgym.envs.core.errors import PolicyError

ANY_WEIGHTS = {"greedy": greedy.plan, "pop": pop.plan, "exact": exact.plan}
FRAGMENTS = {
    "ha": ha.plan,
    "slot_greedy": slot_greedy.plan,
    "alpha_vbpp": alpha_vbpp.plan,
    "pop_marginal": pop.plan_marginal,
}
KINDS = ({}, {"groups": 2, "vms": 9, "pms": 3}, {"scarce": True, "fixed": 0.4, "moves": 5})
MIXED = {"weight_pair": 0.5, "weight_memory": 0.4, "weight_active": 0.3, "groups": 1}


@pytest.mark.parametrize("name", [*ANY_WEIGHTS, *FRAGMENTS])
def test_plans_are_legal_and_help(name):
    plan, gains = {**ANY_WEIGHTS, **FRAGMENTS}[name], 0
    for kind in (*KINDS, MIXED) if name in ANY_WEIGHTS else KINDS:
        for seed in range(8):
            problem = tiny(seed, **kind)
            moves = plan(problem, 5.0, 0)
            assert len(moves) <= problem.moves_left
            after = play(problem, moves)  # raises where a move is illegal when made
            assert linear_bound(problem) - 1e-7 <= objective(after) <= objective(problem) + 1e-9
            gains += objective(after) < objective(problem) - 1e-9
    assert gains


@pytest.mark.parametrize("name", FRAGMENTS)
def test_other_weights_are_refused(name):
    with pytest.raises(PolicyError, match=r"weight_memory is 0\.4"):
        FRAGMENTS[name](tiny(0, weight_memory=0.4), 1.0, 0)
    with pytest.raises(PolicyError, match=r"weight_fragment is 0\.0"):
        FRAGMENTS[name](tiny(0, weight_fragment=0.0), 1.0, 0)


@pytest.mark.parametrize("name", [*ANY_WEIGHTS, *FRAGMENTS])
def test_no_moves_left(name):
    problem = tiny(1, moves=0)
    assert len({**ANY_WEIGHTS, **FRAGMENTS}[name](problem, 1.0, 0)) == 0
