from tests.oracles.vm_plans import play

from fleetgym.baselines.vm_rescheduling import alpha_vbpp


def test_a_vm_takes_the_room_of_another(fleet):
    # Together: VM 1 (8) leaves slot 2 for slot 4's hole, VM 0 (4) can follow into slot 2's.
    problem = fleet(free=[12, 0, 0, 0, 8, 0], vms=[(0, 4), (2, 8)], moves=2)
    after = play(problem, alpha_vbpp.plan(problem, 1.0, 0, alpha=2))
    assert after.free_cores[0] == 16


def test_rounds_share_the_moves(fleet):
    problem = fleet(free=[12, 4, 12, 4], vms=[(0, 4), (2, 4)], moves=1)
    moves = alpha_vbpp.plan(problem, 1.0, 0, alpha=5)
    assert len(moves) == 1
    assert play(problem, moves).fragment_rate() < problem.fragment_rate()


def test_real_fleet(medium):
    moves = alpha_vbpp.plan(medium(50), 5.0, 0)
    assert 0.78 < play(medium(50), moves).fragment_rate() < 0.81
