"""No scheduler is faster than the bound, and the bound is what it says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.baselines.request_preemption.schedulers import FAMILY, SCHEDULERS

from fleetgym.baselines.request_preemption.bounds import mean_latency_bound, shortest_first
from fleetgym.envs.request_preemption.layout import rules_of
from fleetgym.envs.request_preemption.types import PS, R_A0, R_A1, R_A2, R_D0, R_D1, R_D2


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize(
    ("scenario", "fields"),
    [
        ("toy", {}),
        ("chat", {"requests": 60}),
        ("burst", {"requests": 80, "arrival_scale": 0.05}),
        ("agents", {"requests": 8}),
    ],
)
def test_no_scheduler_beats_the_bound(play, name, scenario, fields):
    resolved = FAMILY.scenario(scenario, fields)
    drawn = FAMILY.workloads(resolved).draw(0)
    reached = play(name, scenario, **fields).metrics["e2e_mean_s"][0]
    assert 0 < mean_latency_bound(drawn, resolved) <= reached


def test_it_is_near_where_requests_crowd(play):
    """Sixteen times the load: the bound by work or room is what counts, not each alone."""
    fields = {"requests": 300, "arrival_scale": 0.05}
    resolved = FAMILY.scenario("burst", fields)
    bound = mean_latency_bound(FAMILY.workloads(resolved).draw(0), resolved)
    reached = play("srpt", "burst", **fields).metrics["e2e_mean_s"][0]
    assert bound > 0.25 * reached


def test_a_request_by_itself_takes_a_little_more_than_the_bound(play):
    resolved = FAMILY.scenario("chat", {"requests": 1})
    drawn = FAMILY.workloads(resolved).draw(0)
    p, o = int(drawn.trace.prompt_tokens[0]), int(drawn.trace.output_tokens[0])
    rules = rules_of(resolved)
    r = rules.of
    took, left, k = 0, p, 0
    while left:
        c = min(left, resolved.token_budget)
        took += rules.first[c] + r[R_A0] + r[R_A1] * c + r[R_A2] * ((k + c) ** 2 - k**2)
        k, left = k + c, left - c
    took += sum(rules.first[1] + r[R_D0] + r[R_D1] + r[R_D2] * (p + g) for g in range(1, o))
    assert play("hold", "chat", requests=1).metrics["e2e_mean_s"][0] == pytest.approx(took / PS)
    bound = mean_latency_bound(drawn, resolved)
    assert 0.85 * took / PS < bound < took / PS


def test_rejected_requests_do_not_count():
    resolved = FAMILY.scenario("toy", {"kv_blocks": 5})
    short = FAMILY.scenario("toy", {"kv_blocks": 1})
    drawn = FAMILY.workloads(resolved).draw(0)
    assert mean_latency_bound(drawn, resolved) > 0
    assert mean_latency_bound(drawn, short) == 0


def by_units(jobs):
    """The same rule, one unit of time after the other."""
    left, now, total = {}, 0, 0
    while left or any(arrival >= now for arrival, _ in jobs):
        left |= {n: work for n, (arrival, work) in enumerate(jobs) if arrival == now}
        total += len(left)
        if left:
            first = min(left, key=left.get)
            left[first] -= 1
            if left[first] == 0:
                del left[first]
        now += 1
    return total / len(jobs)


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(1, 9)), min_size=1, max_size=8))
@settings(max_examples=100, deadline=None)
def test_shortest_first_against_unit_steps(jobs):
    arrival, work = zip(*jobs, strict=True)
    assert shortest_first(arrival, work) == pytest.approx(by_units(jobs))


def test_shortest_first_by_hand():
    assert shortest_first(np.array([0.0, 1.0]), np.array([10.0, 1.0])) == 6.0
