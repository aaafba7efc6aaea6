"""Seeded routing of mixture-of-experts models, as local and as skewed as its parameters say.

The logit of an expert of a layer at token t is (std)

    popularity + topic_weight * sum_m z_m(t) a_m + own(t)

with popularity ~ N(0, popularity^2) (so lognormal odds) and a_m ~ N(0, 1 / TOPICS) drawn once for
each expert, topics z_m and own noise stationary AR(1) over tokens with variance 1 and coefficients
``topic_memory`` and ``own_memory``. The K largest logits are activated, the largest first; scores
are the softmax of the logits. Topics are common to the layers.

Parameters stand in ``expert_routing.toml``, with how they were fitted.
"""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fleetgym.traces.errors import TraceError, nearest
from fleetgym.traces.schema_routing import FULL, Routing, batched, single_tokens

Float64 = NDArray[np.float64]

TOPICS = 4
_TOML = Path(__file__).with_suffix(".toml")


@dataclass(frozen=True)
class Locality:
    """How routing moves: standard deviations of logits, and AR(1) coefficients over tokens."""

    popularity: float
    topic_weight: float
    topic_memory: float
    own_memory: float


@cache
def _table() -> dict[str, dict[str, float | dict[str, float]]]:
    return tomllib.loads(_TOML.read_text(encoding="utf-8"))


def localities() -> list[str]:
    """Names of the fitted localities."""
    return list(_table())


def locality(name: str, num_experts: int, top_k: int) -> Locality:
    """The fitted parameters of a locality, for layers of E experts of which K are activated.

    Raises:
        TraceError: unknown name (names the nearest), or a shape that nobody fitted.
    """
    table = _table()
    if name not in table:
        raise TraceError(f"unknown locality {name!r}: {nearest(name, table)}")
    row, shape = dict(table[name]), f"{num_experts}x{top_k}"
    memory = row.pop("own_memory")
    if not isinstance(memory, dict) or shape not in memory:
        known = ", ".join(memory) if isinstance(memory, dict) else ""
        raise TraceError(
            f"locality {name!r} was fitted to {known} experts x activated, not {shape}: "
            "take one of these, or pass a Locality"
        )
    return Locality(**row, own_memory=memory[shape])  # type: ignore[arg-type]


def routing(
    *,
    tokens: int,
    layers: int,
    num_experts: int,
    top_k: int,
    locality: Locality,
    seed: int,
    batch: int = 1,
    name: str = "generated",
) -> Routing:
    """Draws the routing of one model and one text, or of a batch of texts.

    Args:
        tokens: T steps.
        layers: L.
        num_experts: E of each layer.
        top_k: K activated for each token.
        locality: its parameters.
        seed: of everything drawn.
        batch: sequences decoded together; they share the popularity and the topics' experts.
        name: of the trace.

    Raises:
        TraceError: a size is not positive, or K is not below E.
    """
    if min(tokens, layers, top_k, batch) < 1 or not top_k < num_experts:
        raise TraceError(
            f"{name}: {tokens} tokens x {layers} layers, {top_k} of {num_experts} experts, batch "
            f"{batch}: all must be positive, and fewer experts activated than there are"
        )
    rng = np.random.default_rng([seed, 0xE9E27])
    popularity, topics = _experts(layers, num_experts, locality, rng)
    drawn = []
    for _ in range(batch):
        mood, own = _walks(tokens, popularity.shape, locality, rng)
        logits = own + popularity
        for m in range(TOPICS):  # one by one: BLAS adds in another order on another machine
            logits += mood[:, m, None, None] * topics[m]
        order = np.argsort(-logits, axis=2, kind="stable")[:, :, :top_k].astype(np.int16)
        drawn.append(single_tokens(name, num_experts, order, _scores(logits)))
    return drawn[0] if batch == 1 else batched(drawn)


class Latents(NamedTuple):
    """What a routing of single texts is made of, which nobody sees."""

    popularity: Float64  # (L, E)
    topics: Float64  # (TOPICS, L, E)
    mood: Float64  # (T, TOPICS)
    own: Float64  # (T, L, E)


def latents(
    *, tokens: int, layers: int, num_experts: int, locality: Locality, seed: int
) -> Latents:
    """What `routing` of the same arguments is made of, for one text."""
    rng = np.random.default_rng([seed, 0xE9E27])
    experts = _experts(layers, num_experts, locality, rng)
    return Latents(*experts, *_walks(tokens, (layers, num_experts), locality, rng))


def _experts(
    layers: int, num_experts: int, of: Locality, rng: np.random.Generator
) -> tuple[Float64, Float64]:
    """Popularity ``(L, E)`` and what each topic means to each expert ``(TOPICS, L, E)``."""
    popularity = rng.standard_normal((layers, num_experts)) * of.popularity
    topics = rng.standard_normal((TOPICS, layers, num_experts))
    topics *= of.topic_weight / np.sqrt(TOPICS)
    return popularity, topics


def _walks(
    tokens: int, shape: tuple[int, ...], of: Locality, rng: np.random.Generator
) -> tuple[Float64, Float64]:
    """Topics ``(T, TOPICS)`` and own noise ``(T, L, E)`` over the tokens."""
    mood = _ar1(rng.standard_normal((tokens, TOPICS)), of.topic_memory)
    return mood, _ar1(rng.standard_normal((tokens, *shape)), of.own_memory)


def _ar1(noise: Float64, memory: float) -> Float64:
    """A stationary AR(1) process of variance 1 along the first axis, from its innovations."""
    spread = np.sqrt(1 - memory * memory)
    for t in range(1, len(noise)):
        noise[t] = memory * noise[t - 1] + spread * noise[t]
    return noise


def _scores(logits: Float64) -> NDArray[np.uint16]:
    """The softmax over experts, in units of 1 / FULL."""
    odds = np.exp(logits - logits.max(axis=2, keepdims=True))
    scores: NDArray[np.uint16] = np.rint(odds / odds.sum(axis=2, keepdims=True) * FULL).astype(
        np.uint16
    )
    return scores
