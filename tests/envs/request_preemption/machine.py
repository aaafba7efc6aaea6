"""Machines made by hand for the tests: workloads of a few rows, players, what must hold."""

import numpy as np

from fleetgym.envs.core.registration import family_of
from fleetgym.envs.request_preemption.simulator import SCHEDULER, RequestPreemptionSimulator
from fleetgym.envs.request_preemption.types import (
    ASIDE_N,
    BLOCKS,
    EVICTABLE,
    FOCUS,
    FREE,
    HASH_TOKENS,
    HASHED,
    HOST,
    HOST_FREE,
    LISTS,
    PREEMPTED_NOW,
    QUEUED_N,
    RUNNING_N,
    SPARE_N,
)
from fleetgym.envs.request_preemption.workloads import ServingWorkload
from fleetgym.traces.schema_serving import ServingTrace

FAMILY = family_of("request-preemption")
SCENARIOS = list(FAMILY.scenarios())
US = 1_000  # ns
TINY = 1e-12  # s: a target of one picosecond


def workload(arrival_us, prompt, output, predicted=0, seed=0):
    """Single requests."""
    columns = (np.asarray(column) for column in (prompt, output))
    trace = ServingTrace.independent(
        "hand", np.asarray(arrival_us) * US, *(column.astype(np.int32) for column in columns)
    ).validate()
    return ServingWorkload("hand", seed, trace, np.full(len(trace), predicted, np.int32))


def simulator_of(workloads, scenario="small", **fields):
    """A simulator of as many worlds, each at its first decision."""
    resolved = FAMILY.scenario(scenario, {"arrival_scale": 1.0} | fields)
    traces = [one.trace for one in workloads]
    capacity = {"rows": max(map(len, traces)), "hashes": max(len(t.hashes) for t in traces)}
    simulator = RequestPreemptionSimulator(resolved, capacity, len(workloads))
    simulator.reset(workloads)
    return simulator


def drawn(scenario, seeds=(0,), **fields):
    """A simulator of worlds that the scenario's own source draws."""
    source = FAMILY.workloads(FAMILY.scenario(scenario, fields))
    resolved = FAMILY.scenario(scenario, fields)
    simulator = FAMILY.simulate(resolved, source, len(seeds))
    simulator.reset([source.draw(seed) for seed in seeds])
    return simulator


def mask_of(simulator):
    return simulator.action_mask()[SCHEDULER][:, 0]


def random_legal(simulator, rngs, haste=0.5):
    """A legal action of each world, ways to go on more often than others."""
    chosen = []
    for mask, rng in zip(mask_of(simulator), rngs, strict=True):
        legal = np.flatnonzero(mask)
        going = legal[legal < 3]
        chosen.append(rng.choice(going if len(going) and rng.random() < haste else legal))
    return np.array(chosen)


def first_come(simulator):
    """First come first served, as vLLM v1, on the one instance of each world."""
    state, chosen = simulator.state(), []
    for world, mask in enumerate(mask_of(simulator)):
        registers = state.instances[world, state.scalars[world, FOCUS]]
        running, queued = registers[RUNNING_N], registers[QUEUED_N]
        head = 3 + running
        if queued and registers[PREEMPTED_NOW] == 0 and mask[head]:
            chosen.append(head)
        elif mask[0]:
            chosen.append(0)
        else:  # the last one running, or whoever may be changed
            legal = np.flatnonzero(mask)
            chosen.append(max(legal[legal < head], default=legal[0]))
    return np.array(chosen)


def act(simulator, chosen):
    return simulator.step({SCHEDULER: np.asarray(chosen)[:, None]})


def finish(simulator, policy=first_come, most=20_000):
    """Plays every world to its end; returns the rewards' sum by terms, ``(B, terms)``."""
    earned = np.zeros((simulator.num_worlds, len(simulator.term_names)))
    for _ in range(most):
        if simulator.over().all():
            return earned
        act(simulator, policy(simulator))
        earned += simulator.reward_terms()[:, 0]
    raise AssertionError("the episode does not end")


def listed(state, world, i):
    """The requests on an instance, as columns of slots."""
    slots, registers = state.slots[world, i], state.instances[world, i]
    return [
        slots[:, slots[LISTS + which, n]]
        for which, length in enumerate((RUNNING_N, QUEUED_N, ASIDE_N))
        for n in range(registers[length])
    ]


def check_conservation(simulator):
    """Blocks, host blocks and slots are somewhere, each once."""
    state, scenario = simulator.state(), simulator.scenario
    for world in range(simulator.num_worlds):
        size = state.scalars[world, HASH_TOKENS] // 16
        for i in range(scenario.instances):
            here, registers = listed(state, world, i), state.instances[world, i]
            users, used = state.cache[world, i, 1], int(registers[EVICTABLE])
            used += int((users > 0).sum()) * size
            private = sum(int(slot[BLOCKS] - slot[HASHED] * size) for slot in here)
            assert registers[FREE] + used + private == scenario.kv_blocks
            assert registers[HOST_FREE] + sum(int(s[HOST]) for s in here) == scenario.cpu_blocks
            assert sum(int(slot[HASHED]) for slot in here) == users.sum()
            assert len(here) + registers[SPARE_N] == scenario.slots
            assert registers[FREE] >= 0 <= registers[HOST_FREE]
            assert registers[RUNNING_N] <= scenario.max_num_seqs
