"""Figures of a routing trace: how local, how skewed."""

import numpy as np
from numpy.typing import NDArray

from fleetgym.traces.schema_routing import Routing


def activated(routing: Routing) -> NDArray[np.bool_]:
    """``(T, L, E)`` whether the step activates the expert."""
    tokens, layers, _ = routing.experts.shape
    chosen = np.zeros((tokens, layers, routing.num_experts + 1), np.bool_)
    np.put_along_axis(chosen, routing.experts.astype(np.int64), True, axis=2)
    return chosen[:, :, :-1]  # the last one took the padding


def reuse(routing: Routing) -> float:
    """Share of activated experts that the step before activated in the same layer too.

    0 where there is one step only.
    """
    chosen = activated(routing)
    again = int((chosen[1:] & chosen[:-1]).sum())
    return again / max(1, int(chosen[1:].sum()))


def skew(routing: Routing) -> float:
    """Popularity skew: the share of requests that the busiest quarter of a layer's experts gets.

    The mean over layers; 0.25 where all experts are asked for alike.
    """
    requests = np.sort(activated(routing).sum(axis=0), axis=1)[:, ::-1]
    busiest = requests[:, : max(1, routing.num_experts // 4)].sum(axis=1)
    return float((busiest / requests.sum(axis=1)).mean())


def stats(routing: Routing) -> dict[str, object]:
    """Sizes, reuse and popularity skew of a routing trace."""
    tokens, layers, _ = routing.experts.shape
    return {
        "name": routing.name,
        "tokens": tokens,
        "layers": layers,
        "experts": routing.num_experts,
        "requests": int((routing.experts >= 0).sum()),
        "reuse": reuse(routing),
        "busiest_quarter_share": skew(routing),
    }
