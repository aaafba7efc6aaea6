"""Figures of a serving trace: how many requests come, how bursty, how long, how much they share."""

import numpy as np
from numpy.typing import ArrayLike

from fleetgym.traces.schema_serving import ServingTrace

_QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


def stats(trace: ServingTrace) -> dict[str, object]:
    """Counts, arrivals, lengths, prefix reuse and turns of a trace.

    Args:
        trace: valid.

    Returns:
        ``arrival_cv`` is the standard deviation / mean of the gaps between arrivals, and
        ``burstiness`` (cv - 1) / (cv + 1) (Goh and Barabasi 2008): -1 regular, 0 Poisson, towards 1
        bursts. ``prefix_reuse`` is the share of the hashed blocks that an earlier row has too (for
        programs: in the order of the rows), ``with_hashes`` that of the requests that have hashes.
        Figures of turns, pauses and hashes are there only where the trace has such.
    """
    figures: dict[str, object] = {
        "name": trace.name,
        "requests": len(trace),
        "arrivals": trace.num_arrivals,
        "clients": len(np.unique(trace.client)),
        **_arrivals(trace),
        **_spread("prompt", trace.prompt_tokens),
        **_spread("output", trace.output_tokens),
    }
    if len(trace.hashes):
        figures |= {
            "with_hashes": float((trace.hash_count > 0).mean()),
            "block_tokens": trace.hash_tokens,
            "prefix_reuse": _reuse(trace),
        }
    if trace.num_programs:
        turns = np.bincount(trace.program[trace.program >= 0])
        figures |= {"programs": trace.num_programs, **_spread("turns", turns)}
    later = trace.pause_ns[trace.num_arrivals :]
    if len(later):
        figures |= _spread("pause_s", later / 1e9)
    return figures


def _arrivals(trace: ServingTrace) -> dict[str, float]:
    arrival = trace.arrival_ns[: trace.num_arrivals] / 1e9
    gaps = np.diff(arrival)
    figures = {"duration_s": float(arrival[-1] - arrival[0])}
    if gaps.sum() > 0:
        cv = float(gaps.std() / gaps.mean())
        figures |= {
            "arrivals_per_s": float(1 / gaps.mean()),
            "arrival_cv": cv,
            "burstiness": (cv - 1) / (cv + 1),
        }
    return figures


def _spread(name: str, figures: ArrayLike) -> dict[str, float]:
    values = np.asarray(figures, np.float64)
    quantiles = np.quantile(values, list(_QUANTILES.values()))
    return {
        f"{name}_mean": float(np.mean(values)),
        **{f"{name}_{key}": float(x) for key, x in zip(_QUANTILES, quantiles, strict=True)},
        f"{name}_max": float(np.max(values)),
    }


def _reuse(trace: ServingTrace) -> float:
    """The share of all blocks of requests that are not the first to have them."""
    return 1 - trace.num_blocks / int(trace.hash_count.sum(dtype=np.int64))
