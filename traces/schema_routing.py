"""Routing traces: which experts of a mixture-of-experts model each token was sent to."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fleetgym.traces.errors import TraceError

MAX_EXPERTS = 32_767  # an expert's number is an int16
FULL = 65_535  # a router score of 1


@dataclass(frozen=True, eq=False)
class Routing:
    """T steps (a token, or a batch of tokens decoded together) through L layers of E experts.

    Attributes:
        name: of the trace or generator.
        num_experts: E of each layer.
        experts: ``(T, L, K)`` int16, activated experts in router order, then -1.
        counts: ``(T, L, K)`` int16, tokens sent to each, 0 where there is no expert.
        scores: ``(T, L, E)`` uint16, router probabilities in units of 1 / 65,535; ``(0, 0, 0)``
            where they were not captured.
    """

    name: str
    num_experts: int
    experts: NDArray[np.int16]
    counts: NDArray[np.int16]
    scores: NDArray[np.uint16]

    def validate(self) -> Self:
        """Checks shapes and ranges.

        Raises:
            TraceError: there is no token, layer or activated expert; an expert is out of range or
                twice in a list; a count or a shape does not fit.
        """
        experts, counts = self.experts, self.counts
        if experts.ndim != 3 or 0 in experts.shape:
            raise TraceError(
                f"{self.name}: experts have shape {experts.shape}; a routing trace has at least "
                "one token, layer and expert"
            )
        if not 1 <= self.num_experts <= MAX_EXPERTS:
            raise TraceError(
                f"{self.name}: {self.num_experts} experts a layer; it must be 1 to {MAX_EXPERTS}"
            )
        self._refuse((experts < -1) | (experts >= self.num_experts), "an expert out of range")
        there = experts >= 0
        self._refuse(~there[:, :, :1] | (there[:, :, 1:] > there[:, :, :-1]), "a gap in its list")
        ordered = np.sort(experts, axis=2)
        twice = (ordered[:, :, 1:] == ordered[:, :, :-1]) & (ordered[:, :, 1:] >= 0)
        self._refuse(twice, "an expert twice")
        if counts.shape != experts.shape:
            raise TraceError(f"{self.name}: counts {counts.shape}, experts {experts.shape}")
        self._refuse(there != (counts > 0), "a token count that is not positive, or too many")
        shape = (*experts.shape[:2], self.num_experts)
        if self.scores.size and self.scores.shape != shape:
            raise TraceError(f"{self.name}: scores have shape {self.scores.shape}, not {shape}")
        return self

    def window(self, start: int, tokens: int) -> "Routing":
        """The steps from ``start`` on, ``tokens`` of them or as many as there are."""
        part = slice(start, start + tokens)
        scores = self.scores[part] if self.scores.size else self.scores
        return Routing(self.name, self.num_experts, self.experts[part], self.counts[part], scores)

    def _refuse(self, wrong: NDArray[np.bool_], what: str) -> None:
        """Raises a TraceError for the first token and layer that are wrong, if any."""
        if wrong.any():
            token, layer = np.argwhere(wrong)[0, :2].tolist()
            raise TraceError(
                f"{self.name}: token {token}, layer {layer} has {what}: "
                f"{self.experts[token, layer].tolist()} of {self.num_experts} experts"
            )


def single_tokens(
    name: str, num_experts: int, experts: NDArray[np.int16], scores: NDArray[np.uint16]
) -> Routing:
    """The routing of one token a step, checked. Raises as `Routing.validate`."""
    counts = (experts >= 0).astype(np.int16)
    return Routing(name, num_experts, experts, counts, scores).validate()


def batched(routings: list[Routing]) -> Routing:
    """Several sequences decoded together: each step activates the union of their experts.

    Experts are in the order of the first sequence that activates them, then of its router; counts
    are of the sequences, scores their mean.
    """
    first = routings[0]
    tokens, layers, k = first.experts.shape
    e = first.num_experts
    width = min(e, k * len(routings))
    experts = np.full((tokens, layers, width), -1, np.int16)
    counts = np.zeros((tokens, layers, width), np.int16)
    stacked = np.concatenate([routing.experts for routing in routings], axis=2)
    for t in range(tokens):
        for layer in range(layers):
            row = stacked[t, layer]
            found, at, times = np.unique(row[row >= 0], return_index=True, return_counts=True)
            order = np.argsort(at)
            experts[t, layer, : len(order)] = found[order]
            counts[t, layer, : len(order)] = times[order]
    total = sum(routing.scores.astype(np.int64) for routing in routings)
    scores = (np.asarray(total) // len(routings)).astype(np.uint16)
    return Routing(first.name, e, experts, counts, scores).validate()
