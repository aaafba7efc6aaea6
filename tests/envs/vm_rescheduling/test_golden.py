"""The dynamics to the bit: a fixed sequence of actions leaves the digests it always left.

A change of dynamics, reward or scenario data changes them: bump the version (``-v1``),
add a line to its Version History, and write the file anew with
``python -m tests.envs.vm_rescheduling.test_golden``.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from fleetgym.envs.core.registration import family_of
from fleetgym.envs.vm_rescheduling.simulator import AGENT

FILE = Path(__file__).parents[2] / "golden" / "vm_rescheduling.json"
CASES = {
    "toy": ("toy", {}),
    "toy-pair": ("toy", {"action": "pair"}),
    "small": ("small", {}),
    "small-vmr2l": ("small", {"reward": "vmr2l"}),
    "small-churn": ("small", {"churn_per_min": 0.2, "mnl": 20}),
    "small-affinity": (
        "small",
        {"groups": 6, "group_size": 4, "weight_pair": 0.5, "weight_traffic": 1.0},
    ),
}
SEED, STEPS = 2026, 40


def trajectory(case):
    """Workload, digests, rewards to the bit, and metrics of one episode.

    Of the legal actions the k-th is taken, k by a fixed rule: no random generator to depend on.
    """
    name, fields = CASES[case]
    family = family_of("VMRescheduling")
    scenario = family.scenario(name, fields)
    source = family.workloads(scenario)
    simulator = family.simulate(scenario, source, 1)
    workload = source.draw(SEED)
    simulator.reset([workload])
    digests, rewards = [int(simulator.digest()[0])], []
    for k in range(STEPS):
        if simulator.decision_starts()[0]:
            simulator.elapse(np.full(1, 3 * 10**9))
        result = simulator.step({AGENT: action(simulator, k)})
        digests.append(int(simulator.digest()[0]))
        rewards.append(float(result.reward[0, 0]).hex())
        if result.terminated[0] or result.truncated[0]:
            break
    return {
        "version": family.id,
        "workload": workload.digest,
        "digests": [f"{digest:016x}" for digest in digests],
        "rewards": rewards,
        "metrics": {name: float(v[0]).hex() for name, v in simulator.metrics().items()},
    }


def action(simulator, k):
    mask = simulator.action_mask()[AGENT][0, 0]
    vms = simulator.state().vm_pm.shape[1]
    if simulator.scenario.action == "pair":
        movable = np.flatnonzero(mask[:vms])
        vm = int(movable[(7 * k + 3) % len(movable)])
        targets = simulator.legal_targets(0, vm)
        return np.array([[[vm, int(targets[(5 * k) % len(targets)])]]])
    mask = mask.copy()
    mask[vms] = 0  # STOP
    legal = np.flatnonzero(mask)
    return np.array([[int(legal[(7 * k + 3) % len(legal)])]])


@pytest.mark.parametrize("case", CASES)
def test_golden(case):
    expected = json.loads(FILE.read_text())[case]
    seen = trajectory(case)
    for part, value in expected.items():
        assert seen[part] == value, (
            f"{part} of {case!r} changed: dynamics, reward or scenario data are not what "
            f"{expected['version']} was. Bump the version"
        )


if __name__ == "__main__":
    FILE.write_text(json.dumps({case: trajectory(case) for case in CASES}, indent=1) + "\n")
