"""``action="scores"``: a priority for each position of the table, in every face of one agent."""

import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from tests.envs.request_preemption.machine import FAMILY, check_conservation

import fleetgym
from fleetgym.envs.core.errors import IllegalActionError
from fleetgym.envs.core.replay import verify
from fleetgym.envs.request_preemption.observe import REQUEST_FEATURES
from fleetgym.envs.request_preemption.types import LISTS, QUEUED_N, ROW, RUNNING_N, STATE

ARGUMENTS = {"scenario": "small", "action": "scores", "requests": 12, "arrival_scale": 0.5}
PROMPT = REQUEST_FEATURES.index("prompt")


def make(**arguments):
    return gymnasium.make(FAMILY.id, **ARGUMENTS, **arguments).unwrapped


def vector(n, **arguments):
    return gymnasium.make_vec(
        FAMILY.id, n, vectorization_mode="vector_entry_point", **ARGUMENTS, **arguments
    )


def shortest_first(observation):
    """Scores by prompt, of one world or of many."""
    return np.rint(255 * (1 - observation["requests"][..., PROMPT])).astype(np.int64)


def test_check_env():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(make())


@pytest.mark.parametrize("policy", ["random", "shortest"])
def test_episodes_end_and_blocks_are_conserved(policy):
    env = make()
    for seed in range(3):
        observation, _ = env.reset(seed=seed)
        rng, over = np.random.default_rng(seed), False
        while not over:
            scores = shortest_first(observation)
            if policy == "random":
                scores = rng.integers(0, 256, scores.shape)
            observation, _, ended, cut, info = env.step(scores)
            assert env.observation_space.contains(observation)
            check_conservation(env.simulator)
            over = ended or cut
        assert ended
        metrics = info["episode_metrics"]
        assert metrics["finished"] == metrics["accepted"] > 0
        assert metrics["illegal_actions"] == 0


def test_vector_worlds_are_single_ones():
    env, singles = vector(3), [make() for _ in range(3)]
    seen, _ = env.reset(seed=[4, 5, 6])
    for seed, single in zip((4, 5, 6), singles, strict=True):
        single.reset(seed=seed)
    for _ in range(25):
        scores = shortest_first(seen)
        seen, reward, ended, cut, _ = env.step(scores)
        for world, single in enumerate(singles):
            alone, paid, *_ = single.step(scores[world])
            assert paid == reward[world]
            assert all(np.array_equal(alone[name], seen[name][world]) for name in alone)
        if (ended | cut).any():
            break


def test_the_best_of_the_ranking_runs():
    """All that runs after a decision was ranked before all that fits and waits."""
    env = make(max_num_seqs=3, decision_latency="none")
    rng, checked = np.random.default_rng(0), 0
    env.reset(seed=1)
    for _ in range(60):
        simulator = env.simulator
        slots, registers = simulator.world.slots[0, 0], simulator.world.instances[0, 0]
        places = [*range(registers[RUNNING_N]), *range(registers[QUEUED_N])]
        lists = [LISTS] * registers[RUNNING_N] + [LISTS + 1] * registers[QUEUED_N]
        rows = [int(slots[ROW, slots[which, n]]) for which, n in zip(lists, places, strict=True)]
        scores = rng.permutation(len(rows))
        given = np.zeros(env.action_space.shape, np.int64)
        given[: len(rows)] = scores
        best = rows[int(np.argmax(scores))]
        _, _, ended, cut, _ = env.step(given)
        if ended or cut:
            break
        here = {int(slots[ROW, s]) for s in np.flatnonzero(slots[STATE])}
        if registers[RUNNING_N] and best in here:
            running = [int(slots[ROW, slots[LISTS, n]]) for n in range(registers[RUNNING_N])]
            assert best in running
            checked += 1
    assert checked > 5


@pytest.mark.parametrize("bad", [0, [0, 1, 2], 1.5, None])
def test_scores_of_another_shape(bad):
    env = make()
    env.reset(seed=0)
    with pytest.raises(IllegalActionError, match="does not fit"):
        env.step(bad)


class Shortest:
    """The shortest prompt first, as a user would write it."""

    name, information = "shortest", "online"

    def reset(self, view, worlds):
        pass

    def act(self, view):
        return shortest_first(view.observation()["scheduler"])


def test_recorded_and_replayed():
    arguments = dict(ARGUMENTS)
    scenario = arguments.pop("scenario")
    (record,) = fleetgym.evaluate(Shortest(), FAMILY.id, scenario, [3], **arguments)
    assert verify(record) == record.metrics


def test_random_scores_play_to_the_end_and_replay():
    (record,) = fleetgym.evaluate("random", FAMILY.id, seeds=[0], **ARGUMENTS)
    assert record.metrics["unfinished"] == 0
    assert fleetgym.replay(record) == record.metrics
