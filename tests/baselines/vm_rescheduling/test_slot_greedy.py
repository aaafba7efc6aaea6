from tests.oracles.vm_plans import play, tiny

from fleetgym.baselines.vm_rescheduling import slot_greedy


def test_fewest_moves_first(fleet):
    # Slot 0 needs two moves for its slot, slot 1 one; the budget is one.
    problem = fleet(free=[8, 12, 4, 4], vms=[(0, 4), (0, 4), (1, 4)], moves=1)
    assert slot_greedy.plan(problem, 0.0, 0).tolist() in ([[2, 2]], [[2, 3]])


def test_several_moves_for_one_slot(fleet):
    problem = fleet(free=[4, 4, 4, 4], vms=[(0, 4), (0, 4), (0, 4)], moves=4)
    moves = slot_greedy.plan(problem, 0.0, 0)
    assert len(moves) == 3
    assert play(problem, moves).free_cores.tolist() == [16, 0, 0, 0]


def test_a_slot_is_whole_or_not_begun(fleet):
    problem = fleet(free=[4, 4, 4, 4], vms=[(0, 4), (0, 4), (0, 4)], moves=2)
    assert len(slot_greedy.plan(problem, 0.0, 0)) == 0


def test_no_slot_is_lost_elsewhere():
    for seed in range(20):
        problem = tiny(seed, pms=4, vms=14, moves=6)
        chunk, before = problem.objective.fragment_cores, problem.free_cores
        after = play(problem, slot_greedy.plan(problem, 0.0, 0)).free_cores
        assert (after // chunk >= before // chunk).all()


def test_real_fleet_is_nearly_optimal(medium):
    problem = medium(50)
    after = play(problem, slot_greedy.plan(problem, 0.0, 0))
    assert 0.5753 < after.fragment_rate() < 0.62  # the optimum, and a band above
