"""Worlds to plan in, and policies played to their end."""

from dataclasses import replace

import numpy as np

from fleetgym.baselines.mec_offloading.lookahead import costs_of
from fleetgym.envs.core.registration import family_of
from fleetgym.envs.core.view import View, as_actions
from fleetgym.envs.mec_offloading.types import NOBODY

FAMILY = family_of("mec-offloading")


def simulator(scenario, seed=0, change=None, **fields):
    """One world, its workload perhaps changed; the source's capacity is kept on it."""
    resolved = FAMILY.scenario(scenario, fields)
    source = FAMILY.workloads(resolved)
    made = FAMILY.simulate(resolved, source, 1)
    drawn = source.draw(seed)
    made.reset([drawn if change is None else change(drawn)])
    return made


def play(policy, made, most=10_000):
    """Plays a policy; returns what it did, decision by decision."""
    view = View(made, clairvoyant=policy.information == "clairvoyant")
    policy.reset(view, np.arange(1))
    done = []
    (role,) = made.roles
    while not made.over()[0] and len(done) < most:
        chosen = as_actions(view, policy.act(view))[role]
        done.append((made.state().asked[0].tolist(), chosen[0].tolist()))
        made.step({role: chosen})
    return done


def cost(made):
    return float(costs_of(made.state(), made.scenario)[0])


def obey(made, places):
    """Sends each task to the place (0 the device, then servers, then the cloud) given by row."""
    (role,) = made.roles
    while not made.over()[0]:
        task = int(made.state().asked[0, 0])
        assert task != NOBODY
        made.step({role: np.array([[places[task]]])})


def still(workload):
    """The workload with all applications there from the start."""
    apps = workload.applications
    return replace(workload, applications=replace(apps, arrival=np.zeros_like(apps.arrival)))
