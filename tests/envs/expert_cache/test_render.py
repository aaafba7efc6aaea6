"""What is shown: the lanes to scale, the decision in words, always the same size."""

from itertools import pairwise

import gymnasium
import numpy as np
import pytest

from fleetgym.envs.expert_cache import picture, render
from fleetgym.envs.expert_cache.timeline import timeline_of
from fleetgym.envs.expert_cache.types import HIT, PCIE

ID = "fleetgym/ExpertCache-v0"
SCENARIOS = ("toy", "small", "dsv2-lite", "qwen2-57b", "mixtral")


def played(scenario, mode, steps=12, **fields):
    env = gymnasium.make(ID, scenario=scenario, render_mode=mode, **fields).unwrapped
    observation, _ = env.reset(options={"workload_seed": 0})
    rng = np.random.default_rng(0)
    for _ in range(steps):
        legal = np.flatnonzero(observation["action_mask"])
        observation, _, over, *_ = env.step(int(rng.choice(legal)))
        if over:
            break
    return env


def test_the_toy_as_text():
    env = gymnasium.make(ID, scenario="toy", render_mode="ansi").unwrapped
    env.reset(seed=0)
    env.step(1)
    lines = env.render().splitlines()
    assert lines[0] == "toy (toy): 1 layers of 4 experts, 2 slots each"
    assert lines[1].startswith("step 3 of 12   layer 0   hit rate 0.333   misses 2")
    assert lines[2] == "layer 0 misses expert 1: admit it, and where?"
    assert lines[3] == "asked 1!<"
    assert lines[5] == "slots 2 0"
    gpu, cpu, pcie = (line for line in lines if line[:4] in ("GPU ", "CPU ", "PCIe"))
    assert gpu.split()[1].startswith("....")  # until the copy has arrived
    assert "2##" in gpu
    assert "0==" in gpu
    assert set(cpu.split()[1]) == {"."}
    assert pcie.split()[1].startswith("2>>>")


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("steps", [0, 40, 2_000])
def test_lines_are_short(scenario, steps):
    text = played(scenario, "ansi", steps if scenario in ("toy", "small") else min(steps, 40))
    assert max(map(len, text.render().splitlines())) <= render.WIDTH


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_pictures_are_deterministic_and_keep_their_size(scenario):
    first, second = (played(scenario, "rgb_array", 0) for _ in range(2))
    before = first.render()
    assert before.dtype == np.uint8
    assert before.shape[1:] == (picture.WIDTH, 3)
    assert np.array_equal(before, second.render())
    after = played(scenario, "rgb_array", 30).render()
    assert after.shape == before.shape
    assert not np.array_equal(after, before)


def test_tasks_fill_their_lanes_without_overlap():
    shown = timeline_of(played("small", "ansi", 80, prefetch=1).simulator, 0)
    assert {task.lane for task in shown.tasks} == {0, 1, 2}
    for lane in range(3):
        mine = sorted((task.start, task.end) for task in shown.tasks if task.lane == lane)
        assert all(a[1] <= b[0] for a, b in pairwise(mine))
        assert all(start < end for start, end in mine)
    assert all(task.kind <= 1 for task in shown.tasks if task.lane != PCIE)


def test_the_picture_shows_hits_and_the_decision():
    image = played("small", "rgb_array", 20).render()

    def pixels(colour):
        return int((image == np.array(colour)).all(axis=2).sum())

    assert pixels(picture.ACCENT) > 100
    assert pixels(picture.COLOURS[HIT]) > 1_000


def test_a_world_that_is_over_is_drawn():
    env = played("toy", "ansi", 100)
    assert "the episode is over" in env.render()
