"""The schedulers of one instance, by name, and worlds for them to play."""

import numpy as np

from fleetgym.baselines.policy import make_baseline
from fleetgym.envs.core.registration import family_of
from fleetgym.envs.core.view import View

SCHEDULERS = (
    "hold",
    "vllm-v1-fcfs",
    "vllm-v1-priority",
    "vllm-v0",
    "fcfs-full-fit",
    "fcfs-full-fit-reserve",
    "sjf-full-fit",
    "sarathi",
    "las",
    "mlfq",
    "edf",
    "srpt-predicted",
    "srpt",
    "vtc",
    "fastswitch",
    "slo-fit",
    "paced",
)
FAMILY = family_of("RequestPreemption")


def simulator(scenario, seeds, source=None, **fields):
    """A simulator of one world for each seed, reset."""
    resolved = FAMILY.scenario(scenario, fields)
    drawn = source or FAMILY.workloads(resolved)
    made = FAMILY.simulate(resolved, drawn, len(seeds))
    made.reset([drawn.draw(seed) for seed in seeds])
    return made


def ready(policy, made):
    """A policy, by name or itself, that has begun the worlds of a simulator; and its view."""
    policy = make_baseline(FAMILY, policy) if isinstance(policy, str) else policy
    view = View(made, clairvoyant=policy.information == "clairvoyant")
    policy.reset(view, np.arange(made.num_worlds))
    return policy, view
