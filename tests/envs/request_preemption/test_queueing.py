"""The machine where theory knows the answer: one request alone, one at a time, one by one."""

import numpy as np
import pytest
from tests.envs.request_preemption.machine import TINY, drawn, finish, simulator_of, workload

from fleetgym.envs.hardware import gpu
from fleetgym.envs.request_preemption.types import (
    CLOCK,
    E2E,
    LATE_TBT,
    LATE_TTFT,
    SUMS,
    WORLD_FIELDS,
)

BUDGET = 2_048
TIMES = gpu.load("llama-3-8b", "a100", 1).quantised(40_000)
PS_OF_US = 10**6


def alone(prompt, output):
    """Picoseconds to the first token, and from it to the last, of a request by itself."""
    first = k = 0
    while k < prompt:
        c = min(BUDGET, prompt - k)
        first += int(TIMES.first[c]) + TIMES.a0_ps + TIMES.a1_ps * c
        first += TIMES.a2_ps * ((k + c) ** 2 - k**2)
        k += c
    gap = int(TIMES.first[1]) + TIMES.d0_ps + TIMES.d1_ps
    later = sum(gap + TIMES.d2_ps * (prompt + i + 1) for i in range(output - 1))
    return first, later


@pytest.mark.parametrize(
    ("prompt", "output"), [(1, 1), (1, 40), (16, 2), (1_000, 300), (2_048, 17), (5_000, 900)]
)
def test_a_lone_request_takes_what_the_formula_says(prompt, output):
    made = workload([7], [prompt], [output])
    simulator = simulator_of([made], ttft_slo_s=TINY, tbt_slo_s=TINY)
    finish(simulator)
    first, later = alone(prompt, output)
    levels, sums = simulator.world.levels[0, :, 0], simulator.world.scalars[0]
    assert levels[LATE_TTFT] == first - 1
    assert levels[LATE_TBT] == later - (output - 1)
    assert sums[E2E] == first + later
    assert sums[CLOCK] == 7 * PS_OF_US + first + later
    measured = simulator.metrics()
    assert measured["ttft_p50_s"][0] == pytest.approx(first / 1e12, rel=1e-3)
    formula = gpu.load("llama-3-8b", "a100", 1).seconds(prefill=[(0, min(prompt, BUDGET))])
    if prompt <= BUDGET:
        assert first / 1e12 == pytest.approx(formula, rel=1e-6)


@pytest.mark.parametrize("load", [0.3, 0.9, 3.0])
def test_one_at_a_time_obeys_lindleys_recursion(load):
    rng = np.random.default_rng(3)
    prompt, output = rng.integers(1, 3_000, (2, 40)), rng.integers(1, 120, (2, 40))
    services = np.array([[sum(alone(*pair)) for pair in zip(*rows, strict=True)]
                         for rows in zip(prompt, output, strict=True)])  # fmt: skip
    gap_us = services.mean() / load / PS_OF_US
    arrival = np.cumsum(rng.exponential(gap_us, (2, 40)), axis=1).astype(np.int64)
    made = [workload(*rows) for rows in zip(arrival, prompt, output, strict=True)]
    simulator = simulator_of(made, max_num_seqs=1, slots=40)
    finish(simulator)
    for world in range(2):
        done, sojourns = 0, 0
        for came, service in zip(arrival[world] * PS_OF_US, services[world], strict=True):
            done = max(int(came), done) + int(service)
            sojourns += done - int(came)
        assert simulator.world.scalars[world, E2E] == sojourns
        assert simulator.world.scalars[world, CLOCK] == done


@pytest.mark.parametrize(
    "fields", [{}, {"priority_levels": 3, "priority_updates": 0.05}, {"token_budget": 300}]
)
def test_skipping_over_iterations_is_stepping(fields):
    """Asked after every iteration or at events only, first come first served decides alike.

    Seats are short and blocks are not: after a preemption the rule asked sooner starts sooner.
    """
    fields = {"kv_blocks": 4_000, "max_num_seqs": 5} | fields
    counted = {"decisions", "max_gap"}
    seen = []
    for iterations in (1, 1_000_000):
        simulator = drawn("small", range(3), decision_iterations=iterations, **fields)
        finish(simulator, most=200_000)
        sums = simulator.world.scalars[:, len(WORLD_FIELDS) :]
        assert len(SUMS) == sums.shape[1]
        kept = [n for n, name in enumerate(SUMS) if name not in counted]
        arrays = (sums[:, kept], simulator.world.histograms, simulator.world.levels)
        seen.append([array.copy() for array in (*arrays, simulator.world.scalars[:, CLOCK])])
        asked = simulator.metrics()["decisions"].sum()
    for one, other in zip(*seen, strict=True):
        assert (one == other).all()
    assert asked > 100
