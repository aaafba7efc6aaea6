import gymnasium
import numpy as np
import pytest
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported
from stable_baselines3.common.vec_env import VecCheckNan

import fleetgym  # noqa: F401
from fleetgym.agents.sb3.policy import FleetPolicy
from fleetgym.agents.sb3.vec_env import FleetVecEnv

ID = "fleetgym/VMRescheduling-v0"


@pytest.fixture
def env():
    def make(worlds=3, **overrides):
        vector = gymnasium.make_vec(
            ID,
            num_envs=worlds,
            vectorization_mode="vector_entry_point",
            scenario="small",
            autoreset_mode="SameStep",
            **{"mnl": 3, **overrides},
        )
        return FleetVecEnv(vector.unwrapped)

    return make


def test_masks_are_what_sb3_contrib_asks_for(env):
    vec = env()
    vec.reset()
    assert is_masking_supported(vec)
    masks = get_action_masks(vec)
    assert masks.shape == (3, vec.action_space.n)
    assert masks.dtype == bool
    assert masks.any(axis=1).all()


def test_worlds_equal_single_environments(env):
    """Step by step: what the batch shows, ends with and begins anew with."""
    vec, rng = env(2), np.random.default_rng(0)
    vec.seed(5)
    observation = vec.reset()
    singles = [gymnasium.make(ID, scenario="small", mnl=3) for _ in range(2)]
    seen = [single.reset(seed=5 + i)[0] for i, single in enumerate(singles)]
    ended = 0
    for _ in range(20):
        for i in range(2):
            for name, value in seen[i].items():
                assert np.array_equal(observation[name][i], value), name
        actions = [rng.choice(np.flatnonzero(one["action_mask"])) for one in seen]
        observation, reward, done, infos = vec.step(np.array(actions))
        for i, single in enumerate(singles):
            seen[i], expected, over, cut, _ = single.step(actions[i])
            assert reward[i] == pytest.approx(expected)
            assert done[i] == (over or cut)
            if done[i]:
                ended += 1
                for name, value in infos[i]["terminal_observation"].items():
                    assert np.array_equal(value, seen[i][name])
                assert infos[i]["episode"]["l"] <= 6
                seen[i] = single.reset()[0]
    assert ended > 2


def test_rollout_buffer_keeps_what_was_seen(env):
    """SB3 keeps the last observation across a step: views would corrupt its rollouts."""
    vec = env(2)
    model = MaskablePPO(FleetPolicy, vec, n_steps=10, batch_size=10, n_epochs=1, seed=0)
    shown = []
    step_wait = vec.step_wait

    def spy():
        result = step_wait()
        shown.append({name: value.copy() for name, value in result[0].items()})
        return result

    vec.step_wait = spy
    _, callback = model._setup_learn(20)
    first = {name: value.copy() for name, value in model._last_obs.items()}
    model.collect_rollouts(vec, callback, model.rollout_buffer, 10, use_masking=True)
    trajectory = [first, *shown[:-1]]
    for name, stored in model.rollout_buffer.observations.items():
        for step in range(10):
            assert np.array_equal(stored[step], trajectory[step][name]), (name, step)


def test_an_ordinary_masked_policy_learns_on_it(env):
    model = MaskablePPO("MultiInputPolicy", VecCheckNan(env(4)), n_steps=8, batch_size=16, seed=0)
    model.learn(64)


def test_another_autoreset_mode_is_refused():
    vector = gymnasium.make_vec(ID, num_envs=2, vectorization_mode="vector_entry_point")
    with pytest.raises(ValueError, match="SAME_STEP"):
        FleetVecEnv(vector.unwrapped)
