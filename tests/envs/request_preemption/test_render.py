"""What is shown: every block of every pool once, the queue, and always the same."""

import gymnasium
import numpy as np
import pytest
from tests.envs.request_preemption.machine import FAMILY, SCENARIOS, act, drawn, random_legal

from fleetgym.envs.request_preemption import picture, render
from fleetgym.envs.request_preemption.pool import board_of
from fleetgym.envs.request_preemption.types import PREEMPTED, ROW, STATE


def played(scenario, steps=120, **fields):
    """A simulator in the middle of random legal play, more arrivals than it can serve."""
    simulator = drawn(scenario, **fields)
    rng = [np.random.default_rng(0)]
    for _ in range(steps):
        if not simulator.over()[0]:
            act(simulator, random_legal(simulator, rng, haste=0.6))
    return simulator


def test_the_toy_as_text():
    env = gymnasium.make(FAMILY.id, scenario="toy", render_mode="ansi")
    env.reset(seed=0)
    env.step(3)
    lines = env.render().splitlines()
    assert lines[0] == "toy (toy): 1 instance of 8 KV blocks"
    assert lines[1] == "time 0.000 s   asked: schedule on instance 0"
    assert lines[2].startswith("arrived 1 of 4   outside 0   finished 0   preemptions 0")
    assert lines[5] == "* 0 [" + "." * 100 + "]"
    assert lines[6].strip() == "mixed, 1 of 4 running, 8 blocks free, queue of 0:"
    env.step(0)
    bar, said = env.render().splitlines()[5:]
    assert bar == "* 0 [=0" + "=" * 48 + "." * 50 + "]"
    assert said.strip() == "mixed, 1 of 4 running, 4 blocks free, queue of 3: 1 2 3"


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_lines_are_short_and_every_block_has_its_place(scenario):
    simulator = played(scenario)
    lines = render.ansi(simulator, 0).splitlines()
    assert max(map(len, lines)) <= render.WIDTH
    board = board_of(simulator, 0)
    assert len(lines) == 5 + 2 * simulator.scenario.instances
    for pool in board.pools:
        assert sum(segment.blocks for segment in pool.segments) == simulator.scenario.kv_blocks
        assert all(segment.kind in render.FILLS for segment in pool.segments)
    for line in lines[5::2]:
        bar = line[line.index("[") + 1 : line.index("]")]
        assert len(bar) == render.BAR


@pytest.mark.parametrize(
    ("scenario", "fields", "kinds"),
    [
        ("small", {"preemption": "swap", "arrival_scale": 0.5}, {"prefill", "leaving", "coming"}),
        ("agents", {"arrival_scale": 0.2, "kv_blocks": 900}, {"pinned", "cached", "shared"}),
        ("cluster-4", {"slots": 12, "rebalance_s": 0.2}, {"moving", "decode"}),
    ],
)
def test_who_holds_blocks_is_told_apart(scenario, fields, kinds):
    simulator, seen = drawn(scenario, **fields), set()
    rng = [np.random.default_rng(1)]
    for _ in range(500):
        if simulator.over()[0]:
            break
        act(simulator, random_legal(simulator, rng, haste=0.6))
        board = board_of(simulator, 0)
        seen |= {segment.kind for pool in board.pools for segment in pool.segments}
        text = render.ansi(simulator, 0)
        for pool in board.pools:
            for queued in pool.queue[:3]:
                assert str(queued.row) in text
    assert kinds <= seen


def test_the_queue_says_what_happened():
    simulator = played("small", 200, preemption="swap", overlapped=False, arrival_scale=0.5)
    board = board_of(simulator, 0)
    queue = board.pools[0].queue
    assert any(queued.swapped for queued in queue)
    slots = simulator.state().slots[0, 0]
    for queued in queue:
        (s,) = np.flatnonzero((slots[ROW] == queued.row) & (slots[STATE] > 0))
        assert queued.preempted == slots[PREEMPTED, s]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_pictures_are_deterministic_and_keep_their_size(scenario):
    simulator = played(scenario, 4 if scenario == "toy" else 40)
    before = render.rgb_array(simulator, 0)
    assert before.dtype == np.uint8
    assert before.shape[1:] == (picture.WIDTH, 3)
    assert np.array_equal(before, render.rgb_array(simulator, 0))
    rng = [np.random.default_rng(5)]
    for _ in range(10):
        if not simulator.over()[0]:
            act(simulator, random_legal(simulator, rng, haste=1.0))
    after = render.rgb_array(simulator, 0)
    assert after.shape == before.shape
    assert not np.array_equal(after, before)


def test_a_pool_is_drawn_to_scale():
    simulator = played("small")
    drawn_picture, board = render.rgb_array(simulator, 0), board_of(simulator, 0)
    line = drawn_picture[picture.HEADER + 2]
    free = (line == np.array(picture.COLOURS["free"])).all(axis=1).sum()
    assert free == pytest.approx(board.pools[0].free * picture.BAR / 400, abs=4)
