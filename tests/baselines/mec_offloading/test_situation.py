"""What planners plan on is what the machine does, where nothing is shared; and no more is read."""

import numpy as np
import pytest
from tests.baselines.mec_offloading.playing import obey, play, simulator

from fleetgym.baselines.mec_offloading.decoding import decode, room_for, solution_of
from fleetgym.baselines.mec_offloading.insertion import schedule_in_order
from fleetgym.baselines.mec_offloading.planned import PLANNERS, PlannedPolicy
from fleetgym.baselines.mec_offloading.problem import FORBIDDEN
from fleetgym.baselines.mec_offloading.ranks import ready_order, upward
from fleetgym.baselines.mec_offloading.situation import Looker
from fleetgym.envs.mec_offloading.types import (
    A_FINISH,
    DONE,
    NOBODY,
    P_BACKLOG,
    PLACED,
    QUEUED,
    RUNNING,
    S_BACKLOG,
    S_FAILED,
    T_DEVICE,
    T_NODE,
    T_START,
    T_STATE,
)

QUIET = {"fading": False, "devices": 1, "servers": 3}


def look(made, full=False):
    return Looker(made.scenario, full=full).look(made.state(), 0, 0)


@pytest.mark.parametrize("planned", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_a_chain_takes_what_the_plan_says(seed, planned):
    """One task and one transfer at a time: nothing is shared, so plan and machine agree."""
    made = simulator("small", seed, fat=0.0, regular=1.0, tasks=8, planned=planned, **QUIET)
    situation = look(made)
    rng = np.random.default_rng(seed)
    places = rng.integers(5, size=8)
    order = ready_order(situation.problem, upward(situation.problem))
    schedule = schedule_in_order(
        situation.problem,
        order,
        situation.problem.tail.astype(float),
        places[situation.task].astype(np.int32),
    )
    ends = schedule.finish + situation.problem.tail[np.arange(8), schedule.place]
    obey(made, dict(zip(range(8), places.tolist(), strict=True)))
    took = int(made.state().apps[0, 0, A_FINISH])
    assert took == pytest.approx(ends.max(), rel=1e-6), "each hop is rounded up"
    assert took > 1e6


def test_the_price_is_what_the_reward_counts():
    """All on the device: time over T_ref is 1, and so is energy over E_ref."""
    made = simulator("small", 3, tasks=9, **QUIET)
    problem = look(made).problem
    solution = solution_of(schedule_in_order(
        problem, ready_order(problem, upward(problem)), problem.tail.astype(float),
        np.zeros(9, np.int32),
    ))  # fmt: skip
    assert decode(problem, solution, room_for(problem)) == pytest.approx(1.0 + 0.2, rel=1e-6)


def test_what_is_placed_stays():
    made = simulator("small", 1, tasks=10, **QUIET)
    policy = PlannedPolicy("heft", PLANNERS["heft"], 0)
    play(policy, made, most=4)
    state = made.state()
    situation = look(made)
    states = state.tasks[0, situation.task, T_STATE]
    placed = (states >= PLACED) & (states <= DONE)
    assert 0 < placed.sum() < len(placed)
    for i in np.flatnonzero(placed):
        (only,) = np.flatnonzero(situation.problem.duration[i] < FORBIDDEN)
        assert only == state.tasks[0, situation.task[i], T_NODE] + 1
    while not made.over()[0]:
        play(policy, made, most=1)
    assert look(made) is None


def test_failed_servers_and_cells_left_are_no_places():
    made = simulator("small", 1, **QUIET)
    state = made.state()
    seen = state.seen.copy()
    seen[0, 1, S_FAILED] = 1
    looker = Looker(made.scenario, full=False)
    duration = looker.look(state._replace(seen=seen), 0, 0).problem.duration
    assert (duration[:, 2] == FORBIDDEN).all()
    assert (duration[:, [0, 1, 3, 4]] < FORBIDDEN).all()
    devices = state.devices.copy()
    devices[0, 0, :2] = NOBODY, 0
    alone = looker.look(state._replace(devices=devices), 0, 0).problem.duration
    assert (alone[:, 1:] == FORBIDDEN).all()


def test_the_delayed_view_reads_nothing_else():
    """Other devices' tasks, servers' own books, and whether a task elsewhere runs, are not read."""
    made = simulator("cluster", 2, view_delay_ms=50.0)
    play(PlannedPolicy("heft", PLANNERS["heft"], 0), made, most=60)
    state = made.state()
    app = next(a for a in range(8) if Looker(made.scenario, full=False).look(state, 0, a))
    rng = np.random.default_rng(0)
    tasks, processors = state.tasks.copy(), state.processors.copy()
    others = tasks[0, :, T_DEVICE] != app
    tasks[0, others, T_STATE] = rng.integers(PLACED, DONE, others.sum())
    tasks[0, others, T_NODE] = 0
    away = (
        ~others
        & np.isin(tasks[0, :, T_STATE], [PLACED, QUEUED, RUNNING])
        & (tasks[0, :, T_NODE] >= 0)
    )
    tasks[0, away, T_STATE] = RUNNING
    tasks[0, away, T_START] = 0
    processors[0, np.arange(len(processors[0])) != app, P_BACKLOG] += 10**12
    changed = state._replace(tasks=tasks, processors=processors)
    seen, full = (
        [Looker(made.scenario, full=full).look(each, 0, app).problem for each in (state, changed)]
        for full in (False, True)
    )
    for a, b in zip(*seen, strict=True):
        assert (a == b).all()
    assert any((a != b).any() for a, b in zip(*full, strict=True)), "the full view would tell"
    delayed = state.seen.copy()
    delayed[0, :, S_BACKLOG] += 10**9
    later = Looker(made.scenario, full=False).look(state._replace(seen=delayed), 0, app).problem
    assert (later.free != seen[0].free).any()
