"""What no policy can beat in an episode: the time of each application with everything to itself."""

import math
from collections import defaultdict
from dataclasses import replace

import numpy as np

from fleetgym.baselines.mec_offloading.bounds import critical_path_bound
from fleetgym.baselines.mec_offloading.problem import Float64
from fleetgym.baselines.mec_offloading.situation import Looker
from fleetgym.envs.mec_offloading.scenario import MECOffloadingScenario
from fleetgym.envs.mec_offloading.simulator import MECOffloadingSimulator
from fleetgym.envs.mec_offloading.types import State
from fleetgym.envs.mec_offloading.workloads import MECWorkload, source_of

ROUNDING = 1e-7  # of a time, for what adding up in another order may change


def makespan_bounds(
    scenario: MECOffloadingScenario, workload: MECWorkload, capacity: dict[str, int]
) -> Float64:
    """``(A,)`` ns: no policy, clairvoyant or not, finishes an application in less.

    The longest path, each task's parent at the place that suits it best, nobody else on the air or
    at a server, the channel always at the best that fading makes of it, and of all positions of a
    device the best.

    Args:
        scenario: of the episode.
        workload: of the episode.
        capacity: of its source.
    """
    looker = Looker(scenario, full=True, best=True)
    states = [
        _state(scenario, _standing(workload, position), capacity)
        for position in range(len(workload.devices.track))
    ]
    bounds = []
    for app, device in enumerate(workload.applications.device.tolist()):
        ways = looker.ways(states[0], 0, device)
        for state in states[1:]:
            ways.loosen(looker.ways(state, 0, device))
        looks = [looker.look(state, 0, app, ways) for state in states]
        problems = [situation.problem for situation in looks if situation is not None]
        bare = problems[0]._replace(
            duration=np.min([problem.duration for problem in problems], axis=0),
            weight=np.ones(1),
            price=np.zeros_like(problems[0].price),
            free=np.zeros_like(problems[0].free),
        )
        bounds.append(critical_path_bound(bare))
    return np.array(bounds) * (1 - ROUNDING)


def episode_bound(scenario: MECOffloadingScenario, workload: MECWorkload) -> dict[str, float]:
    """Metrics of an episode that no policy betters; NaN where no bound is known."""
    found = makespan_bounds(scenario, workload, dict(source_of(scenario).capacity)) * 1e-9
    return defaultdict(lambda: math.nan, mean_makespan_s=float(found.mean()))


def _state(
    scenario: MECOffloadingScenario, workload: MECWorkload, capacity: dict[str, int]
) -> State:
    simulator = MECOffloadingSimulator(scenario, capacity, 1)
    simulator.reset([workload])
    return simulator.state()


def _standing(workload: MECWorkload, position: int) -> MECWorkload:
    """The workload with devices that stay at one position, all there from the start, no failure."""
    apps = workload.applications
    return replace(
        workload,
        devices=replace(workload.devices, track=workload.devices.track[position : position + 1]),
        applications=replace(apps, arrival=np.zeros_like(apps.arrival)),
        failures=workload.failures[:0],
    )
