"""What a policy sees of a world, written anew at each decision: slots, expert, progress, mask."""

import numpy as np

from fleetgym.envs.core.jit import folded, inner
from fleetgym.envs.expert_cache.types import (
    ASKED,
    AT,
    BUSY,
    CHOSEN,
    CLOCK,
    COUNT,
    EVENT,
    EXPERT,
    FIRST,
    FREQUENCY,
    IN_FLIGHT,
    LAST,
    LAST_EVENT,
    LAYER,
    LENGTH,
    LOG_SCORE,
    MISS,
    MISSED,
    MRS,
    OPEN,
    OVER,
    PLACE,
    PREFETCH,
    READY,
    REQUESTED,
    SLOT,
    STAGE,
    STEP,
    SUM_HITS,
    SUM_REQUESTS,
    TOKENS,
    UNIT,
    WRITTEN,
    Float32,
    Int8,
    Int16,
    Int64,
    Rules,
    World,
)

ONE, PER_UNIT = np.float32(1), np.float32(1 / UNIT)


@inner
def shown_layer(s: Int64, layers: int) -> int:
    """The layer that is decided about: the event's, or the next one where one prefetches."""
    layer = s[LAYER]
    if s[STAGE] == PREFETCH or s[STAGE] == SLOT:
        layer = layer + 1 if layer + 1 < layers else 0
    return int(layer)


@inner
def is_legal(s: Int64, written: Int64, place: Int16, action: int) -> bool:
    """Whether the action is legal at this stage: what the mask says.

    An event writes each slot at most once.

    Args:
        s: scalars.
        written: ``(C,)`` of the shown layer.
        place: ``(E,)`` likewise.
        action: any number.
    """
    slots, stage = len(written), s[STAGE]
    if action == 0:
        return bool(stage != SLOT)
    if 1 <= action <= slots:
        return bool(stage in (MISS, SLOT) and written[action - 1] != s[EVENT])
    if stage != PREFETCH or not slots < action <= slots + len(place):
        return False
    if place[action - 1 - slots] >= 0:
        return False
    room = False
    for slot in range(slots):
        room = room or written[slot] != s[EVENT]
    return room


@inner
def write_features(table: Int16, logs: Int16, expert: int, step: int, row: Float32) -> None:
    """The first features of an expert.

    Args:
        table: ``(ROWS, E)`` of its layer.
        logs: ``(E,)`` log scores when the layer was routed last.
        expert: which.
        step: of the event that is shown.
        row: written.
    """
    last = table[LAST, expert]
    row[0] = ONE / np.float32(1 + step - last)
    row[1] = np.float32(table[FREQUENCY, expert]) * PER_UNIT
    row[2] = np.float32(table[LOG_SCORE, expert]) * PER_UNIT
    row[3] = np.float32(table[MRS, expert]) * PER_UNIT
    row[4] = np.float32(table[COUNT, expert]) / np.float32(step + 1)
    row[5] = np.float32(logs[expert]) * PER_UNIT
    row[REQUESTED] = last == step


@folded
def write_slots(w: World, b: int, layer: int, step: int, logs: Int16) -> None:
    """The features of the layer's tenants, and of the expert that needs a slot."""
    s, table, tenants, copies = (
        w.scalars[b],
        w.table[b, layer],
        w.tenants[b, layer, EXPERT],
        w.copies[b, layer],
    )
    features, slots, stage = w.features[b], len(tenants), s[STAGE]
    for slot in range(slots):
        row = features[slot]
        write_features(table, logs, tenants[slot], step, row)
        row[OPEN] = copies[WRITTEN, slot] != s[EVENT]
        row[IN_FLIGHT] = copies[READY, slot] > s[CLOCK]
    if stage == PREFETCH:
        features[slots] = 0.0
    else:
        expert = w.request[b, ASKED, s[AT]] if stage == MISS else s[CHOSEN]
        write_features(table, logs, expert, step, features[slots])


@folded
def write_next(w: World, b: int, layer: int, step: int, logs: Int16) -> None:
    """The features of all experts of the layer to prefetch for; zero at other stages."""
    s, table, copies = w.scalars[b], w.table[b, layer], w.copies[b, layer]
    first = copies.shape[1] + 1
    features = w.features[b, first:]
    if s[STAGE] != PREFETCH:
        features[:] = 0.0
        return
    for expert in range(len(features)):
        row, slot = features[expert], table[PLACE, expert]
        write_features(table, logs, expert, step, row)
        row[OPEN] = slot >= 0 and copies[WRITTEN, slot] != s[EVENT]
        row[IN_FLIGHT] = slot >= 0 and copies[READY, slot] > s[CLOCK]


@inner
def write_progress(
    s: Int64, request: Int64, row: Float32, layer: int, layers: int, move: int
) -> None:
    """Where the episode stands.

    Args:
        s: scalars.
        request: ``(5, K)`` of the event.
        row: written.
        layer: that is shown.
        layers: L.
        move: ns of a copy.
    """
    width, stage = request.shape[1], s[STAGE]
    row[0], row[1], row[2] = stage == MISS, stage == PREFETCH, stage == SLOT
    row[3] = layer / layers
    row[4] = (s[EVENT] - s[FIRST]) / max(1, s[LAST_EVENT] - s[FIRST])
    row[5] = row[6] = row[7] = 0.0
    if stage == MISS:
        misses, total = 0, 0
        for k in range(s[LENGTH]):
            misses += request[MISSED, k] if k >= s[AT] else 0
            total += request[TOKENS, k]
        row[5] = s[AT] / width
        row[6] = misses / width
        row[7] = request[TOKENS, s[AT]] / total
    queue = max(0, s[BUSY] - s[CLOCK])
    row[8] = queue / max(1, queue + move)
    row[9] = s[SUM_HITS] / max(1, s[SUM_REQUESTS])


@inner
def write_mask(s: Int64, written: Int64, place: Int16, mask: Int8) -> None:
    """One byte per action, as `is_legal` says; arguments as there."""
    slots, stage, event, room = len(written), s[STAGE], s[EVENT], False
    places, ahead = stage in (MISS, SLOT), stage == PREFETCH
    mask[0] = stage != SLOT
    for slot in range(slots):
        free = written[slot] != event
        mask[1 + slot] = places and free
        room = room or free
    for expert in range(len(mask) - 1 - slots):
        mask[1 + slots + expert] = ahead and room and place[expert] < 0


@folded
def write_view(w: World, b: int, rules: Rules) -> None:
    """Writes observation and mask of the world."""
    s, layers = w.scalars[b], w.table.shape[1]
    layer = shown_layer(s, layers)
    write_progress(s, w.request[b], w.progress[b], layer, layers, rules.move)
    write_mask(s, w.copies[b, layer, WRITTEN], w.table[b, layer, PLACE], w.mask[b])
    if s[STAGE] == OVER:
        w.features[b] = 0.0
        return
    ahead = s[STAGE] != MISS
    step = s[STEP] + 1 if ahead and layer == 0 else s[STEP]
    routed = s[EVENT] + 1 - layers if ahead else s[EVENT]
    logs = w.routes[b, routed, w.routes.shape[2] - w.table.shape[3] :]
    write_slots(w, b, layer, step, logs)
    if w.features.shape[1] > w.copies.shape[3] + 1:
        write_next(w, b, layer, step, logs)
