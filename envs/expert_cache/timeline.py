"""What is shown of one world: the last tasks of GPU, CPU and PCIe, and the layer decided about."""

from dataclasses import dataclass
from typing import Any

from fleetgym.envs.core.errors import ScenarioError
from fleetgym.envs.core.simulator import Simulator
from fleetgym.envs.expert_cache.simulator import ExpertCacheSimulator
from fleetgym.envs.expert_cache.types import (
    ASKED,
    AT,
    BUSY,
    CHOSEN,
    CLOCK,
    CPU,
    END,
    EVENT,
    EXPERT,
    FETCHED,
    FIRST,
    GPU,
    HEAD,
    HIT,
    LANES,
    LAST_EVENT,
    LAYER,
    LENGTH,
    LOADED,
    MISS,
    MISSED,
    MISSING,
    PCIE,
    PREFETCH,
    READY,
    SLOT,
    STAGE,
    START,
    STEP,
    STREAMED,
    TRAIL,
    WHAT,
    WHO,
    WRITTEN,
)

FORGOTTEN = -1  # the expert of a task that is known to have been, and no more
LANE_NAMES = {GPU: "GPU", CPU: "CPU", PCIE: "PCIe"}
KINDS = {
    HIT: "hit",
    MISSING: "miss",
    LOADED: "copy into a slot",
    STREAMED: "streamed through",
    FETCHED: "prefetch",
}


@dataclass(frozen=True)
class Task:
    """Something that a lane did, in ns."""

    lane: int
    kind: int
    layer: int
    expert: int
    start: int
    end: int


@dataclass(frozen=True)
class Slot:
    """A slot of the layer that is decided about."""

    expert: int
    requested: bool
    open: bool
    in_flight: bool


@dataclass(frozen=True)
class Timeline:
    """One world. ``begin`` and ``end``: the ns that are shown; ``requests``: expert, hit."""

    title: str
    facts: tuple[tuple[str, str], ...]
    question: str
    layer: int
    requests: tuple[tuple[int, bool], ...]
    rank: int  # of the miss to be decided, or -1
    slots: tuple[Slot, ...]
    tasks: tuple[Task, ...]
    begin: int
    end: int
    queued: int  # ns of copies beyond the end


def timeline_of(simulator: Simulator, world: int) -> Timeline:
    """What is shown of a world.

    Raises:
        ScenarioError: the simulator is of another family.
    """
    if not isinstance(simulator, ExpertCacheSimulator):
        raise ScenarioError(f"{type(simulator).__name__} is no expert cache: nothing to draw")
    state, scenario = simulator.state(), simulator.scenario
    s = state.scalars[world].tolist()
    layers, experts = state.table.shape[1], state.table.shape[3]
    tasks = _tasks(simulator.world.trail[world], s[HEAD], experts)
    begin = min((task.start for task in tasks), default=0)
    end = max((task.end for task in tasks if task.lane != PCIE), default=begin + 1)
    ahead = s[STAGE] in (PREFETCH, SLOT)
    layer = (s[LAYER] + ahead) % layers
    requests = tuple(
        (int(state.request[world, ASKED, k]), not state.request[world, MISSED, k])
        for k in range(s[LENGTH])
    )
    return Timeline(
        title=f"{scenario.name} ({scenario.workload}): {layers} layers of {experts} experts, "
        f"{simulator.slots} slots each",
        facts=_facts(simulator, world, s),
        question=_question(s, state.request[world]),
        layer=layer,
        requests=requests,
        rank=s[AT] if s[STAGE] == MISS else -1,
        slots=_slots(state, world, layer),
        tasks=_shown_tasks(tasks, begin, end, s[BUSY]),
        begin=begin,
        end=end,
        queued=max(0, s[BUSY] - end),
    )


def _tasks(trail: Any, head: int, experts: int) -> list[Task]:
    """The trail, oldest first."""
    rows = [trail[at % TRAIL].tolist() for at in range(max(0, head - TRAIL), head)]
    tasks = []
    for row in rows:
        who, lane = divmod(row[WHO], LANES)
        layer, expert = divmod(who, experts)
        tasks.append(Task(lane, row[WHAT], layer, expert, row[START], row[END]))
    return tasks


def _shown_tasks(tasks: list[Task], begin: int, end: int, busy: int) -> tuple[Task, ...]:
    """The tasks between two ns; copies queued so long ago that the trail lost them are one task."""
    shown = [task for task in tasks if task.end > begin and task.start < end]
    known = min((task.start for task in tasks if task.lane == PCIE), default=busy)
    if busy > begin and known > begin:
        shown.append(Task(PCIE, LOADED, -1, FORGOTTEN, begin, min(known, end)))
    return tuple(shown)


def _facts(
    simulator: ExpertCacheSimulator, world: int, s: list[int]
) -> tuple[tuple[str, str], ...]:
    metrics = {name: float(value[world]) for name, value in simulator.metrics().items()}
    layers = simulator.sizes.layers
    steps, first = s[LAST_EVENT] // layers, s[FIRST] // layers
    return (
        ("step", f"{min(s[STEP], steps - 1) - first + 1} of {steps - first}"),
        ("layer", f"{s[LAYER]}" if s[EVENT] < s[LAST_EVENT] else "over"),
        ("hit rate", f"{metrics['hit_rate']:.3f}"),
        ("misses", f"{metrics['misses']:.0f}"),
        ("loads a request", f"{metrics['loads_per_request']:.3f}"),
        ("tokens/s", f"{metrics['tokens_per_s']:.1f}"),
        ("time", f"{s[CLOCK] / 1e6:.2f} ms"),
    )


def _question(s: list[int], request: Any) -> str:
    """What is to be decided, in words."""
    if s[STAGE] == MISS:
        expert = int(request[ASKED, s[AT]])
        return f"layer {s[LAYER]} misses expert {expert}: admit it, and where?"
    if s[STAGE] == PREFETCH:
        return f"layer {s[LAYER]} is done: prefetch what for the next?"
    if s[STAGE] == SLOT:
        return f"expert {s[CHOSEN]} is prefetched for the next layer: where?"
    return "the episode is over"


def _slots(state: Any, world: int, layer: int) -> tuple[Slot, ...]:
    s, request = state.scalars[world], state.request[world]
    asked = set(request[ASKED, : s[LENGTH]].tolist()) if layer == s[LAYER] else set()
    tenants, copies = state.tenants[world, layer, EXPERT], state.copies[world, layer]
    return tuple(
        Slot(
            int(tenants[j]),
            int(tenants[j]) in asked,
            bool(copies[WRITTEN, j] != s[EVENT]),
            bool(copies[READY, j] > s[CLOCK]),
        )
        for j in range(len(tenants))
    )
