"""What an episode is drawn from: windows of real traces, generators, and a toy."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fleetgym.envs.core.errors import WorkloadError
from fleetgym.envs.core.workload import Workload, WorkloadSource
from fleetgym.envs.request_preemption.scenario import RequestPreemptionScenario
from fleetgym.traces import catalog
from fleetgym.traces.errors import TraceError, nearest
from fleetgym.traces.generators.named_serving import synthesise
from fleetgym.traces.generators.serving import with_clients
from fleetgym.traces.generators.serving_shapes import agent_shapes, request_shapes
from fleetgym.traces.schema_serving import ServingTrace
from fleetgym.traces.splits import split_windows

KEPT = 64  # workloads a source keeps, since evaluations draw them again
TOY = "toy"
SIGMAS = 6.0  # a generator's turns stay this far inside the capacity


@dataclass(frozen=True, eq=False)
class ServingWorkload(Workload):
    """Requests of an episode, and what is predicted of their outputs."""

    trace: ServingTrace
    predicted: NDArray[np.int32]  # (N,) output tokens; 0 where nobody predicts


class ServingSource:
    """Workloads made by a function from a seed to a trace; the scenario adds the rest.

    Args:
        name: of the source.
        draw_trace: the trace of a seed.
        scenario: whose arrival scale, clients and predictions are used.
        capacity: upper sizes: rows, hashes.
        fixed: the trace does not depend on the seed.
    """

    def __init__(
        self,
        name: str,
        draw_trace: Callable[[int], ServingTrace],
        scenario: RequestPreemptionScenario,
        *,
        capacity: Mapping[str, int],
    ) -> None:
        self.name = name
        self.capacity: Mapping[str, int] = dict(capacity)
        self._draw_trace = draw_trace
        self._scenario = scenario
        self._kept: OrderedDict[int, ServingWorkload] = OrderedDict()

    def draw(self, seed: int) -> ServingWorkload:
        """The workload of a seed; train and test draws are even and odd numbers of a generator."""
        workload = self._kept.get(seed)
        if workload is None:
            workload = self._draw(seed)
            self._kept[seed] = workload
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return workload

    def _draw(self, seed: int) -> ServingWorkload:
        scenario = self._scenario
        number = 2 * seed + (scenario.split == "test")
        rng = np.random.default_rng([number, 0x5E12E])
        trace = self._draw_trace(number)
        if scenario.clients > 1:
            trace = with_clients(trace, scenario.clients, scenario.client_skew, rng)
        predicted = np.zeros(len(trace), np.int32)
        if scenario.predictions:
            error = np.exp(scenario.sigma * rng.standard_normal(len(trace)))
            drawn = np.rint(trace.output_tokens * error)
            predicted = np.clip(drawn, 1, 2**30).astype(np.int32)
        return ServingWorkload(self.name, seed, trace, predicted)


def source_of(scenario: RequestPreemptionScenario) -> WorkloadSource:
    """The source that a scenario's ``workload`` names: a generator, a public trace, or a file.

    Raises:
        WorkloadError: the name is unknown (names the nearest).
        TraceError: the trace is not here, malformed, or too short for the windows asked for.
    """
    name = scenario.workload
    generators = {**request_shapes(), **agent_shapes()}
    if name == TOY:
        return _whole(scenario, toy_trace())
    if name in generators:
        return _generated(scenario)
    if name in catalog.entries():
        return _windows(scenario, _load(name))
    if Path(name).suffix or "/" in name:
        trace = catalog.load_serving(name)
        long = trace.num_arrivals > scenario.requests
        return _windows(scenario, trace) if long else _whole(scenario, trace)
    known = (TOY, *generators, *_serving_names())
    raise WorkloadError(f"unknown workload {name!r}: {nearest(name, known)}, or a path")


def _serving_names() -> list[str]:
    return [name for name in catalog.entries() if catalog.holds_requests(name)]


@cache
def _load(name: str) -> ServingTrace:
    return catalog.load_serving(name)


def _whole(scenario: RequestPreemptionScenario, trace: ServingTrace) -> ServingSource:
    capacity = {"rows": len(trace), "hashes": len(trace.hashes)}
    return ServingSource(scenario.workload, lambda number: trace, scenario, capacity=capacity)


def _generated(scenario: RequestPreemptionScenario) -> ServingSource:
    name, count = scenario.workload, scenario.requests
    rows, hashes = count, 0
    if name in agent_shapes():
        shape = agent_shapes()[name]
        rows = int(np.ceil(shape.mean_turns * (count + SIGMAS * np.sqrt(count))))
        hashes = rows * (shape.max_context // shape.block_tokens)

    def draw(number: int) -> ServingTrace:
        return synthesise(name, count=count, seed=np.random.default_rng([number, 0xF1EE7]))

    return ServingSource(name, draw, scenario, capacity={"rows": rows, "hashes": hashes})


def _windows(scenario: RequestPreemptionScenario, trace: ServingTrace) -> ServingSource:
    """Windows of a trace, train and test disjoint in time."""
    count, split = scenario.requests, scenario.split
    split_windows(trace, 1, count, split, 0)  # says at once where the trace is too short

    def draw(number: int) -> ServingTrace:
        (first,) = split_windows(trace, 1, count, split, number)
        return trace.window(int(first), count)

    if trace.num_arrivals < len(trace):
        capacity = {"rows": len(trace), "hashes": len(trace.hashes)}
    else:
        ends = np.concatenate(([0], np.cumsum(trace.hash_count, dtype=np.int64)))
        capacity = {"rows": count, "hashes": int((ends[count:] - ends[:-count]).max())}
    return ServingSource(scenario.workload, draw, scenario, capacity=capacity)


def toy_trace() -> ServingTrace:
    """Four requests that do not fit together into eight blocks of the toy scenario.

    One long request of 96 tokens in the end (6 blocks) arrives first, three short ones of 32
    tokens (2 blocks) 1 ms later: whoever lets the long one go first holds three up.
    """
    arrival = np.array([0, 1_000_000, 1_000_000, 1_000_000], np.int64)
    prompt, output = np.array([64, 24, 24, 24], np.int32), np.array([33, 9, 9, 9], np.int32)
    trace = ServingTrace.independent(TOY, arrival, prompt, output).validate()
    if trace.num_arrivals != len(arrival):
        raise TraceError("the toy holds single requests only")
    return trace
