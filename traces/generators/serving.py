"""Synthesised serving traces: bursts of single requests, and clients for any trace."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fleetgym.traces.errors import TraceError
from fleetgym.traces.generators.serving_shapes import (
    RequestShape,
    gamma_arrivals,
    request_shapes,
    unknown_shape,
)
from fleetgym.traces.schema import Int32
from fleetgym.traces.schema_serving import ServingTrace


def bursty(
    shape: str | RequestShape, *, num_requests: int, seed: int | np.random.Generator
) -> ServingTrace:
    """Single requests: Gamma distributed gaps, and lengths from a mixture of lognormals.

    Gamma gaps are how BurstGPT (KDD'25) models bursts. Lengths are rounded and clipped to 1 and the
    shape's maxima.

    Args:
        shape: what to draw, or its name in serving.toml.
        num_requests: N, at least 1.
        seed: of everything drawn.

    Raises:
        TraceError: an unknown name, or an argument is out of range.
    """
    if num_requests < 1:
        raise TraceError(f"num_requests={num_requests}: expected at least 1")
    name = shape if isinstance(shape, str) else "bursty"
    if isinstance(shape, str):
        if shape not in request_shapes():
            raise unknown_shape(shape)
        shape = request_shapes()[shape]
    rng = np.random.default_rng(seed)
    arrival = gamma_arrivals(num_requests, shape.rate_per_s, shape.arrival_cv, rng)
    kinds = np.array(shape.lengths)
    drawn = kinds[rng.choice(len(kinds), num_requests, p=kinds[:, 0] / kinds[:, 0].sum())]
    prompt = lognormal(drawn[:, 1], drawn[:, 2], rng, shape.max_prompt)
    output = lognormal(drawn[:, 3], drawn[:, 4], rng, shape.max_output)
    return ServingTrace.independent(name, arrival, prompt, output).validate()


def lognormal(
    log_mean: NDArray[np.float64],
    log_deviation: NDArray[np.float64],
    rng: np.random.Generator,
    high: int,
) -> Int32:
    """``(N,)`` whole numbers from 1 to ``high`` whose logarithms are about normal."""
    drawn = np.exp(np.minimum(rng.normal(log_mean, log_deviation), np.log(high) + 1))
    whole: Int32 = np.clip(np.rint(drawn), 1, high).astype(np.int32)
    return whole


def with_clients(
    trace: ServingTrace, num_clients: int, skew: float, seed: int | np.random.Generator
) -> ServingTrace:
    """The trace with clients, which no public trace names: Zipf distributed, all turns of one.

    Args:
        trace: whose clients are replaced.
        num_clients: C; client k is drawn in proportion to ``(k + 1) ** -skew``.
        skew: 0 draws all alike.
        seed: of everything drawn.

    Raises:
        TraceError: an argument is out of range.
    """
    if num_clients < 1 or not 0 <= skew < np.inf:
        raise TraceError(
            f"{num_clients} clients with skew {skew}: expected at least 1, and a skew from 0"
        )
    shares = np.arange(1, num_clients + 1, dtype=np.float64) ** -skew
    rng = np.random.default_rng(seed)
    first = trace.num_arrivals
    client = np.empty(len(trace), np.int32)
    client[:first] = rng.choice(num_clients, first, p=shares / shares.sum())
    of_program = np.zeros(trace.num_programs + 1, np.int32)
    of_program[trace.program[:first]] = client[:first]
    client[first:] = of_program[trace.program[first:]]
    return replace(trace, client=client).validate()
