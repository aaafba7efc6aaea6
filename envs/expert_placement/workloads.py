"""What an expert placement episode is drawn from: generated loads, a trace, or the toy's."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fleetgym.envs.core.errors import WorkloadError
from fleetgym.envs.core.workload import Workload, WorkloadSource
from fleetgym.envs.expert_placement.scenario import ExpertPlacementScenario
from fleetgym.envs.expert_placement.types import Int32
from fleetgym.traces.errors import nearest
from fleetgym.traces.formats import expert_load, routing
from fleetgym.traces.generators import expert_loads
from fleetgym.traces.reading import read_bytes

KEPT, KEPT_BYTES = 512, 1 << 28  # of workloads a source keeps, since training draws them again
GENERATED, TOY = "generated", "toy"
SUFFIXES = (".json", ".json.gz")
ROUTED = "load_history"  # stands in a file of loads, not in one of routed tokens
HEAD = 1 << 20  # bytes in which it does


@dataclass(frozen=True, eq=False)
class ExpertWorkload(Workload):
    """Tokens of every expert: the history before the first decision, then the episode's windows."""

    loads: Int32  # (H + W, L, E) tokens of a window, the oldest first


class LoadSource:
    """Workloads made by a function from a seed to loads.

    Args:
        name: of the source.
        draw_loads: ``(H + W, L, E)`` of a seed.
        layers, experts: L and E.
        split: "train" or "test": even or odd seeds of what is drawn.
    """

    def __init__(
        self,
        name: str,
        draw_loads: Callable[[int], Int32],
        layers: int,
        experts: int,
        split: str,
    ) -> None:
        self.name = name
        self.capacity: Mapping[str, int] = {"layers": layers, "experts": experts}
        self._draw_loads = draw_loads
        self._test = split == "test"
        self._kept: OrderedDict[int, ExpertWorkload] = OrderedDict()

    def draw(self, seed: int) -> ExpertWorkload:
        """The workload of a seed, always the same."""
        workload = self._kept.get(seed)
        if workload is None:
            workload = ExpertWorkload(self.name, seed, self._draw_loads(2 * seed + self._test))
            self._kept[seed] = workload
            if len(self._kept) > min(KEPT, KEPT_BYTES // workload.loads.nbytes):
                self._kept.popitem(last=False)
        return workload


def source_of(scenario: ExpertPlacementScenario) -> WorkloadSource:
    """The source a scenario's ``workload`` names: generated loads, the toy's, or a file.

    Raises:
        WorkloadError: the name is unknown, or the trace is too short or of another size.
        TraceError: the file is not here or is malformed.
    """
    name = scenario.workload
    if name == GENERATED:
        return _source(name, scenario, lambda seed: generated(scenario, seed))
    if name == TOY:
        return _source(name, scenario, lambda seed: toy_loads(scenario, seed))
    if name.endswith(SUFFIXES):
        return _traced(scenario, load_trace(name, scenario.iterations_per_window))
    raise WorkloadError(
        f"unknown workload {name!r}: {nearest(name, (GENERATED, TOY))} (or a path to an "
        "expert-load.json or a routing trace, .json or .json.gz)"
    )


def _source(
    name: str, scenario: ExpertPlacementScenario, draw: Callable[[int], Int32]
) -> LoadSource:
    return LoadSource(name, draw, scenario.layers, scenario.experts, scenario.split)


def load_trace(path: str, steps_per_window: int) -> expert_load.ExpertLoads:
    """The loads of a file: an ``expert-load.json``, or a routing trace.

    Args:
        path: of the file.
        steps_per_window: of a routing trace.

    Raises:
        TraceError: it is not here or malformed.
    """
    if ROUTED.encode() in read_bytes(Path(path))[:HEAD]:
        return expert_load.read(path)
    return expert_load.of_routing(routing.read(path), steps_per_window)


def generated(scenario: ExpertPlacementScenario, seed: int) -> Int32:
    """Loads of the scenario's skew and drift, ``(H + W, L, E)``."""
    return expert_loads.draw(
        windows=scenario.history + scenario.windows,
        layers=scenario.layers,
        experts=scenario.experts,
        tokens=scenario.tokens_per_iteration * scenario.iterations_per_window,
        skew=scenario.skew,
        drift=scenario.drift,
        seed=seed,
    )


def _traced(scenario: ExpertPlacementScenario, trace: expert_load.ExpertLoads) -> LoadSource:
    """Stretches of a trace; the seed says where each begins."""
    needed = scenario.history + scenario.windows
    windows, layers, experts = trace.loads.shape
    if windows < needed:
        raise WorkloadError(
            f"trace {trace.name!r} has {windows} windows; history={scenario.history} and "
            f"windows={scenario.windows} need {needed}: lower them"
        )
    if int(trace.loads.sum(axis=2, dtype=np.int64).max()) >= 2**30:
        raise WorkloadError(
            f"trace {trace.name!r} has 2**30 tokens or more in a layer of a window: scale it down"
        )

    def draw(seed: int) -> Int32:
        rng = np.random.default_rng([seed, 0x10AD5])
        start = int(rng.integers(windows - needed + 1))
        return trace.loads[start : start + needed]

    return LoadSource(trace.name, draw, layers, experts, scenario.split)


def toy_loads(scenario: ExpertPlacementScenario, seed: int) -> Int32:
    """Loads whose best placement is known by hand, rolled over the experts by the seed.

    Of 16 tokens one expert has 8, one 4 and two have 2. The start is 0 1 2 | 3 0 1. Where the
    first expert is 2, GPU 0 serves 2/2 + 2/2 + 8 = 10 and GPU 1 4 + 2/2 + 2/2 = 6. Two edits a
    layer balance them at 8: 3 in place of 1 and 2 in place of 0, so that both GPUs hold 2 and 3.
    """
    shift = seed % scenario.experts
    row = np.zeros(scenario.experts, np.int32)
    row[:4] = 8, 4, 2, 2
    windows = scenario.history + scenario.windows
    return np.tile(np.roll(row, shift), (windows, scenario.layers, 1))
