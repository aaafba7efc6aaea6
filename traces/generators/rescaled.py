"""Real task graphs in the units of a scenario: their shapes and their unevenness stay."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fleetgym.traces.errors import TraceError
from fleetgym.traces.generators.daggen import REFERENCE_BITS_S, REFERENCE_HZ
from fleetgym.traces.schema_mec import MAX_BYTES, MAX_CYCLES, Int64, TaskGraph


def rescaled(
    graphs: Sequence[TaskGraph], mean_cycles: float, ccr: float, mean_memory: float
) -> tuple[TaskGraph, ...]:
    """Graphs with one factor on all cycles, one on all bytes and one on all memory.

    Args:
        graphs: of one trace.
        mean_cycles: of a task, afterwards.
        ccr: mean time of a piece of data over that of a task, afterwards, as `daggen.Shape` says.
        mean_memory: bytes of a task, afterwards; where the trace has none there is none.

    Raises:
        TraceError: there is no graph, or a mean is out of range.
    """
    if not graphs or mean_cycles < 1 or ccr < 0 or mean_memory < 0:
        raise TraceError(
            f"{len(graphs)} graphs to {mean_cycles:g} cycles, ccr {ccr:g} and {mean_memory:g} "
            "bytes: expected at least one graph, 1 cycle, and 0 or more"
        )
    mean_bytes = ccr * mean_cycles / REFERENCE_HZ * REFERENCE_BITS_S / 8
    cycles = _factor([graph.cycles for graph in graphs], mean_cycles)
    sizes = _factor([graph.data_bytes for graph in graphs], mean_bytes)
    memory = _factor([graph.memory for graph in graphs], mean_memory)
    return tuple(
        replace(
            graph,
            cycles=_times(graph.cycles, cycles, 1, MAX_CYCLES),
            data_bytes=_times(graph.data_bytes, sizes, 0, MAX_BYTES),
            memory=_times(graph.memory, memory, 0, MAX_BYTES),
        )
        for graph in graphs
    )


def _factor(parts: Sequence[Int64], mean: float) -> float:
    now = float(np.concatenate(parts).mean()) if sum(map(len, parts)) else 0.0
    return mean / now if now else 0.0


def _times(values: Int64, factor: float, low: int, high: int) -> Int64:
    scaled: Int64 = np.clip(np.rint(values * factor), low, high).astype(np.int64)
    return scaled
