"""The dynamics to the bit: a fixed sequence of actions leaves the digests it always left.

A change of dynamics, reward or scenario data changes them: bump the version (``-v1``),
add a line to its Version History, and write the file anew with
``python -m tests.envs.expert_placement.test_golden``.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from fleetgym.envs.core.registration import family_of

FILE = Path(__file__).parents[2] / "golden" / "expert_placement.json"
CASES = {
    "toy": ("toy", {}),
    "small": ("small", {}),
    "small-lp": ("small", {"dispatch": "lp", "drift": "abrupt", "skew": "olmoe"}),
    "small-overlapped": ("small", {"migration": "overlapped", "edits_per_layer": 3}),
    "small-select": ("small", {"action": "select", "windows": 8}),
    "small-forecast": ("small", {"action": "forecast", "windows": 6}),
    "small-agents": ("small", {"control": "distributed", "edits_per_layer": 2, "windows": 4}),
    "ep32-small": ("ep32-small", {"edits_per_layer": 2}),
}
SEED, STEPS = 2026, 60


def trajectory(case):
    """Workload, digests, rewards to the bit, and metrics of one episode.

    Of the legal actions the k-th is taken, k by a fixed rule: no random generator to depend on.
    """
    name, fields = CASES[case]
    family = family_of("ExpertPlacement")
    scenario = family.scenario(name, fields)
    source = family.workloads(scenario)
    simulator = family.simulate(scenario, source, 1)
    workload = source.draw(SEED)
    simulator.reset([workload])
    digests, rewards = [int(simulator.digest()[0])], []
    for k in range(STEPS):
        if simulator.decision_starts()[0]:
            simulator.elapse(np.full(1, 10**6))
        result = simulator.step(actions(simulator, k))
        digests.append(int(simulator.digest()[0]))
        rewards.append(float(result.reward.sum()).hex())
        if result.terminated[0] or result.truncated[0]:
            break
    return {
        "version": family.id,
        "workload": workload.digest,
        "digests": [f"{digest:016x}" for digest in digests],
        "rewards": rewards,
        "metrics": {name: float(v[0]).hex() for name, v in simulator.metrics().items()},
    }


def actions(simulator, k):
    """The planner serves the window at every eleventh step where it may."""
    (role,) = simulator.roles
    if simulator.scenario.action == "forecast":
        loads = simulator.state().history[:, k % 3].astype(np.int64)
        return {role: loads[:, None]}
    masks = simulator.action_mask()[role][0]
    chosen = []
    for agent, mask in enumerate(masks):
        legal = np.flatnonzero(mask)
        serve = k % 11 == 10 and simulator.state().layer[0] < 0
        chosen.append(int(legal[-1 if serve else (7 * k + 3 * agent + 3) % len(legal)]))
    return {role: np.array([chosen])}


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
