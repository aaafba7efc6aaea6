"""Masks against brute force, and observations against their recomputation."""

import numpy as np
import pytest
from tests.envs.request_preemption.machine import act, drawn, mask_of, random_legal

from fleetgym.envs.core.status import DONE, ILLEGAL
from fleetgym.envs.request_preemption.simulator import MACHINE, SCHEDULER
from fleetgym.envs.request_preemption.types import (
    ARRIVED,
    ILLEGALS,
    OUTPUT,
    ROW_ARRIVAL,
    ROW_OUTPUT,
    ROW_PAUSE,
    STEPS,
)

CASES = {
    "toy": ("toy", {}),
    "chosen": (
        "small",
        {"preemption": "chosen", "arrival_scale": 0.5, "slots": 12, "priority_levels": 2},
    ),
    "stalls": ("small", {"preemption": "swap", "overlapped": False, "arrival_scale": 0.5}),
    "agents": (
        "agents",
        {"requests": 8, "kv_blocks": 900, "slots": 12, "arrival_scale": 0.2, "predictions": True},
    ),
    "cluster": (
        "cluster-4",
        {"requests": 40, "slots": 6, "kv_blocks": 300, "rebalance_s": 0.2, "clients": 3},
    ),
}
IDS = list(CASES)
SHOWN = ("requests", "instances", "arrival", "world", "focus", "mask", "inbox")


def visits(case, seed, steps):
    """A simulator at each of some states of random legal play."""
    name, fields = CASES[case]
    simulator = drawn(name, [seed], **fields)
    rng = [np.random.default_rng([seed, 1])]
    for _ in range(steps):
        if simulator.over()[0]:
            return
        yield simulator
        act(simulator, random_legal(simulator, rng))


def state_of(simulator, world):
    """The machine's content, without the two counters that an illegal action moves."""
    arrays = {name: getattr(simulator.world, name)[world].copy() for name in MACHINE}
    arrays["scalars"][[STEPS, ILLEGALS]] = 0
    return arrays


@pytest.mark.parametrize("case", IDS)
def test_open_actions_are_done_and_masked_ones_change_nothing(case):
    size = mask_of(drawn(CASES[case][0], **CASES[case][1])).shape[1]
    opened = np.zeros(size, bool)
    for k, simulator in enumerate(visits(case, 0, 240)):
        opened |= mask_of(simulator)[0] == 1
        if k % 6:
            continue
        mask = mask_of(simulator)[0].copy()
        tried = simulator.fork(0, size)
        status = act(tried, np.arange(size)).status[:, 0]
        assert (status == np.where(mask == 1, DONE, ILLEGAL)).all()
        before = state_of(simulator, 0)
        for action in np.flatnonzero(mask == 0):
            after = state_of(tried, action)
            for name in MACHINE:
                assert np.array_equal(after[name], before[name]), (name, action)
        illegal = tried.reward_terms()[:, 0, simulator.term_names.index("illegal")]
        penalty = simulator.scenario.illegal_penalty
        assert illegal == pytest.approx(np.where(mask == 1, 0.0, -penalty))
    blocks = {"chosen": 2 * 12 + 3, "agents": size - 7}
    assert opened[:3].all()
    if case == "cluster":
        assert opened[-20:-16].all(), "every instance was offered for a dispatch"
        assert opened[-16:].any(), "some migration was"
    if case in blocks:
        assert opened[blocks[case] - 12 :].sum() > 5


@pytest.mark.parametrize("case", IDS)
def test_actions_out_of_range_are_illegal(case):
    name, fields = CASES[case]
    simulator = drawn(name, **fields)
    for action in (-1, mask_of(simulator).shape[1], 2**40):
        assert act(simulator, [action]).status[0, 0] == ILLEGAL


@pytest.mark.parametrize("case", IDS)
def test_observation_equals_one_from_scratch(case):
    """Whatever stood in the shown arrays, looking again at the same machine shows the same."""
    for k, simulator in enumerate(visits(case, 2, 160)):
        if k % 4:
            continue
        again = simulator.fork(0, 1)
        for name in SHOWN:
            getattr(again.shown, name)[:] = 7
        again.shown.mask[:] = 0
        assert act(again, [0]).status[0, 0] == ILLEGAL, "nothing happens but a look"
        for name in SHOWN:
            fresh, kept = getattr(again.shown, name)[0], getattr(simulator.shown, name)[0]
            assert np.array_equal(fresh, kept), name


@pytest.mark.parametrize("case", IDS)
def test_observations_do_not_see_what_is_hidden(case):
    """Outputs, later arrivals and pauses are other ones, and nothing looks different."""
    for k, simulator in enumerate(visits(case, 3, 100)):
        if k % 10:
            continue
        other = simulator.fork(0, 1)
        world = other.world
        arrived = int(world.scalars[0, ARRIVED])
        world.slots[0, :, OUTPUT] += 100
        world.rows[0, ROW_OUTPUT] += 50
        world.times[0, ROW_ARRIVAL, arrived:] += 10**12
        world.times[0, ROW_PAUSE] += 10**9
        act(other, [-1])
        mine, theirs = simulator.observation()[SCHEDULER], other.observation()[SCHEDULER]
        assert all(np.array_equal(mine[name][0], theirs[name][0]) for name in mine)
