"""VTC's promise: no two clients that wait all the time are served very differently."""

import numpy as np
import pytest
from tests.baselines.request_preemption.made import Made
from tests.baselines.request_preemption.schedulers import ready, simulator

from fleetgym.baselines.request_preemption import vtc
from fleetgym.baselines.request_preemption.kernel_policy import KernelPolicy
from fleetgym.envs.core.view import as_actions
from fleetgym.envs.request_preemption.types import INPUT_WEIGHT, OUTPUT_WEIGHT, QUEUED, SERVICE

MOST_OUTPUT, MOST_PROMPT, KV_BLOCKS = 120, 400, 60
BOUND = 2 * max(INPUT_WEIGHT * MOST_PROMPT, OUTPUT_WEIGHT * 16 * KV_BLOCKS)


def crowd():
    """One client asks for much at once and another for little, for as long as it takes."""
    rng = np.random.default_rng(5)
    light = [(0.0, int(rng.integers(20, 60)), int(rng.integers(5, 30))) for _ in range(170)]
    heavy = [(0.0, int(rng.integers(200, MOST_PROMPT)), MOST_OUTPUT) for _ in range(80)]
    return Made(heavy + light, client=[0] * len(heavy) + [1] * len(light))


def largest_gap(policy):
    """The largest difference in service while both clients wait, and how long they did."""
    fields = {"kv_blocks": KV_BLOCKS, "clients": 2, "slots": 256}
    made = simulator("fair", (0,), crowd(), **fields)
    policy, view = ready(policy, made)
    gap = steps = 0
    while not made.over()[0]:
        clients = made.state().clients[0]
        if not (clients[QUEUED] > 0).all():
            break
        gap, steps = max(gap, int(np.ptp(clients[SERVICE]))), steps + 1
        made.step(as_actions(view, policy.act(view)))
    return gap, steps


def test_services_of_backlogged_clients_stay_together():
    policy = KernelPolicy("vtc", vtc.rule, (MOST_OUTPUT, 0.0))
    gap, steps = largest_gap(policy)
    assert steps > 100
    assert 0 < gap <= BOUND


@pytest.mark.parametrize("name", ["fcfs-full-fit", "vllm-v1-fcfs"])
def test_first_come_first_served_drifts_apart(name):
    gap, _ = largest_gap(name)
    assert gap > 2 * BOUND
