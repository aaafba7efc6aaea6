import pytest
from tests.oracles.vm_plans import objective, play, tiny

from fleetgym.baselines.vm_rescheduling import greedy

MIXED = {"weight_pair": 0.5, "weight_memory": 0.4, "weight_gpu": 0.3, "weight_active": 0.6}


@pytest.mark.parametrize("kind", [{}, {"groups": 2}, {"gpu": True, **MIXED}, {"scarce": True}])
def test_each_move_is_the_best_there_is(kind):
    for seed in range(6):
        problem = tiny(seed, vms=7, moves=4, **kind)
        moves = greedy.plan(problem, 0.0, 0)
        for step in range(len(moves) + 1):
            if problem.moves_left == 0:
                break
            best = min(
                objective(problem.moved(vm, slot))
                for vm in range(len(problem.vm_slot))
                for slot in problem.legal_targets(vm).tolist()
            )
            if step == len(moves):
                assert best >= objective(problem) - 1e-9
                break
            problem = play(problem, moves[step : step + 1])
            assert objective(problem) == pytest.approx(best)


def test_real_fleet_sticks_where_single_moves_end(medium):
    problem = medium(50)
    moves = greedy.plan(problem, 0.0, 0)
    assert len(moves) < 20
    assert 0.78 < play(problem, moves).fragment_rate() < 0.81
