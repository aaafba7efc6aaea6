"""Playing policies on small scenarios, and workloads that part at a time."""

from dataclasses import replace

import numpy as np

from fleetgym.baselines.policy import make_baseline
from fleetgym.envs.core.registration import family_of
from fleetgym.envs.core.view import View
from fleetgym.envs.request_preemption.types import CLOCK, KIND, OVER, PAUSED, PS_OF_NS, ROW, STATE

FAMILY = family_of("RequestPreemption")
MOST_STEPS = 200_000


def begin(policy, scenario, seeds=(0,), workloads=None, **overrides):
    """A simulator, reset, and the policy's view of it."""
    resolved = FAMILY.scenario(scenario, overrides)
    source = FAMILY.workloads(resolved)
    drawn = [source.draw(seed) for seed in seeds] if workloads is None else workloads
    simulator = FAMILY.simulate(resolved, source, len(drawn))
    simulator.reset(drawn)
    view = View(simulator)
    policy.reset(view, np.arange(len(drawn)))
    return simulator, view


def play(name, scenario, seeds=(0,), watch=None, **overrides):
    """Plays a baseline to the end and returns the metrics; every action must be legal.

    ``watch(state, actions)`` is called with each action.
    """
    policy = make_baseline(FAMILY, name)
    simulator, view = begin(policy, scenario, seeds, **overrides)
    for _ in range(MOST_STEPS):
        actions = policy.act(view)
        if watch is not None:
            watch(simulator.state(), actions["scheduler"][:, 0])
        simulator.step(actions)
        if simulator.over().all():
            break
    metrics = simulator.metrics()
    assert simulator.over().all()
    assert metrics["illegal_actions"].sum() == metrics["unfinished"].sum() == 0
    assert (metrics["finished"] + metrics["rejected"]).min() > 0
    return metrics


def actions_until(name, scenario, workload, until, **overrides):
    """Actions of a baseline up to a clock (ps), with that of each, and the state where it stops."""
    policy = make_baseline(FAMILY, name)
    simulator, view = begin(policy, scenario, workloads=[workload], **overrides)
    taken = []
    state = simulator.state()
    while state.scalars[0, CLOCK] <= until and state.scalars[0, KIND] != OVER:
        actions = policy.act(view)
        taken.append((int(state.scalars[0, CLOCK]), int(actions["scheduler"][0, 0])))
        last = state.slots[0].copy()
        simulator.step(actions)
    return taken, last


def parted(workload, slots, time, arrival_scale):
    """The workload with another future from a time (ps) on: arrivals, outputs, and pauses.

    ``slots`` (I, fields, N) are those of the machine then: requests that have begun by then end
    later, and turns that have ended by then wake later.
    """
    trace = workload.trace
    arrival, output = trace.arrival_ns.copy(), trace.output_tokens.copy()
    pause = trace.pause_ns.copy()
    firsts = np.arange(len(arrival)) < trace.num_arrivals
    late = firsts & (arrival * arrival_scale > time // PS_OF_NS)
    arrival[late] += 3_000_000_000
    output[late] = 1 + output[late] // 2
    for table in slots:
        for row, state in zip(table[ROW], table[STATE], strict=True):
            if state == PAUSED:
                pause[trace.next_turn[row]] += 500_000_000_000
            elif state > 0:
                output[row] += 40
    other = replace(trace, arrival_ns=arrival, output_tokens=output, pause_ns=pause)
    return replace(workload, trace=other)
