"""The dynamics to the bit: a fixed sequence of actions leaves the digests it always left.

A change of dynamics, reward or scenario data changes them: bump the version (``-v1``),
add a line to its Version History, and write the file anew with
``python -m tests.envs.request_preemption.test_golden``.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from tests.envs.request_preemption.machine import FAMILY

from fleetgym.envs.request_preemption.simulator import SCHEDULER

FILE = Path(__file__).parents[2] / "golden" / "request_preemption.json"
CASES = {
    "toy": ("toy", {}),
    "small": ("small", {}),
    "small-chosen": ("small", {"preemption": "chosen", "priority_levels": 3, "clients": 4}),
    "small-scores": ("small", {"action": "scores", "predictions": True}),
    "priority": ("priority", {"priority_pattern": "markov"}),
    "agents": ("agents", {}),
    "cluster-4": ("cluster-4", {}),
}
SEED, STEPS = 2026, 60


def trajectory(case):
    """Workload, digests, rewards to the bit, and metrics of the first steps of an episode.

    Of the legal actions the k-th is taken, k by a fixed rule: no random generator to depend on.
    """
    name, fields = CASES[case]
    scenario = FAMILY.scenario(name, fields)
    source = FAMILY.workloads(scenario)
    simulator = FAMILY.simulate(scenario, source, 1)
    workload = source.draw(SEED)
    simulator.reset([workload])
    digests, rewards = [int(simulator.digest()[0])], []
    for k in range(STEPS):
        if k % 7 == 3 and simulator.decision_starts()[0]:
            simulator.elapse(np.full(1, 20 * 10**6))
        result = simulator.step({SCHEDULER: action(simulator, k)})
        digests.append(int(simulator.digest()[0]))
        rewards.append(float(result.reward[0, 0]).hex())
        if result.terminated[0] or result.truncated[0]:
            break
    return {
        "version": FAMILY.id,
        "workload": workload.digest,
        "digests": [f"{digest:016x}" for digest in digests],
        "rewards": rewards,
        "metrics": {name: float(v[0]).hex() for name, v in simulator.metrics().items()},
    }


def action(simulator, k):
    mask = simulator.action_mask()[SCHEDULER][0, 0]
    if simulator.scenario.action == "scores":
        return ((np.arange(len(mask)) * 37 + 11 * k) % 256)[None, None]
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
