import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("sb3_contrib")

from fleetgym.envs.core.registration import family_of
from fleetgym.envs.vm_rescheduling.simulator import VMReschedulingSimulator

AGENT = "scheduler"


@pytest.fixture
def simulator():
    """Makes a reset simulator of B small worlds."""

    def make(worlds=3, **overrides) -> VMReschedulingSimulator:
        family = family_of("vm-rescheduling")
        scenario = family.scenario("small", overrides)
        source = family.workloads(scenario)
        made = family.simulate(scenario, source, worlds)
        made.reset([source.draw(seed) for seed in range(worlds)])
        return made

    return make


@pytest.fixture
def migrate():
    """One random legal migration in every world; returns source and target machines (B, 2)."""

    def move(simulator, rng):
        v = simulator.sizes.vms
        mask = simulator.action_mask()[AGENT][:, 0]
        vm = np.array([rng.choice(np.flatnonzero(row[:v])) for row in mask])
        source = simulator.state().vm_pm[np.arange(len(vm)), vm].copy()
        simulator.step({AGENT: vm[:, None]})
        mask = simulator.action_mask()[AGENT][:, 0]
        flat = np.array([rng.choice(np.flatnonzero(row)) for row in mask])
        simulator.step({AGENT: flat[:, None]})
        return np.stack((source, (flat - v - 1) // 2), 1).astype(np.int64)

    return move
