"""A world without its future: what imagined copies are made of."""

import hashlib

import numpy as np

from fleetgym.envs.request_preemption import kernels
from fleetgym.envs.request_preemption.scenario import BLOCK_TOKENS, RequestPreemptionScenario
from fleetgym.envs.request_preemption.types import (
    ARRIVED,
    EMPTY,
    ENTERED,
    GENERATED,
    NEVER,
    OUTPUT,
    PREDICTED,
    PROMPT,
    PUBLIC_SLOT_FIELDS,
    ROW,
    ROW_NEXT,
    ROW_OUTPUT,
    ROW_PREDICTED,
    ROW_PROMPT,
    STATE,
    WAKE,
    Int64,
    Prices,
    Rules,
    Shown,
    World,
)

MEDIAN_OUTPUT, SPREAD = 130.0, 1.2  # of outputs where nobody predicts: a broad lognormal
TRIES = 64  # draws that must exceed what was emitted, before it is taken to end at once


def hide_future(
    world: World,
    rules: Rules,
    shown: Shown,
    prices: Prices,
    scenario: RequestPreemptionScenario,
) -> None:
    """Empties what is to come in every world, and redraws what is hidden of what is here.

    Outputs are drawn by the prediction's error around the prediction (without one, from a broad
    lognormal), given that they exceed what was emitted. What is drawn depends on what can be seen
    alone. Paused programs do not come back, and none has a further turn.
    """
    kernels.catch_up(world, rules)
    for b in range(len(world.scalars)):
        public = world.slots[b, :, :PUBLIC_SLOT_FIELDS].tobytes()
        seen = hashlib.blake2b(public, digest_size=8).digest()
        rng = np.random.default_rng([int.from_bytes(seen, "little"), b])
        _redraw(world, b, scenario, rng)
        arrived, entered = world.scalars[b, ARRIVED], world.scalars[b, ENTERED]
        world.rows[b, ROW_OUTPUT, :entered] = 0
        outside = slice(entered, arrived)
        prompt = world.rows[b, ROW_PROMPT, outside].astype(np.int64)
        predicted = world.rows[b, ROW_PREDICTED, outside].astype(np.int64)
        drawn = _outputs(prompt, np.zeros_like(prompt), predicted, scenario, rng)
        world.rows[b, ROW_OUTPUT, outside] = drawn
        here = world.slots[b, :, STATE] != EMPTY
        future = np.arange(world.rows.shape[2]) >= arrived
        future[world.slots[b, :, ROW][here]] = False
        world.rows[b][:, future] = 0
        world.times[b][:, future] = 0
    world.rows[:, ROW_NEXT] = -1
    wake = world.slots[:, :, WAKE]
    wake[:] = np.where(wake >= 0, NEVER, -1)
    kernels.close_gate(world, rules, shown, prices)


def _redraw(
    world: World, b: int, scenario: RequestPreemptionScenario, rng: np.random.Generator
) -> None:
    slots = world.slots[b]
    here = (slots[:, STATE] != EMPTY) & (world.slots[b, :, WAKE] < 0)
    prompt, generated, predicted = (slots[:, f][here] for f in (PROMPT, GENERATED, PREDICTED))
    slots[:, OUTPUT][here] = _outputs(prompt, generated, predicted, scenario, rng)


def _outputs(
    prompt: Int64,
    generated: Int64,
    predicted: Int64,
    scenario: RequestPreemptionScenario,
    rng: np.random.Generator,
) -> Int64:
    """Output lengths that exceed what was generated, and that the pool can hold."""
    centre = np.where(predicted > 0, predicted, MEDIAN_OUTPUT)
    spread = np.where(predicted > 0, scenario.sigma, SPREAD)
    drawn = generated.astype(np.int64) + 1
    open_ = np.ones(len(drawn), np.bool_)
    for _ in range(TRIES):
        tried = np.rint(centre * np.exp(spread * rng.standard_normal(len(drawn)))).astype(np.int64)
        good = open_ & (tried > generated)
        drawn[good] = tried[good]
        open_ &= ~good
    most = scenario.kv_blocks * BLOCK_TOKENS - prompt.astype(np.int64) + 1
    return np.maximum(generated + 1, np.minimum(drawn, most))
