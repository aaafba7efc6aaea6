"""The same seed is the same episode: in every face, batch size, position, copy and process."""

import copy
import pickle

import numpy as np
import pytest
from tests.envs.cases import BUSY, CASES, IDS, SMALL, busy, legal, make, make_vec

from fleetgym.envs.core.errors import RecordError

LATENCY = {"decision_latency": "fixed:20"}


def history(env, seed, steps=60):
    """Digest, reward and flags of a random legal episode."""
    rng = np.random.default_rng(seed)
    observation, _ = env.reset(seed=seed)
    rows = [(int(env.simulator.digest()[0]), 0.0, False, False)]
    for _ in range(steps):
        observation, *rest, _ = env.step(legal(observation["action_mask"], rng))
        rows.append((int(env.simulator.digest()[0]), *rest))
        if rest[1] or rest[2]:
            break
    return rows


@pytest.mark.parametrize(("id", "scenario"), CASES)
def test_same_seed_same_digests(id, scenario):
    one, other = (history(make(id, scenario=scenario), 4, 12) for _ in range(2))
    assert one == other
    assert len({digest for digest, *_ in one}) == len(one), "a step left no trace"


@pytest.mark.parametrize("id", IDS)
def test_other_seed_other_digest(id):
    env = make(id, **busy(id))
    digests = set()
    for seed in range(20):
        env.reset(seed=seed)
        digests.add(int(env.simulator.digest()[0]))
    assert len(digests) > 10, "screened seeds may be drawn twice"


@pytest.mark.parametrize("id", IDS)
@pytest.mark.parametrize("n", [1, 2, 5, 17])
def test_batch_size_and_position_do_not_matter(id, n):
    seeds = [11, 7, 3, 11, 900][:n] + list(range(max(0, n - 5)))
    alone = {seed: history(make(id, **busy(id), **LATENCY), seed) for seed in set(seeds)}
    env = make_vec(id, n, **busy(id), **LATENCY, autoreset_mode="Disabled")
    rngs = [np.random.default_rng(seed) for seed in seeds]
    observation, _ = env.reset(seed=seeds)
    digests = [[int(d)] for d in env.simulator.digest()]
    shortest = min(len(rows) for rows in alone.values())
    for k in range(1, shortest):
        actions = [legal(observation["action_mask"][i], rngs[i]) for i in range(n)]
        observation, reward, ended, cut, _ = env.step(np.array(actions))
        for i, digest in enumerate(env.simulator.digest()):
            row = alone[seeds[i]][k]
            assert (int(digest), reward[i], ended[i], cut[i]) == row
            digests[i].append(int(digest))
    assert shortest > 2


@pytest.mark.parametrize("id", IDS)
def test_an_int_seed_counts_up(id):
    env = make_vec(id, 4, **busy(id))
    env.reset(seed=30)
    digests = env.simulator.digest().copy()
    env.reset(seed=[30, 31, 32, 33])
    assert (env.simulator.digest() == digests).all()
    env.reset(seed=np.int64(30))
    assert (env.simulator.digest() == digests).all()
    for i in range(4):
        single = make(id, **busy(id))
        single.reset(seed=30 + i)
        assert single.simulator.digest()[0] == digests[i]


@pytest.mark.parametrize("id", IDS)
def test_later_episodes_agree_between_faces(id):
    env, single = make_vec(id, 2, **busy(id)), make(id, **busy(id))
    env.reset(seed=[8, 9])
    single.reset(seed=9)
    for _ in range(3):
        _, info = env.reset()
        _, alone = single.reset()
        assert info["workload_seed"][1] == alone["workload_seed"]
        assert env.simulator.digest()[1] == single.simulator.digest()[0]


@pytest.mark.parametrize("id", IDS)
def test_reset_mask_resets_only_the_named_worlds(id):
    env = make_vec(id, 3, **busy(id))
    observation, _ = env.reset(seed=0)
    env.step(np.argmax(observation["action_mask"], axis=1))
    before = env.simulator.digest().copy()
    mask = np.array([False, True, False])
    _, info = env.reset(seed=[5, 6, 7], options={"reset_mask": mask})
    after = env.simulator.digest()
    assert (after == before).tolist() == [True, False, True]
    assert info["_workload_seed"].tolist() == mask.tolist()
    single = make(id, **busy(id))
    single.reset(seed=6)
    assert single.simulator.digest()[0] == after[1]


@pytest.mark.parametrize("id", IDS)
def test_vector_workload_seeds(id):
    env = make_vec(id, 2, **busy(id))
    _, info = env.reset(options={"workload_seed": [4, 2**64 - 1]})
    assert info["workload_seed"].tolist() == [4, 2**64 - 1]
    single = make(id, **busy(id))
    single.reset(options={"workload_seed": 2**64 - 1})
    assert single.simulator.digest()[0] == env.simulator.digest()[1]


def midway(id, steps=5, seed=1):
    env = make(id, **busy(id), **LATENCY)
    observation, _ = env.reset(seed=seed)
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        observation, _, ended, cut, _ = env.step(legal(observation["action_mask"], rng))
        if ended or cut:
            observation, _ = env.reset()
    return env


def futures(env, rng):
    """What the rest of the episode looks like under random legal play."""
    rows = []
    for _ in range(30):
        before = env.action_masks()
        observation, reward, ended, cut, _ = env.step(legal(before, rng))
        rows.append((int(env.simulator.digest()[0]), reward, ended, cut))
        rows += [array.tobytes() for array in observation.values()]
        if ended or cut:
            break
    return rows


@pytest.mark.parametrize("id", IDS)
def test_save_and_restore(id):
    env, other = midway(id), midway(id, steps=2, seed=6)
    saved = env.simulator.save(0)
    expected = futures(env, np.random.default_rng(2))
    for target in (other, env):
        target.simulator.restore(0, saved)
        target._done = False
        assert futures(target, np.random.default_rng(2)) == expected


@pytest.mark.parametrize("id", IDS)
def test_restore_into_any_world_of_a_batch(id):
    env = midway(id)
    batch = env.simulator.like(4)
    others = [midway(id, seed=seed) for seed in (2, 3, 4)]
    for world, source in zip((0, 1, 3), others, strict=True):
        batch.restore(world, source.simulator.save(0))
    batch.restore(2, env.simulator.save(0))
    assert batch.digest()[2] == env.simulator.digest()[0]
    assert [batch.digest()[i] for i in (0, 1, 3)] == [o.simulator.digest()[0] for o in others]
    assert batch.save(2) == env.simulator.save(0)


@pytest.mark.parametrize("id", IDS)
def test_restore_refuses_what_does_not_fit(id):
    simulator = midway(id).simulator
    saved = simulator.save(0)
    digest = simulator.digest()[0]
    for bad in (saved[:-1], saved + b"0", b"", b"x" * len(saved)):
        with pytest.raises(RecordError, match="saved world of"):
            simulator.restore(0, bad)
    other = make(id, **(BUSY[id] | {"illegal_penalty": 0.5}))
    with pytest.raises(RecordError, match="another scenario"):
        other.simulator.restore(0, saved)
    assert simulator.digest()[0] == digest


@pytest.mark.parametrize("id", IDS)
def test_fork_copies_the_present_and_leaves_it_alone(id):
    env = midway(id)
    simulator = env.simulator
    digest = simulator.digest()[0]
    forked = simulator.fork(0, 3)
    assert (forked.digest() == digest).all()
    assert forked.workloads == [simulator.workloads[0]] * 3
    role = env._face.role_name
    mask = forked.action_mask()[role][:, 0]
    chosen = np.array([np.flatnonzero(mask[i])[i % mask[i].sum()] for i in range(3)])
    shape = (3, 1, *(env.action_space.shape or ()))
    forked.step({role: chosen.reshape(shape)})
    assert simulator.digest()[0] == digest
    assert env.step(int(chosen[0]))[4] is not None


@pytest.mark.parametrize(("id", "scenario"), SMALL)
@pytest.mark.parametrize("how", ["deepcopy", "pickle"])
def test_copy_of_an_environment_goes_its_own_way(id, scenario, how):
    env = midway(id)
    digest = env.simulator.digest()[0]
    twin = copy.deepcopy(env) if how == "deepcopy" else pickle.loads(pickle.dumps(env))
    assert twin.simulator.digest()[0] == digest
    expected = futures(env, np.random.default_rng(2))
    assert twin.simulator.digest()[0] == digest, "stepping one moved the other"
    assert futures(twin, np.random.default_rng(2)) == expected
    assert equal_resets(env, twin)


def equal_resets(env, twin):
    """Both draw the same next workload."""
    return env.reset()[1]["workload_seed"] == twin.reset()[1]["workload_seed"]
