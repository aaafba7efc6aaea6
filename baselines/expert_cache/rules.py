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
    WRITTEN,
    Int16,
    Int64,
    State,
    UInt64,
)

Float64 = NDArray[np.float64]

RANDOM, LEARNED = -1, -2  # in place of a row


class Rule(NamedTuple):
    """What a tenant is worth, and what else the rule does.

    Attributes:
        row: of the table of experts; RANDOM, or LEARNED: ``weights`` times `predictors`.
        bypass: a missed expert that is worth no more than the worst tenant is not admitted.
        fetch: while an expert that the next layer lacks is worth more than its worst tenant, it is
            prefetched (where the scenario allows it).
        weights: ``(PREDICTORS,)``.
    """

    row: int
    bypass: bool
    fetch: bool
    weights: Float64


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
def worth(table: Int16, rule: Rule, expert: int, step: int, random: UInt64, b: int) -> float:
    """What the rule holds the expert to be worth."""
    if rule.row >= 0:
        return float(table[rule.row, expert])
    if rule.row == RANDOM:
        return draw(random, b)
    total = 0.0
    for i in range(PREDICTORS):
        total += rule.weights[i] * predictor(table, expert, step, i)
    return total


@inner
def worst_slot(
    table: Int16, tenants: Int16, written: Int64, event: int, rule: Rule, step: int,
    random: UInt64, b: int,
) -> tuple[int, float]:  # fmt: skip
    """The open slot whose tenant is worth least, -1 where none is open, and that worth.

    Of equals the one not used for longest, then the first.
    """
    worst, least, oldest = -1, 0.0, 0
    for slot in range(len(tenants)):
        if written[slot] == event:
            continue
        value, last = worth(table, rule, tenants[slot], step, random, b), table[LAST, tenants[slot]]
        if worst < 0 or value < least or (value == least and last < oldest):
            worst, least, oldest = slot, value, last
    return worst, least


@inner
def best_absent(table: Int16, rule: Rule, step: int, random: UInt64, b: int) -> tuple[int, float]:
    """The expert not in the cache that is worth most, and that worth."""
    best, most = -1, 0.0
    for expert in range(table.shape[1]):
        if table[PLACE, expert] < 0:
            value = worth(table, rule, expert, step, random, b)
            if best < 0 or value > most:
                best, most = expert, value
    return best, most


@inner
def decide(seen: State, b: int, rule: Rule, random: UInt64) -> int:
    """The action of a rule in world ``b``."""
    s = seen.scalars[b]
    layer = shown_layer(s, seen.table.shape[1])
    table, tenants = seen.table[b, layer], seen.tenants[b, layer, EXPERT]
    step = s[STEP] + 1 if s[STAGE] != MISS and layer == 0 else s[STEP]
    slot, least = worst_slot(
        table, tenants, seen.copies[b, layer, WRITTEN], s[EVENT], rule, step, random, b
    )
    if s[STAGE] == MISS and slot >= 0:
        expert = seen.request[b, ASKED, s[AT]]
        if rule.bypass and worth(table, rule, expert, step, random, b) <= least:
            return 0
        return 1 + slot
    if s[STAGE] == SLOT:
        return 1 + slot
    if s[STAGE] == PREFETCH and rule.fetch and slot >= 0:
        expert, most = best_absent(table, rule, step, random, b)
        if most > least:
            return int(1 + len(tenants) + expert)
    return 0


@kernel
def decide_all(seen: State, rule: Rule, random: UInt64, actions: Int64) -> None:
    """Writes the action of every world into ``actions``, (B,)."""
    for b in range(len(actions)):
        actions[b] = decide(seen, b, rule, random)
