"""How an instance is shown: its pool of KV blocks by what holds them, and its queue."""

from typing import NamedTuple

from fleetgym.envs.core.simulator import Simulator
from fleetgym.envs.request_preemption.scenario import RequestPreemptionScenario
from fleetgym.envs.request_preemption.types import (
    ARRIVAL,
    ARRIVED,
    ASIDE,
    BLOCK,
    BLOCKS,
    CLOCK,
    COMING,
    COMPUTED,
    DISPATCH,
    ENTERED,
    EVICTABLE,
    FIRST,
    FIRSTS,
    FOCUS,
    FREE,
    GENERATED,
    HASH_TOKENS,
    HASHED,
    INCOMING,
    KIND,
    LEAVING,
    LISTS,
    MODE,
    MOVING,
    PAUSED,
    PIN,
    PREEMPTED,
    PROMPT,
    PS,
    QUEUE,
    REBALANCE,
    ROW,
    RUN,
    RUNNING,
    SCHEDULE,
    STATE,
    SWAPPED,
    WAITING,
    Int64,
    State,
)

MODE_NAMES = ("mixed", "decode-first", "prefill-first")
KIND_NAMES = {SCHEDULE: "schedule", PIN: "pin", DISPATCH: "dispatch", REBALANCE: "migrate"}
HOLDERS = {  # of private blocks, by state
    LEAVING: "leaving",
    COMING: "coming",
    PAUSED: "pinned",
    WAITING: "pinned",
    MOVING: "moving",
    INCOMING: "moving",
}


class Segment(NamedTuple):
    """Blocks of the pool that one request, or nobody, holds."""

    kind: str  # "decode", "prefill", a value of HOLDERS, "shared", "cached" or "free"
    row: int  # of the workload, or -1
    blocks: int


class Queued(NamedTuple):
    """A request of the queue."""

    row: int
    blocks: int  # until its next token
    late: float  # time since its arrival, of the TTFT target; 0 once it has begun
    swapped: bool
    preempted: int  # times


class Pool(NamedTuple):
    """One instance."""

    segments: list[Segment]
    queue: list[Queued]
    running: int
    free: int  # blocks
    mode: str
    asked: bool


class Board(NamedTuple):
    """One world, ready to be shown."""

    scenario: RequestPreemptionScenario
    pools: list[Pool]
    asked: str  # the decision, in words
    seconds: float
    arrived: int
    outside: int
    firsts: int
    metrics: dict[str, float]


def board_of(simulator: Simulator, world: int) -> Board:
    """One world of a request preemption simulator, ready to be shown."""
    scenario, state = simulator.scenario, simulator.state()
    assert isinstance(scenario, RequestPreemptionScenario)
    assert isinstance(state, State)
    scalars = state.scalars[world]
    kind, focus = int(scalars[KIND]), int(scalars[FOCUS])
    named = KIND_NAMES.get(kind, "over")
    if kind in (SCHEDULE, PIN):
        named += f" on instance {focus}"
    if kind == DISPATCH:
        named += f" request {state.inbox[world, 0]} of {state.inbox[world, 1]} tokens"
    return Board(
        scenario=scenario,
        pools=[_pool(state, scenario, world, i) for i in range(scenario.instances)],
        asked=named,
        seconds=float(scalars[CLOCK]) / PS,
        arrived=int(scalars[ARRIVED]),
        outside=int(scalars[ARRIVED] - scalars[ENTERED]),
        firsts=int(scalars[FIRSTS]),
        metrics={name: float(values[world]) for name, values in simulator.metrics().items()},
    )


def _pool(state: State, scenario: RequestPreemptionScenario, world: int, i: int) -> Pool:
    slots, registers = state.slots[world, i], state.instances[world, i]
    scalars = state.scalars[world]
    running, queue, aside = (
        [slots[:, s] for s in slots[LISTS + which, : registers[which]]]
        for which in (RUN, QUEUE, ASIDE)
    )
    per_hash = int(scalars[HASH_TOKENS]) // BLOCK
    segments = [_segment(slot, per_hash) for slot in (*running, *aside, *queue)]
    held, free, cached = (
        sum(segment.blocks for segment in segments),
        int(registers[FREE]),
        int(registers[EVICTABLE]),
    )
    segments += [
        Segment("shared", -1, scenario.kv_blocks - free - cached - held),
        Segment("cached", -1, cached),
        Segment("free", -1, free),
    ]
    target = scenario.ttft_slo_s * PS
    return Pool(
        segments=[segment for segment in segments if segment.blocks > 0],
        queue=[_queued(slot, int(scalars[CLOCK]), target) for slot in queue],
        running=len(running),
        free=free,
        mode=MODE_NAMES[registers[MODE]],
        asked=int(scalars[KIND]) in (SCHEDULE, PIN) and int(scalars[FOCUS]) == i,
    )


def _segment(slot: Int64, per_hash: int) -> Segment:
    """The blocks that a request shares with nobody."""
    kind = HOLDERS.get(int(slot[STATE]), "")
    if slot[STATE] == RUNNING:
        lacking = slot[PROMPT] + slot[GENERATED] - slot[COMPUTED]
        kind = "decode" if slot[GENERATED] > 0 and lacking == 1 else "prefill"
    return Segment(kind, int(slot[ROW]), int(slot[BLOCKS] - slot[HASHED] * per_hash))


def _queued(slot: Int64, now: int, target: float) -> Queued:
    needed = -(-int(slot[PROMPT] + slot[GENERATED]) // BLOCK) - int(slot[BLOCKS])
    waited = (now - int(slot[ARRIVAL])) / target if slot[FIRST] < 0 else 0.0
    swapped = bool(slot[STATE] == SWAPPED)
    return Queued(int(slot[ROW]), max(0, needed), waited, swapped, int(slot[PREEMPTED]))


def heading(board: Board) -> str:
    """What is shown, in words."""
    scenario = board.scenario
    count = f"{scenario.instances} instance{'s' if scenario.instances > 1 else ''}"
    return f"{scenario.name} ({scenario.workload}): {count} of {scenario.kv_blocks:,} KV blocks"


def waits(queued: Queued) -> str:
    """A request of the queue in words: its row, and marks of what happened to it."""
    marks = ("s" if queued.swapped else "") + ("p" if queued.preempted else "")
    return f"{queued.row}{marks}{'!' if queued.late > 1 else ''}"
