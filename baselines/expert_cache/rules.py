"""Online caching rules: the slot whose tenant is worth least goes, worth read from one row.

A rule is a few numbers, so that one compiled kernel plays all of them.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fleetgym.baselines.expert_cache.predictor import PREDICTORS, predictor
from fleetgym.envs.core.jit import inner, kernel
from fleetgym.envs.expert_cache.observe import shown_layer
from fleetgym.envs.expert_cache.types import (
    ASKED,
    AT,
    EVENT,
    EXPERT,
    LAST,
    MISS,
    PLACE,
    PREFETCH,
    SLOT,
    STAGE,
    STEP,
    UNIT,
    WRITTEN,
    Int16,
    Int64,
    State,
    UInt64,
)

Float64 = NDArray[np.float64]

RANDOM, LEARNED, BLEND = -1, -2, -3  # in place of a row


class Rule(NamedTuple):
    """What a tenant is worth, and what else the rule does.

    Attributes:
        row: of the table of experts; RANDOM; LEARNED: ``weights`` times `predictors`; or BLEND: of
            the moving average and the mean of all log scores.
        bypass: a missed expert that is worth no more than the worst tenant is not admitted.
        fetch: while an expert that the next layer lacks is worth more than its worst tenant, it is
            prefetched (where the scenario allows it).
        weights: ``(PREDICTORS,)``.
        margin: that a missed expert has to be worth more by, with bypass.
        rate: of BLEND's moving average.
        share: that it has in the blend.
    """

    row: int
    bypass: bool
    fetch: bool
    weights: Float64
    margin: float = 0.0
    rate: float = 0.0
    share: float = 1.0


class Look(NamedTuple):
    """What a rule reads of one layer."""

    table: Int16  # (ROWS, E)
    history: Int16  # (N, E) of all layers
    layer: int
    layers: int
    step: int  # that is shown
    random: UInt64
    b: int


@inner
def draw(random: UInt64, b: int) -> float:
    """A draw from [0, 1) by SplitMix64; moves the world's state on."""
    random[b] += np.uint64(0x9E3779B97F4A7C15)
    z = random[b]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return float(z >> np.uint64(11)) * 2.0**-53


@inner
def blend(look: Look, rule: Rule, expert: int) -> float:
    """Moving average and mean of an expert's log scores so far; both begin with the first."""
    average = mean = 0.0
    for t in range(look.step + 1):
        n = t * look.layers + look.layer
        score = float(look.history[n, expert]) / UNIT
        even = 1.0 / (t + 1)
        average += max(rule.rate, even) * (score - average)
        mean += even * (score - mean)
    return rule.share * average + (1 - rule.share) * mean


@inner
def worth(look: Look, rule: Rule, expert: int) -> float:
    """What the rule holds the expert to be worth."""
    if rule.row >= 0:
        return float(look.table[rule.row, expert])
    if rule.row == RANDOM:
        return draw(look.random, look.b)
    if rule.row == BLEND:
        return blend(look, rule, expert)
    total = 0.0
    for i in range(PREDICTORS):
        total += rule.weights[i] * predictor(look.table, expert, look.step, i)
    return total


@inner
def worst_slot(
    look: Look, tenants: Int16, written: Int64, event: int, rule: Rule
) -> tuple[int, float]:
    """The open slot whose tenant is worth least, -1 where none is open, and that worth.

    Of equals the one not used for longest, then the first.
    """
    worst, least, oldest = -1, 0.0, 0
    for slot in range(len(tenants)):
        if written[slot] == event:
            continue
        value, last = worth(look, rule, tenants[slot]), look.table[LAST, tenants[slot]]
        if worst < 0 or value < least or (value == least and last < oldest):
            worst, least, oldest = slot, value, last
    return worst, least


@inner
def best_absent(look: Look, rule: Rule) -> tuple[int, float]:
    """The expert not in the cache that is worth most, and that worth."""
    best, most = -1, 0.0
    for expert in range(look.table.shape[1]):
        if look.table[PLACE, expert] < 0:
            value = worth(look, rule, expert)
            if best < 0 or value > most:
                best, most = expert, value
    return best, most


@inner
def decide(seen: State, b: int, rule: Rule, random: UInt64) -> int:
    """The action of a rule in world ``b``."""
    s, layers = seen.scalars[b], seen.table.shape[1]
    layer, ahead = shown_layer(s, layers), s[STAGE] != MISS
    tenants = seen.tenants[b, layer, EXPERT]
    step = s[STEP] + 1 if ahead and layer == 0 else s[STEP]
    look = Look(seen.table[b, layer], seen.history[b], layer, layers, step, random, b)
    slot, least = worst_slot(look, tenants, seen.copies[b, layer, WRITTEN], s[EVENT], rule)
    if s[STAGE] == MISS and slot >= 0:
        expert = seen.request[b, ASKED, s[AT]]
        if rule.bypass and worth(look, rule, expert) <= least + rule.margin:
            return 0
        return 1 + slot
    if s[STAGE] == SLOT:
        return 1 + slot
    if s[STAGE] == PREFETCH and rule.fetch and slot >= 0:
        expert, most = best_absent(look, rule)
        if most > least:
            return int(1 + len(tenants) + expert)
    return 0


@kernel
def decide_all(seen: State, rule: Rule, random: UInt64, actions: Int64) -> None:
    """Writes the action of every world into ``actions``, (B,)."""
    for b in range(len(actions)):
        actions[b] = decide(seen, b, rule, random)
