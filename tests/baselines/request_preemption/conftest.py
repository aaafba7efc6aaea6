from types import SimpleNamespace

import pytest
from tests.baselines.request_preemption.schedulers import ready, simulator

from fleetgym.envs.request_preemption.types import KIND, OVER


@pytest.fixture
def play():
    """Plays a policy to the end of its worlds, inside the kernels, and holds it to the mask."""

    def played(policy, scenario, seeds=(0, 1), source=None, **fields):
        made = simulator(scenario, seeds, source, **fields)
        policy, _ = ready(policy, made)
        given = {"parameters": policy.parameters, "memory": policy.memory}
        actions, counts = made.rollout(policy.kernel, 100_000, **given)
        metrics = made.metrics()
        assert (made.state().scalars[:, KIND] == OVER).all(), "the episode does not end"
        assert not metrics["illegal_actions"].any()
        assert not metrics["dropped_actions"].any()
        return SimpleNamespace(
            simulator=made,
            metrics=metrics,
            actions=[row[:count].tolist() for row, count in zip(actions, counts, strict=True)],
        )

    return played
