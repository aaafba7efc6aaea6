"""What routing so far says of the routing to come: a factor model that a cache agent keeps.

The layers of a model see one text, so what moves their router scores is common to them: few topics,
each with its loading on every expert of every layer. Of a world the filter keeps the log scores of
the last steps, and

1. at the end of a step finds the steps' principal directions U, ``(steps, RANK)``, of the Gram
   matrix G of their scores (over all experts of all layers), by orthogonal iteration from those
   before: a few thousand experts make the few directions stand out of the noise;
2. the loadings of an expert are its scores along U, shrunk by the share of each direction's
   variance that is not noise: (lambda - edge) / lambda, edge = v (1 + sqrt(steps / experts))^2,
   which the largest eigenvalue of noise of variance v does not exceed (Marchenko and Pastur 1967);
3. while a step goes through the layers, estimates where along U it lies, by ridge regression of the
   scores seen so far on the loadings, about where the step before it was;
4. the forecast of an expert is its loadings times that.

The popularity of experts is one of the directions: scores are centred within a layer, and not over
time. Arrays are world-first, and nothing is allocated.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fleetgym.envs.core.jit import inner, kernel
from fleetgym.envs.expert_cache.types import LOG_RANGE, UNIT, Int16, Int64

Float32 = NDArray[np.float32]

RANK = 6  # directions kept
WINDOW = 64  # steps remembered
SWEEPS = 3  # of orthogonal iteration, a step
TINY = np.float32(1e-9)
PER_UNIT = np.float32(LOG_RANGE / UNIT)  # of a stored log score: natural logarithms
RATES = (0.5, 0.125)  # of the moving averages
# What is kept of an expert: its last score, its moving averages, its mean over all steps.
NOW, FAST, SLOW, MEAN, KEPT = range(5)
NOISE, TRACE, NUMBERS = range(3)  # of numbers: v; sum of G's diagonal


class Filter(NamedTuple):
    """What is kept of B worlds; L layers, E experts, H steps at most, R directions."""

    noted: Int64  # (B,) events taken in
    scores: Float32  # (B, H, L, E) centred log scores, of step t in row t % H
    kept: Float32  # (B, L, KEPT, E)
    gram: Float32  # (B, H, H) mean over experts of products of scores
    axes: Float32  # (B, R, H) U
    spread: Float32  # (B, R) lambda
    pace: Float32  # (B, R) mean square of a step's move along U
    loadings: Float32  # (B, L, R, E)
    place: Float32  # (B, R) of the step in progress along U; of the last one where none is
    before: Float32  # (B, R) of the step before it
    normal: Float32  # (B, R, R + 1) the regression's sums
    work: Float32  # (B, R, max(H, R + 1)) scratch
    numbers: Float32  # (B, NUMBERS)
    forecast: Float32  # (B, L, E) of each layer, when it was routed last


def empty_filter(b: int, steps: int, layers: int, experts: int) -> Filter:
    """Of B worlds that have seen nothing."""
    h = min(steps, WINDOW)

    def zeros(*shape: int) -> Float32:
        return np.zeros((b, *shape), np.float32)

    return Filter(
        noted=np.zeros(b, np.int64),
        scores=zeros(h, layers, experts),
        kept=zeros(layers, KEPT, experts),
        gram=zeros(h, h),
        axes=zeros(RANK, h),
        spread=zeros(RANK),
        pace=zeros(RANK),
        loadings=zeros(layers, RANK, experts),
        place=zeros(RANK),
        before=zeros(RANK),
        normal=zeros(RANK, RANK + 1),
        work=zeros(RANK, max(h, RANK + 1)),
        numbers=zeros(NUMBERS),
        forecast=zeros(layers, experts),
    )


def forget(f: Filter, worlds: Int64) -> None:
    """Empties the filters of worlds that begin anew."""
    for array in f:
        array[worlds] = 0


@inner
def centre(logs: Int16, row: Float32) -> None:
    """Writes the natural logarithms of an event's scores, less their mean."""
    total = np.float32(0)
    for e in range(len(logs)):
        row[e] = np.float32(logs[e]) * PER_UNIT
        total += row[e]
    total /= np.float32(len(logs))
    for e in range(len(logs)):
        row[e] -= total


@inner
def average(row: Float32, kept: Float32, step: int) -> None:
    """Takes a layer's scores into its averages ``(KEPT, E)``."""
    fast, slow, one = np.float32(RATES[0]), np.float32(RATES[1]), np.float32(1)
    share = one / np.float32(step + 1)
    fast, slow = max(fast, share), max(slow, share)
    for e in range(len(row)):
        kept[NOW, e] = row[e]
        kept[FAST, e] += fast * (row[e] - kept[FAST, e])
        kept[SLOW, e] += slow * (row[e] - kept[SLOW, e])
        kept[MEAN, e] += share * (row[e] - kept[MEAN, e])


@inner
def locate(f: Filter, b: int, layer: int, row: Float32) -> None:
    """Takes a layer's scores into the regression, and writes the place and the forecast."""
    loadings, normal, place = f.loadings[b, layer], f.normal[b], f.place[b]
    for r in range(RANK):
        for q in range(r + 1):
            total = np.float32(0)
            for e in range(len(row)):
                total += loadings[r, e] * loadings[q, e]
            normal[r, q] += total
        total = np.float32(0)
        for e in range(len(row)):
            total += loadings[r, e] * row[e]
        normal[r, RANK] += total
    solve(normal, f.before[b], f.pace[b], max(f.numbers[b, NOISE], TINY), f.work[b], place)
    forecast = f.forecast[b, layer]
    forecast[:] = 0.0
    for r in range(RANK):
        for e in range(len(row)):
            forecast[e] += place[r] * loadings[r, e]


@inner
def solve(
    normal: Float32, before: Float32, pace: Float32, noise: float, work: Float32, place: Float32
) -> None:
    """Ridge regression about ``before``, by Cholesky's decomposition; writes ``place``.

    Minimises |scores - place loadings|^2 / noise + sum_r (place - before)_r^2 / pace_r.
    """
    for r in range(RANK):
        ridge = noise / max(pace[r], TINY)
        for q in range(r + 1):
            total = normal[r, q] + (ridge if q == r else np.float32(0))
            for i in range(q):
                total -= work[r, i] * work[q, i]
            work[r, q] = np.sqrt(max(total, TINY)) if q == r else total / work[q, q]
        total = normal[r, RANK] + ridge * before[r]
        for i in range(r):
            total -= work[r, i] * place[i]
        place[r] = total / work[r, r]
    for r in range(RANK - 1, -1, -1):
        total = place[r]
        for i in range(r + 1, RANK):
            total -= work[i, r] * place[i]
        place[r] = total / work[r, r]


@inner
def note_step(f: Filter, b: int, step: int) -> None:
    """At the end of a step: directions and loadings anew."""
    scores, gram, axes = f.scores[b], f.gram[b], f.axes[b]
    window, layers, experts = scores.shape
    at, many = step % window, min(step + 1, window)
    f.numbers[b, TRACE] -= gram[at, at]
    for t in range(many):
        total = 0.0
        for layer in range(layers):
            part: Any = np.float32(0)
            for e in range(experts):
                part += scores[at, layer, e] * scores[t, layer, e]
            total += part
        gram[at, t] = gram[t, at] = total / (layers * experts)
    f.numbers[b, TRACE] += gram[at, at]
    for r in range(RANK):  # where it lies by the directions so far: a start from which to go on
        axes[r, at] = f.place[b, r] if step >= RANK else np.float32(r == at)
    for _ in range(SWEEPS):
        turn(gram, axes, f.work[b], f.spread[b], many)
    signal = np.float32(0)
    for r in range(RANK):
        signal += f.spread[b, r]
    noise = max((f.numbers[b, TRACE] - signal) / max(1, many - RANK), 0.0)
    f.numbers[b, NOISE] = noise
    load(f, b, step, noise * (1 + np.sqrt(many / (layers * experts))) ** 2)


@inner
def turn(gram: Float32, axes: Float32, work: Float32, spread: Float32, many: int) -> None:
    """One sweep of orthogonal iteration: U = orthonormal G U, the largest variance first."""
    for r in range(RANK):
        work[r, :many] = 0.0
        for t in range(many):
            for i in range(many):
                work[r, i] += axes[r, t] * gram[t, i]
    for r in range(RANK):
        for q in range(r):
            along = np.float32(0)
            for i in range(many):
                along += work[r, i] * axes[q, i]
            for i in range(many):
                work[r, i] -= along * axes[q, i]
        length = np.float32(0)
        for i in range(many):
            length += work[r, i] * work[r, i]
        length = np.sqrt(length)
        spread[r] = length if length > TINY else np.float32(0)
        for i in range(many):
            axes[r, i] = work[r, i] / length if length > TINY else np.float32(0)


@inner
def load(f: Filter, b: int, step: int, edge: float) -> None:
    """Loadings of all experts, the pace along each direction, and the step's own place."""
    scores, axes, loadings = f.scores[b], f.axes[b], f.loadings[b]
    window, layers, experts = scores.shape
    many, at = min(step + 1, window), step % window
    loadings[:] = 0.0
    for r in range(RANK):
        kept = max(np.float32(0), f.spread[b, r] - edge) / max(f.spread[b, r], TINY)
        moved = np.float32(0)
        for t in range(many):
            weight = np.float32(kept * axes[r, t])
            for layer in range(layers if kept > 0 else 0):
                for e in range(experts):
                    loadings[layer, r, e] += weight * scores[t, layer, e]
            if t != (step + 1) % window or many < window:  # the oldest has none before it
                previous = axes[r, t - 1] if t > 0 else axes[r, many - 1]
                moved += (axes[r, t] - previous) ** 2 if t > 0 or many == window else 0.0
        f.pace[b, r] = moved / max(1, many - 1)
        f.place[b, r] = f.before[b, r] = axes[r, at]
    f.normal[b] = 0.0


@inner
def note_event(f: Filter, b: int, n: int, logs: Int16) -> None:
    """Takes the scores of event n in, of which the events before have been."""
    layers, window = f.scores.shape[2], f.scores.shape[1]
    step, layer = n // layers, n % layers
    row = f.scores[b, step % window, layer]
    centre(logs, row)
    average(row, f.kept[b, layer], step)
    locate(f, b, layer, row)
    if layer == layers - 1:
        note_step(f, b, step)


@kernel
def catch_up(f: Filter, history: Int16, last: Int64, worlds: Int64) -> None:
    """Takes in what has been routed since.

    Args:
        f: of B worlds.
        history: ``(B, N, E)`` log scores of the events so far.
        last: ``(B,)`` event in progress.
        worlds: which of them.
    """
    for b in worlds:
        while f.noted[b] <= last[b]:
            note_event(f, b, f.noted[b], history[b, f.noted[b]])
            f.noted[b] += 1
