"""What is shown: every VM, slot and fragment to scale, the last migration, always the same."""

import gymnasium as gym
import numpy as np
import pytest

from fleetgym.envs.vm_rescheduling import picture, render
from fleetgym.envs.vm_rescheduling.stacks import fleet_of

ID = "fleetgym/VMRescheduling-v0"
SCENARIOS = ("toy", "small", "medium", "large")


def make(scenario, mode="ansi", **overrides):
    env = gym.make(ID, scenario=scenario, render_mode=mode, action="pair", **overrides)
    env.reset(options={"workload_seed": 0})
    return env


def some_migration(env):
    simulator = env.unwrapped.simulator
    placed = np.flatnonzero(simulator.state().vm_pm[0] >= 0)
    vm = next(int(vm) for vm in placed if len(simulator.legal_targets(0, vm)))
    env.step(np.array([vm, simulator.legal_targets(0, vm)[-1]]))
    return vm


def test_the_toy_as_text():
    env = make("toy")
    assert env.render().splitlines()[5:] == [
        "0  [12========][4=]|[12========]xxxx",
        "1  [12========]xxxx|[4=]xxxxxxxxxxxx",
        "2  [8=====]xxxxxxxx|[8=====]xxxxxxxx",
    ]
    env.step(np.array([4, 2]))
    text = env.render().splitlines()
    assert text[1] == "fragment rate 0.5556 (20 of 36 free cores)   moves left 1 of 2   time 0:00"
    assert text[2] == "last migration: VM 4 (4 cores) from PM 1 node 1 (<) to PM 1 node 0 (>)"
    assert text[6] == "1 >[12========][4=]|................"


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_lines_are_short_and_machines_all_there(scenario):
    env = make(scenario)
    lines = env.render().splitlines()
    assert max(map(len, lines)) <= render.WIDTH
    assert sum(line.count("|") for line in lines[5:]) == env.unwrapped.scenario.num_pms or (
        scenario == "toy" and len(lines) == 8
    )


def test_blocks_fill_what_is_used_and_overlap_nowhere():
    fleet = fleet_of(make("small").unwrapped.simulator, 0)
    assert any(block.double for block in fleet.blocks)
    taken = [np.zeros(cores, int) for cores in fleet.cores]
    for block in fleet.blocks:
        for slot in range(block.slot, block.slot + 1 + block.double):
            taken[slot][block.bottom : block.bottom + block.cores] += 1
    for cores, free, node in zip(fleet.cores, fleet.free, taken, strict=True):
        assert (node[: cores - free] == 1).all()
        assert (node[cores - free :] == 0).all()


def test_text_counts_free_cores_as_the_simulator_does():
    env = make("small")
    state, rows = env.unwrapped.simulator.state(), env.render().splitlines()[5:]
    free = state.free_cores[0]
    assert sum(row.count(render.FRAGMENT) for row in rows) == (free % 16).sum()
    assert sum(row.count(render.SLOT) for row in rows) == (free - free % 16).sum()


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_pictures_are_deterministic_and_keep_their_size(scenario):
    first, second = make(scenario, "rgb_array"), make(scenario, "rgb_array")
    before = first.render()
    assert before.dtype == np.uint8
    assert before.shape[2] == 3
    assert before.shape[1] <= 1_600
    assert np.array_equal(before, second.render())
    some_migration(first)
    after = first.render()
    assert after.shape == before.shape
    assert not np.array_equal(after, before)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_core_has_its_place_in_the_picture(scenario):
    fleet = fleet_of(make(scenario).unwrapped.simulator, 0)
    layout = picture.Layout.of(fleet.cores)
    boxes = np.array([layout.box(slot, 0, cores) for slot, cores in enumerate(fleet.cores)])
    assert (boxes[:, 0] >= picture.MARGIN - 1).all()
    assert (boxes[:, 2] <= layout.width - picture.MARGIN + 1).all()
    assert (boxes[:, 1] >= picture.HEADER).all()
    assert (boxes[:, 3] <= layout.height).all()
    assert layout.node >= 3
    assert layout.unit >= 1
    assert len(np.unique(boxes, axis=0)) == len(boxes)


def test_the_last_migration_is_marked_until_its_vm_moves_on():
    env = make("small", "rgb_array")
    accent = np.array(picture.ACCENT)
    body = slice(picture.HEADER, None)

    def marked():
        return int((env.render()[body] == accent).all(axis=2).sum())

    assert marked() == 0
    vm = some_migration(env)
    fleet = fleet_of(env.unwrapped.simulator, 0)
    assert fleet.migration is not None
    assert fleet.migration.vm == vm
    assert marked() > 50


def test_the_chosen_vm_is_marked():
    env = gym.make(ID, scenario="small", render_mode="rgb_array")
    observation, _ = env.reset(options={"workload_seed": 0})
    before = env.render()
    env.step(int(np.argmax(observation["action_mask"])))
    assert not np.array_equal(env.render(), before)
