"""Imagined worlds hold nothing of what is to come, nor of what is hidden."""

from dataclasses import replace

import numpy as np
import pytest
from tests.envs.request_preemption.machine import (
    act,
    check_conservation,
    drawn,
    finish,
    first_come,
    mask_of,
    random_legal,
    simulator_of,
    workload,
)

from fleetgym.envs.core.errors import PolicyError
from fleetgym.envs.core.view import View
from fleetgym.envs.request_preemption.types import (
    GENERATED,
    OUTPUT,
    ROW_NEXT,
    ROW_PROMPT,
    STATE,
    STATES,
)

MARK = 7_777
PAST, AHEAD = 12, 12


def twins(**fields):
    """Two worlds that are equal up to now: what is to come and what is hidden differs."""
    rng = np.random.default_rng(1)
    prompt, output = rng.integers(200, 1_500, PAST + AHEAD), rng.integers(150, 300, PAST + AHEAD)
    arrival = np.concatenate([np.arange(PAST) * 1_000, 10**8 + np.arange(AHEAD) * 1_000])
    plain = workload(arrival, prompt, output, predicted=100)
    marked = replace(plain.trace, prompt_tokens=plain.trace.prompt_tokens.copy())
    marked.prompt_tokens[PAST:] = MARK
    marked.output_tokens[:] += 137
    marked.arrival_ns[PAST:] += 10**9
    other = replace(plain, trace=replace(marked, arrival_ns=marked.arrival_ns.copy()))
    plain = workload(arrival, prompt, output, predicted=100)
    simulator = simulator_of([plain, other], kv_blocks=500, predictions=True, **fields)
    for _ in range(21):  # the last before the first of them finishes
        act(simulator, first_come(simulator))
    return simulator


def test_twins_are_equal_up_to_now():
    simulator = twins()
    state = simulator.state()
    for name in state._fields:
        one, other = getattr(state, name)
        assert np.array_equal(one, other), name
    outputs = simulator.world.slots[:, 0, OUTPUT]
    assert not np.array_equal(outputs[0], outputs[1])


@pytest.mark.parametrize("fields", [{}, {"sigma": 2.0}], ids=["narrow", "broad"])
def test_no_trace_of_the_future_and_hidden_outputs_are_redrawn(fields):
    simulator = twins(**fields)
    view = View(simulator)
    imagined = [view.imagine(world, 6) for world in range(2)]
    for one, other in zip(*(sim._arrays().items() for sim in imagined), strict=True):
        if "seed" not in one[0]:
            assert np.array_equal(one[1], other[1]), f"{one[0]} tells the two futures apart"
    for world, sim in enumerate(imagined):
        rows = sim.world.rows[:, ROW_PROMPT]
        assert not (rows == MARK).any()
        here = sim.world.slots[:, 0, STATE] != STATES.index("empty")
        outputs = sim.world.slots[:, 0, OUTPUT]
        assert (outputs[here] > sim.world.slots[:, 0, GENERATED][here]).all()
        true = simulator.world.slots[world, 0, OUTPUT]
        assert (outputs[0] != true).sum() > 3
        assert len({row.tobytes() for row in outputs}) == 6, "copies are drawn apart"
        check_conservation(sim)
        finish(sim)
        assert (sim.metrics()["accepted"] == PAST).all()


def test_thinking_ahead_leaves_the_present_alone():
    simulator = twins()
    digest = simulator.digest().tolist()
    finish(View(simulator).imagine(0, 3))
    assert simulator.digest().tolist() == digest
    with pytest.raises(PolicyError, match="online"):
        View(simulator).future(0)
    assert len(View(simulator, clairvoyant=True).future(1).trace) == PAST + AHEAD


@pytest.mark.parametrize(
    ("scenario", "fields"),
    [
        ("agents", {"requests": 10, "kv_blocks": 1_200, "arrival_scale": 0.3}),
        ("cluster-4", {"requests": 60, "slots": 8, "rebalance_s": 0.2}),
    ],
    ids=["agents", "cluster"],
)
def test_imagined_programs_and_clusters_play_to_their_end(scenario, fields):
    simulator = drawn(scenario, **fields)
    rng = [np.random.default_rng(0)]
    for k in range(120):
        act(simulator, random_legal(simulator, rng))
        if k % 30 == 29:
            imagined = View(simulator).imagine(0, 2)
            check_conservation(imagined)
            rngs = [np.random.default_rng(copy) for copy in range(2)]
            for _ in range(400):
                act(imagined, random_legal(imagined, rngs, haste=0.95))
            check_conservation(imagined)
            assert (imagined.world.rows[:, ROW_NEXT] == -1).all()
    assert mask_of(simulator).any()
