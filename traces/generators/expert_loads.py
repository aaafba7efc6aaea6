"""Loads of a model's experts that drift from window to window.

Of each layer and expert a score z, normal with variance 1:

    z(t) = sqrt(lasting) base + sqrt(1 - lasting) (sqrt(shared) topics(t) + sqrt(1 - shared) own(t))

``base`` never changes. ``topics(t)`` = sum over topics of a(t) v / sqrt(topics): what the tokens
are about, a, moves the experts of all layers together. a and ``own`` are AR(1) of one coefficient,
chosen so that consecutive scores are correlated by the drift's ``lag``; with ``jump`` they are
drawn anew with that probability. A lognormal skew loads experts by exp(strength z), a Zipf skew by
rank^-strength of z within the layer, so that every window has exactly that exponent. Loads are
whole tokens that add up to what a layer is given.
"""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleetgym.traces.errors import TraceError, nearest

Float64 = NDArray[np.float64]
Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]

_TOML = Path(__file__).with_suffix(".toml")
ONE = 1 << 20  # weights are whole: exponentials differ between machines in the last bit


@dataclass(frozen=True)
class Skew:
    """How unevenly experts are loaded: "lognormal" of a log sigma, or "zipf" of an exponent."""

    kind: str
    strength: float


@dataclass(frozen=True)
class Drift:
    """How loads move: correlation of consecutive log-loads, probability of other topics."""

    lag: float
    jump: float = 0.0


@dataclass(frozen=True)
class Mixture:
    """What a score is made of: see the module."""

    lasting: float
    topics: int
    shared: float


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(_TOML.read_text(encoding="utf-8"))


def skew_of(name: str) -> Skew:
    """The preset of a name.

    Raises:
        TraceError: there is none; the message names the nearest.
    """
    return Skew(**_preset("skew", name))


def drift_of(name: str) -> Drift:
    """The preset of a name.

    Raises:
        TraceError: there is none; the message names the nearest.
    """
    return Drift(**_preset("drift", name))


def _preset(kind: str, name: str) -> dict[str, Any]:
    known: dict[str, dict[str, Any]] = _table()[kind]
    if name not in known:
        raise TraceError(f"expert loads: no {kind} {name!r}: {nearest(name, known)}")
    return known[name]


def draw(
    *,
    windows: int,
    layers: int,
    experts: int,
    tokens: int,
    skew: str = "deepseek",
    drift: str = "medium",
    seed: int = 0,
) -> Int32:
    """Draws a history of loads.

    Args:
        windows: W.
        layers: L.
        experts: E.
        tokens: of each layer in each window.
        skew: a preset: flat, olmoe or deepseek.
        drift: a preset: none, slow, medium, fast or abrupt.
        seed: draws everything.

    Returns:
        ``(W, L, E)`` tokens; each layer's add up to ``tokens``.

    Raises:
        TraceError: an unknown preset, or a size out of range.
    """
    for name, size in (("windows", windows), ("layers", layers), ("experts", experts)):
        if size < 1:
            raise TraceError(f"expert loads: {name} is {size}, it must be at least 1")
    if not 1 <= tokens < 2**30:
        raise TraceError(f"expert loads: tokens is {tokens}, it must be from 1 to 2**30 - 1")
    rng = np.random.default_rng([seed, 0xE8BE27])
    score = scores(windows, layers, experts, drift_of(drift), Mixture(**_table()["mixture"]), rng)
    return whole(weights(score, skew_of(skew)), tokens)


def scores(
    windows: int,
    layers: int,
    experts: int,
    drift: Drift,
    mixture: Mixture,
    rng: np.random.Generator,
) -> Float64:
    """Scores ``(W, L, E)``, each normal with variance 1 over everything that is drawn."""
    still = mixture.lasting
    coefficient = max(0.0, 1.0 - (1.0 - drift.lag) / (1.0 - still))
    fresh = np.sqrt(1.0 - coefficient**2)
    base = rng.standard_normal((layers, experts))
    topics = rng.standard_normal((mixture.topics, layers, experts)) / np.sqrt(mixture.topics)
    about = rng.standard_normal(mixture.topics)
    own = rng.standard_normal((layers, experts))
    jumps = rng.random(windows) < drift.jump
    out = np.empty((windows, layers, experts))
    for t in range(windows):
        if t > 0:
            kept, new = (0.0, 1.0) if jumps[t] else (coefficient, fresh)
            about = kept * about + new * rng.standard_normal(mixture.topics)
            own = kept * own + new * rng.standard_normal((layers, experts))
        moving = np.tensordot(about, topics, 1) * np.sqrt(mixture.shared)
        moving += np.sqrt(1.0 - mixture.shared) * own
        out[t] = np.sqrt(still) * base + np.sqrt(1.0 - still) * moving
    return out


def weights(score: Float64, skew: Skew) -> Int64:
    """Whole weights of the experts from their scores, of the skew."""
    if skew.kind == "zipf":
        rank = np.argsort(np.argsort(-score, axis=-1, kind="stable"), axis=-1) + 1
        relative = np.power(rank.astype(np.float64), -skew.strength)
    else:
        relative = np.exp(skew.strength * score)
    rounded: Int64 = np.maximum(1, np.rint(ONE * relative)).astype(np.int64)
    return rounded


def whole(weight: Int64, tokens: int) -> Int32:
    """Splits so many tokens over the last axis by whole weights; the first ones get the rest."""
    total = weight.sum(axis=-1, keepdims=True)
    # Two steps keep products inside int64: weights reach 2^27, tokens 2^30.
    share = weight * (tokens // total) + weight * (tokens % total) // total
    rest = tokens - share.sum(axis=-1, keepdims=True)
    loads: Int32 = (share + (np.arange(weight.shape[-1]) < rest)).astype(np.int32)
    return loads
