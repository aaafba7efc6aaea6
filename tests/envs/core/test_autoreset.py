"""The batched face behaves as Gymnasium's own vector of single environments does."""

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from tests.envs.cases import IDS, busy, equal, legal, make_vec

MODES = [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED]
SEEDS = [3, 14, 15, 92]


def faces(id, mode, **arguments):
    """Ours, and Gymnasium's over as many single environments."""
    ours = make_vec(id, len(SEEDS), **arguments, autoreset_mode=mode)

    def single():
        return gymnasium.make(id, **arguments, disable_env_checker=True)

    return ours, SyncVectorEnv([single] * len(SEEDS), autoreset_mode=mode)


def same_info(ours, theirs, where="info"):
    """Equal keys, masks, and values where the mask says there is one."""
    assert set(ours) == set(theirs), where
    for name in theirs:
        if name.startswith("_"):
            assert ours[name].tolist() == theirs[name].tolist(), f"{where}.{name}"
            continue
        mask = theirs[f"_{name}"]
        one, other = ours[name], theirs[name]
        if isinstance(other, dict):
            same_info(one, other, f"{where}.{name}")
        elif other.dtype == object:
            for i in np.flatnonzero(mask):
                assert equal(one[i], other[i]), f"{where}.{name}[{i}]"
            assert [one[i] for i in np.flatnonzero(~mask)] == [None] * int((~mask).sum())
        else:
            assert one.dtype == other.dtype, f"{where}.{name}"
            assert np.array_equal(one[mask], other[mask]), f"{where}.{name}"


@pytest.mark.parametrize("id", IDS)
@pytest.mark.parametrize("latency", ["none", "fixed:15"])
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_as_gymnasiums_sync_vector_env(id, mode, latency):
    arguments = busy(id) | {"decision_latency": latency}
    ours, theirs = faces(id, mode, **arguments)
    assert ours.metadata["autoreset_mode"] == theirs.metadata["autoreset_mode"]
    assert ours.single_observation_space == theirs.single_observation_space
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    (one, info), (other, their_info) = ours.reset(seed=SEEDS), theirs.reset(seed=SEEDS)
    assert equal(one, other)
    same_info(info, their_info)
    rng, over, episodes = np.random.default_rng(0), np.zeros(len(SEEDS), bool), 0
    for _ in range(60):
        if mode is AutoresetMode.DISABLED and over.any():
            results = [env.reset(options={"reset_mask": over.copy()}) for env in (ours, theirs)]
            (one, info), (other, their_info) = results
            assert equal(one, other)
            same_info(info, their_info)
        actions = np.array([legal(mask, rng) for mask in one["action_mask"]])
        one, *rest, info = ours.step(actions)
        other, *their_rest, their_info = theirs.step(actions)
        assert equal(one, other)
        for mine, their in zip(rest, their_rest, strict=True):
            assert mine.dtype == their.dtype
            assert mine.tolist() == their.tolist()
        same_info(info, their_info)
        over = rest[1] | rest[2]
        episodes += over.sum()
        assert ours.observation_space.contains(one)
    assert episodes > 8
