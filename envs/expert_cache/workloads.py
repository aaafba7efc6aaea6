"""What an expert caching episode is drawn from: generated routing, and captured traces."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from fleetgym.envs.core.errors import WorkloadError
from fleetgym.envs.core.workload import Workload, WorkloadSource
from fleetgym.envs.expert_cache.scenario import ExpertCacheScenario
from fleetgym.traces import catalog
from fleetgym.traces.errors import nearest
from fleetgym.traces.formats import routing as routing_format
from fleetgym.traces.generators import expert_routing
from fleetgym.traces.schema_routing import Routing, single_tokens

KEPT = 128  # workloads a source keeps, since training draws them again
TOY, GENERATED = "toy", "generated"
FORMAT = "routing"  # in the catalogue


@dataclass(frozen=True, eq=False)
class RoutingWorkload(Workload):
    """The routing of an episode, of which the first ``warmup`` steps are not played.

    Attributes:
        routing: all of it.
        warmup: steps.
        batch: tokens of a step.
    """

    routing: Routing
    warmup: int
    batch: int


class RoutingSource:
    """Workloads made by a function from a seed to a routing.

    Args:
        name: of the source.
        draw_routing: the routing of a seed.
        warmup: steps of it that are not played.
        batch: tokens of a step.
        capacity: steps, layers, experts, active (at most, of a step) and top.
        split: "test" seeds are odd numbers, others even: they share none.
    """

    def __init__(
        self,
        name: str,
        draw_routing: Callable[[int], Routing],
        *,
        warmup: int,
        batch: int,
        capacity: Mapping[str, int],
        split: str,
    ) -> None:
        self.name = name
        self.capacity: Mapping[str, int] = dict(capacity)
        self._draw_routing = draw_routing
        self._warmup, self._batch, self._test = warmup, batch, split == "test"
        self._kept: OrderedDict[int, RoutingWorkload] = OrderedDict()

    def draw(self, seed: int) -> RoutingWorkload:
        """The workload of a seed."""
        workload = self._kept.get(seed)
        if workload is None:
            routing = self._draw_routing(2 * seed + self._test)
            workload = RoutingWorkload(self.name, seed, routing, self._warmup, self._batch)
            self._kept[seed] = workload
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return workload


def source_of(scenario: ExpertCacheScenario) -> WorkloadSource:
    """The source a scenario's ``workload`` names: a generator, a trace, or a trace file.

    Raises:
        WorkloadError: the name is unknown, or the trace too short.
        TraceError: the trace is not here (names ``fleetgym traces fetch``) or is malformed, or
            nobody fitted the locality to these experts.
    """
    name = scenario.workload
    traces = [key for key, entry in catalog.entries().items() if entry.format == FORMAT]
    if name == TOY:
        return _of_trace(toy_routing(), scenario, warmup=2)
    if name == GENERATED:
        return _generated(scenario)
    if name in traces or name.endswith((".json", ".json.gz")):
        trace = _load(str(catalog.find(name)) if name in traces else name)
        return _of_trace(trace, scenario, warmup=scenario.warmup, name=name)
    raise WorkloadError(
        f"unknown workload {name!r}: {nearest(name, [TOY, GENERATED, *traces])} (or a path to a "
        ".json or .json.gz trace of routing)"
    )


@cache
def _load(path: str) -> Routing:
    return routing_format.read(Path(path))


def _generated(scenario: ExpertCacheScenario) -> RoutingSource:
    e, k = scenario.num_experts, scenario.top_k
    locality = expert_routing.locality(scenario.locality, e, k)
    steps = scenario.warmup + scenario.tokens

    def draw(seed: int) -> Routing:
        return expert_routing.routing(
            tokens=steps,
            layers=scenario.num_layers,
            num_experts=e,
            top_k=k,
            locality=locality,
            seed=seed,
            batch=scenario.batch,
        )

    return RoutingSource(
        GENERATED,
        draw,
        warmup=scenario.warmup,
        batch=scenario.batch,
        capacity=_capacity(steps, scenario.num_layers, e, min(e, k * scenario.batch)),
        split=scenario.split,
    )


def _of_trace(
    trace: Routing, scenario: ExpertCacheScenario, *, warmup: int, name: str = TOY
) -> RoutingSource:
    """Windows of a trace: of its first half in training, of the second in tests.

    A trace shorter than two windows is played whole, the same at every seed.
    """
    tokens, layers, k = trace.experts.shape
    steps = min(warmup + scenario.tokens, tokens)
    if not warmup < tokens or trace.num_experts < 2:
        raise WorkloadError(
            f"workload {name!r} has {tokens} tokens of {trace.num_experts} experts; it takes more "
            f"than the warm-up of {warmup} tokens, and 2 experts"
        )
    half = tokens // 2 if tokens >= 2 * steps else 0

    def draw(seed: int) -> Routing:
        spare = (half or tokens) - steps
        start = int(np.random.default_rng([seed, 0x717DE]).integers(spare + 1))
        return trace.window(start + (half if seed % 2 else 0), steps)

    batch = max(1, int(trace.counts[0, 0].sum()) // k)
    return RoutingSource(
        name,
        draw,
        warmup=warmup,
        batch=batch,
        capacity=_capacity(steps, layers, trace.num_experts, k),
        split=scenario.split,
    )


def _capacity(steps: int, layers: int, experts: int, active: int) -> dict[str, int]:
    top = min(experts, 2 * active)  # HybriMoE's p is twice the experts a token activates
    return {"steps": steps, "layers": layers, "experts": experts, "active": active, "top": top}


def toy_routing() -> Routing:
    """One layer, two slots of four experts, known by hand: 0 and 1 first, then 2 0 1 3 0 1, twice.

    LRU misses all twelve, MIN eight; MIN with bypass keeps 0 and 1 and misses four.
    """
    order = np.array([0, 1, *[2, 0, 1, 3, 0, 1] * 2], np.int16)
    return single_tokens(TOY, 4, order[:, None, None], np.zeros((0, 0, 0), np.uint16))
