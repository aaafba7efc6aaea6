"""What is shown: every replica to scale, what is to be copied, always the same."""

import gymnasium
import numpy as np
import pytest

from fleetgym.envs.expert_placement import picture
from fleetgym.envs.expert_placement.bars import SHOWN, server_of

ID = "fleetgym/ExpertPlacement-v0"
SCENARIOS = ("toy", "small", "ep32-small", "ep144")


def make(scenario, mode="ansi"):
    env = gymnasium.make(ID, scenario=scenario, render_mode=mode, windows=2, history=2).unwrapped
    env.reset(options={"workload_seed": 1})
    return env


def some_edit(env):
    for _ in range(3):
        env.step(int(np.argmax(env.action_masks())))


def test_the_toy_as_text():
    lines = make("toy").render().splitlines()
    assert lines[4] == " layer   0  balancedness 0.800  edits left   4"
    assert lines[5].startswith("  GPU   0 [2====")
    assert lines[5].endswith(" 10")
    assert lines[6].endswith(" 6")
    # 8 of 10 tokens are the only replica of expert 2, 6 of 10 of GPU 1 leave room for the mean.
    assert lines[5].index("[", 11) - lines[5].index("[") == round(64 * 0.8)
    assert "|" in lines[6]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_lines_are_short_and_layers_all_there(scenario):
    env = make(scenario)
    text = env.render()
    assert max(map(len, text.splitlines())) <= 200
    assert text.count("balancedness") == min(SHOWN, env.scenario.layers)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_stacks_hold_every_token(scenario):
    env = make(scenario)
    state = env.simulator.state()
    for layer in server_of(env.simulator, 0).layers:
        tokens = [sum(segment.tokens for segment in stack) for stack in layer.stacks]
        np.testing.assert_allclose(tokens, state.gpu_tokens[0, layer.number], rtol=1e-9)
        assert sum(tokens) == pytest.approx(state.history[0, 0, layer.number].sum())
        assert sum(map(len, layer.stacks)) == env.scenario.slots


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_pictures_are_deterministic_and_keep_their_size(scenario):
    first, second = make(scenario, "rgb_array"), make(scenario, "rgb_array")
    before = first.render()
    assert before.dtype == np.uint8
    assert before.shape[1:] == (picture.WIDTH, 3)
    assert before.shape[0] <= 1_200
    assert np.array_equal(before, second.render())
    some_edit(first)
    after = first.render()
    assert after.shape == before.shape
    assert not np.array_equal(after, before)


def test_what_is_to_be_copied_is_marked():
    env = make("small", "rgb_array")
    colour = np.array(picture.NEW)

    def marked():
        body = env.render()[picture.HEADER :]
        return int((body == colour).all(axis=2).sum())

    assert marked() == 0
    for _ in range(4):
        some_edit(env)
    moved = [
        segment
        for layer in server_of(env.simulator, 0).layers
        for stack in layer.stacks
        for segment in stack
        if segment.moved
    ]
    assert moved
    assert marked() > 10
