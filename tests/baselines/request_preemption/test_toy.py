"""The toy's best mean latency by brute force, and who reaches it.

Searched are all admissions at all decisions, in mixed iterations; nothing is preempted by choice.
"""

import numpy as np
import pytest
from tests.baselines.request_preemption.schedulers import SCHEDULERS, ready, simulator

from fleetgym.envs.request_preemption.queues import table_slot
from fleetgym.envs.request_preemption.simulator import SCHEDULER
from fleetgym.envs.request_preemption.types import (
    ARRIVAL,
    BLOCKS,
    CHANGED,
    CLOCK,
    COMPUTED,
    E2E,
    FINISHED,
    FIRST,
    GENERATED,
    INSTANT,
    KIND,
    MODE,
    OUTPUT,
    PROMPT,
    PS,
    QUEUED_N,
    R_A0,
    R_A1,
    R_D0,
    R_D1,
    R_D2,
    RUNNING_N,
)

ALIKE = (ARRIVAL, PROMPT, COMPUTED, GENERATED, BLOCKS, FIRST)
REQUESTS = 4


def table(made):
    """What there is to know of each request, in the table's order."""
    slots, registers = made.world.slots[0, 0], made.world.instances[0, 0]
    found = []
    for n in range(registers[RUNNING_N] + registers[QUEUED_N]):
        s = table_slot.py_func(slots, registers, n)
        changed = slots[CHANGED, s] == registers[INSTANT]
        found.append((*slots[list(ALIKE), s].tolist(), bool(changed)))
    return found


def state_of(made):
    """Equal for states that go on alike: the three short requests are interchangeable."""
    registers, scalars = made.world.instances[0, 0], made.world.scalars[0]
    parts = (registers[RUNNING_N], registers[MODE], scalars[CLOCK], scalars[KIND], scalars[E2E])
    return (*(int(part) for part in parts), *table(made))


def at_least(made, shortest):
    """Picoseconds of latency that the four requests have in the end, whatever is done."""
    scalars, slots = made.world.scalars[0], made.world.slots[0, 0]
    registers = made.world.instances[0, 0]
    total, here = int(scalars[E2E]), 0
    for n in range(registers[RUNNING_N] + registers[QUEUED_N]):
        s = table_slot.py_func(slots, registers, n)
        left = int(slots[OUTPUT, s] - slots[GENERATED, s])
        total += int(scalars[CLOCK] - slots[ARRIVAL, s]) + left * shortest
        here += 1
    missing = REQUESTS - here - int(scalars[FINISHED])
    return total + missing * 9 * shortest  # those yet to come are short


def choices(made):
    """Admissions, one of each kind of request, and one way to go on; else whatever is legal."""
    rows, seen = table(made), set()
    running = int(made.world.instances[0, 0, RUNNING_N])
    legal = np.flatnonzero(made.shown.mask[0])
    free = legal[(legal < 3) | (legal >= 3 + running)]
    for action in free if len(free) else legal:
        about = "go" if action < 3 else rows[action - 3]
        if about not in seen:
            seen.add(about)
            yield int(action)


def best_mean_latency(reached):
    """Seconds; searched depth first, and given up where no better than what was ``reached``."""
    made = simulator("toy", (0,))
    of, first = made.rules.of, made.rules.first
    decode, prefill = of[R_D0] + of[R_D1] + of[R_D2], of[R_A0] + of[R_A1]
    shortest = int(first[1:].min() + min(decode, prefill))
    best, seen = round(reached * REQUESTS * PS) + REQUESTS, set()
    stack = [(made.save(0), action) for action in choices(made)]
    while stack:
        saved, action = stack.pop()
        made.restore(0, saved)
        made.step({SCHEDULER: np.array([[action]])})
        if made.over()[0]:
            best = min(best, int(made.world.scalars[0, E2E]))
            continue
        state = state_of(made)
        if state in seen or at_least(made, shortest) >= best:
            continue
        seen.add(state)
        saved = made.save(0)
        stack += [(saved, each) for each in reversed(list(choices(made)))]
    return best / REQUESTS / PS


@pytest.fixture(scope="module")
def reached():
    """Mean latency of every scheduler on the toy."""
    found = {}
    for name in SCHEDULERS:
        made = simulator("toy", (0, 1))
        policy, _ = ready(name, made)
        given = {"parameters": policy.parameters, "memory": policy.memory}
        made.rollout(policy.kernel, 10_000, **given)
        found[name] = float(made.metrics()["e2e_mean_s"][0])
    return found


def test_the_optimum_and_who_reaches_it(reached):
    """First come first served lets the long one and one short go, then the others: the best."""
    best = best_mean_latency(max(reached.values()))
    assert best == pytest.approx(0.239_099_719_623, abs=1e-12)
    first = {name for name, value in reached.items() if value <= best + 1e-9}
    assert first == {
        "fcfs-full-fit",
        "sjf-full-fit",
        "srpt",
        "srpt-predicted",
        "vllm-v1-fcfs",
        "vllm-v1-priority",
        "vtc",
    }
    assert min(reached.values()) > best - 1e-9
