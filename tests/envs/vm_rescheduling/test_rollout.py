import numpy as np
import pytest

from fleetgym.envs.core.registration import family_of
from fleetgym.envs.vm_rescheduling import kernels

FAMILY = family_of("vm-rescheduling")


@pytest.fixture
def simulator():
    def make(worlds):
        scenario = FAMILY.scenario("small")
        source = FAMILY.workloads(scenario)
        made = FAMILY.simulate(scenario, source, worlds)
        made.reset([source.draw(seed) for seed in range(worlds)])
        return made

    return make


def test_rollout_is_stepping(simulator):
    """The kernel's worlds end where the same actions, stepped from Python, lead."""
    fast, slow = simulator(5), simulator(5)
    actions, counts = fast.rollout(kernels.draw_legal, 12, seed=3)
    assert counts.max() == 12  # cut: an episode has up to 20 steps
    for k in range(12):
        slow.step({"scheduler": actions[:, k : k + 1]}, active=counts > k)
    assert fast.digest().tolist() == slow.digest().tolist()
    for name, view in fast.observation()["scheduler"].items():
        assert np.array_equal(view, slow.observation()["scheduler"][name]), name
    assert fast.metrics()["illegal_actions"].sum() == 0


def test_rollout_ends_with_the_episode(simulator):
    worlds = simulator(8)
    actions, counts = worlds.rollout(kernels.draw_legal, 1_000)
    assert worlds.over().all()
    assert counts.max() <= 2 * worlds.scenario.mnl + 1
    assert (actions[np.arange(1_000) >= counts[:, None]] == 0).all()


def test_draws_are_uniform_over_what_is_legal(simulator):
    worlds = simulator(1)
    legal = np.flatnonzero(worlds.action_mask()["scheduler"][0, 0])
    actions, seen = np.zeros((1, 2), np.int64), []
    random = np.array([7], np.uint64)
    for _ in range(40 * len(legal)):
        kernels.sample_legal(worlds.world, np.ones(1, np.bool_), random, actions)
        seen.append(int(actions[0, 0]))
    times = np.bincount(seen, minlength=legal[-1] + 1)
    assert set(np.flatnonzero(times)) == set(legal)
    chi2 = ((times[legal] - 40) ** 2 / 40).sum()
    assert chi2 < len(legal) + 5 * np.sqrt(2 * len(legal))
