"""The dynamics to the bit: a fixed sequence of actions leaves the digests it always left.

A change of dynamics, reward or scenario data changes them: bump the version (``-v1``),
add a line to its Version History, and write the file anew with
``python -m tests.envs.expert_cache.test_golden``.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from fleetgym.envs.core.registration import family_of
from fleetgym.envs.expert_cache.simulator import AGENT

FILE = Path(__file__).parents[2] / "golden" / "expert_cache.json"
CASES = {
    "toy": ("toy", {}),
    "small": ("small", {}),
    "small-misses": ("small", {"reward": "misses", "locality": "low"}),
    "small-prefetch": ("small", {"prefetch": 2, "cost": "hybrimoe-affine-cpu"}),
    "small-batch": ("small", {"batch": 3, "cost": "fiddler", "dense_ms": 0.2}),
    "dsv2-lite": ("dsv2-lite", {"locality": "high", "capacity": 0.5}),
}
SEED, STEPS = 2026, 40


def trajectory(case):
    """Workload, digests, rewards to the bit, and metrics of the first steps of one episode.

    Of the legal actions the k-th is taken, k by a fixed rule: no random generator to depend on.
    """
    name, fields = CASES[case]
    family = family_of("ExpertCache")
    scenario = family.scenario(name, fields)
    source = family.workloads(scenario)
    simulator = family.simulate(scenario, source, 1)
    workload = source.draw(SEED)
    simulator.reset([workload])
    digests, rewards = [int(simulator.digest()[0])], []
    for k in range(STEPS):
        simulator.elapse(np.full(1, 10_000))
        legal = np.flatnonzero(simulator.action_mask()[AGENT][0, 0])
        result = simulator.step({AGENT: np.array([[legal[(7 * k + 3) % len(legal)]]])})
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
