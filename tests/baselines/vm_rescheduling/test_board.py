import numpy as np
import pytest
from tests.oracles.vm_plans import objective, play, tiny

from fleetgym.baselines.vm_rescheduling.board import Board, objective_of, replay
from fleetgym.baselines.vm_rescheduling.problem import NO_MOVES


@pytest.mark.parametrize("kind", [{}, {"groups": 2, "vms": 9, "pms": 3}, {"gpu": True}])
def test_same_rules_as_the_problem(kind):
    rng = np.random.default_rng(0)
    for seed in range(5):
        problem = tiny(seed, moves=6, **kind)
        board, moves = Board(problem), []
        while board.moves_left:
            now = board.as_problem()
            legal = [
                (vm, slot)
                for vm in range(len(now.vm_slot))
                for slot in now.legal_targets(vm).tolist()
            ]
            every = [(v, s) for v in range(len(now.vm_slot)) for s in range(len(now.free_cores))]
            assert [pair for pair in every if board.legal(*pair)] == legal
            if not legal:
                break
            moves.append(legal[rng.integers(len(legal))])
            board.move(*moves[-1])
        after, played = replay(problem, np.array(moves, np.int32)), play(problem, moves)
        for field in ("free_cores", "free_memory", "free_gpu", "vm_slot"):
            np.testing.assert_array_equal(getattr(after, field), getattr(played, field))
        assert objective_of(after) == pytest.approx(objective(played))


def test_illegal_moves_are_named(fleet):
    problem = fleet(free=[12, 4], vms=[(0, 4), (1, 8)], moves=1)
    with pytest.raises(ValueError, match="move 0: VM 0 cannot go from slot 0 to slot 0"):
        replay(problem, np.array([[0, 0]], np.int32))
    with pytest.raises(ValueError, match=r"move 1: .* 0 moves left"):
        replay(problem, np.array([[0, 1], [0, 0]], np.int32))
    assert replay(problem, NO_MOVES).moves_left == 1
