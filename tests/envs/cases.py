"""What the tests of every environment run over: discovered from the registry, never listed."""

import gymnasium
import numpy as np

from fleetgym.envs.core.errors import ScenarioError
from fleetgym.envs.core.registration import families

IDS = list(families())
CASES = [(family.id, name) for family in families().values() for name in family.scenarios()]
SMALL = [(family.id, next(iter(family.scenarios()))) for family in families().values()]
BUSY = {
    "fleetgym/ExpertCache-v0": {"scenario": "small", "tokens": 1, "prefetch": 1},
    "fleetgym/ExpertPlacement-v0": {
        "scenario": "small",
        "layers": 2,
        "windows": 2,
        "edits_per_layer": 2,
    },
    "fleetgym/MECOffloading-v0": {
        "scenario": "small",
        "devices": 3,
        "tasks": 3,
        "apps": 2,
        "interarrival_s": 0.3,
        "task_mb": 100.0,
        "device_mb": 130.0,
        "server_mb": 60.0,
        "speed_m_s": 20.0,
        "failures": 1.0,
        "failure_s": 0.2,
    },
    "fleetgym/RequestPreemption-v0": {
        "scenario": "small",
        "requests": 8,
        "arrival_scale": 0.3,
        "instances": 2,
        "kv_blocks": 260,
        "slots": 8,
        "max_num_seqs": 4,
        "preemption": "chosen",
        "priority_levels": 3,
        "priority_updates": 0.25,
        "clients": 2,
        "weight_fairness": 0.1,
        "predictions": True,
        "max_steps": 16,
    },
    "fleetgym/VMRescheduling-v0": {"scenario": "small", "churn_per_min": 0.5, "mnl": 3},
}


def takes_agents(family):
    """Whether its scenarios may be controlled by several agents."""
    try:
        next(iter(family.scenarios().values())).override({"control": "distributed"})
    except ScenarioError:
        return False
    return True


PARALLEL = [family.id for family in families().values() if takes_agents(family)]


def busy(id):
    """Arguments that make a small environment of short episodes whose outside world is busy."""
    return dict(BUSY[id])


def make(id, **arguments):
    """The bare environment; the wrappers of ``gym.make`` are Gymnasium's business."""
    return gymnasium.make(id, **arguments).unwrapped


def make_vec(id, n, **arguments):
    return gymnasium.make_vec(id, n, vectorization_mode="vector_entry_point", **arguments)


def legal(mask, rng):
    """A uniformly random legal action of a flat mask."""
    return int(rng.choice(np.flatnonzero(mask)))


def play(env, seed, steps, *, before=None):
    """Random legal play; yields what each step returns, a reset first."""
    rng = np.random.default_rng(seed)
    observation, info = env.reset(seed=seed)
    yield observation, 0.0, False, False, info
    for _ in range(steps):
        if before is not None:
            before(env)
        result = env.step(legal(observation["action_mask"], rng))
        observation = result[0]
        yield result
        if result[2] or result[3]:
            observation, _ = env.reset()


def equal(one, other):
    """Whether two nested structures of arrays are equal to the bit."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[k], other[k]) for k in one)
    return np.array_equal(one, other)
