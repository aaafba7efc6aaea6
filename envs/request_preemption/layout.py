"""Allocating the arrays of B worlds, and loading a workload into one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleetgym.envs.core.errors import WorkloadError
from fleetgym.envs.core.simulator import read_only
from fleetgym.envs.hardware import gpu, models
from fleetgym.envs.hardware.link import Link
from fleetgym.envs.request_preemption.lateness import histogram_edges
from fleetgym.envs.request_preemption.observe import (
    ARRIVAL_FEATURES,
    INSTANCE_FEATURES,
    REQUEST_FEATURES,
    WORLD_FEATURES,
)
from fleetgym.envs.request_preemption.scenario import RequestPreemptionScenario
from fleetgym.envs.request_preemption.types import (
    ASIDE_NEXT,
    BLOCK,
    END,
    FIRSTS,
    FREE,
    HASH_TOKENS,
    HOST_FREE,
    INSTANCE_FIELDS,
    LAST_CLIENT,
    LISTS,
    MODES,
    MOVED_SLOT,
    NEVER,
    NEXT_ARRIVAL,
    PUBLIC_INSTANCE_FIELDS,
    PUBLIC_SLOT_FIELDS,
    PUBLIC_WORLD_FIELDS,
    ROW_ARRIVAL,
    ROW_CLIENT,
    ROW_HASH,
    ROW_HASHES,
    ROW_NEXT,
    ROW_OUTPUT,
    ROW_PAUSE,
    ROW_PREDICTED,
    ROW_PROGRAM,
    ROW_PROMPT,
    RULES,
    SEED,
    SLOT_FIELDS,
    SPARE,
    SPARE_N,
    STAGE_END,
    SUMS,
    TERMS,
    TICK,
    WAKE,
    WORLD_FIELDS,
    Prices,
    Rules,
    Shown,
    State,
    World,
)
from fleetgym.envs.request_preemption.workloads import ServingWorkload
from fleetgym.traces.schema_serving import ServingTrace

PS_OF_US, PS_OF_S = 10**6, 10**12
EDGES = histogram_edges()
PREEMPTIONS = ("recompute", "swap", "cheapest", "chosen")  # in the order of types.RECOMPUTE


@dataclass(frozen=True)
class Sizes:
    """Upper sizes of the workloads: R rows and H hashes."""

    rows: int
    hashes: int

    @classmethod
    def of(cls, capacity: Mapping[str, int]) -> "Sizes":
        """From a workload source's ``capacity``."""
        try:
            return cls(**{field: int(capacity[field]) for field in cls.__dataclass_fields__})
        except KeyError as error:
            raise WorkloadError(
                f"the workload source's capacity lacks {error}; it needs "
                f"{', '.join(cls.__dataclass_fields__)}"
            ) from error


@dataclass(frozen=True)
class Actions:
    """How many actions there are of each kind, in their order.

    ``instance`` counts those of an instance's agent: three ways to go on, a position of the table
    each, again each where the way of preemption is chosen, and the times for which a turn's blocks
    are pinned, with one for the host. ``router`` counts the targets of a dispatch, and the pairs
    (source, target) of a migration.
    """

    instance: int
    router: int

    @classmethod
    def of(cls, scenario: RequestPreemptionScenario) -> "Actions":
        """Of a scenario."""
        blocks = 2 if scenario.preemption == "chosen" else 1
        pins = len(scenario.ttls_s) + 1 if scenario.ttls_s else 0
        count = scenario.instances
        router = count + count * count if count > 1 else 0
        return cls(MODES + blocks * scenario.slots + pins, router)

    @property
    def central(self) -> int:
        """Those of one agent that decides everything."""
        return self.instance + self.router


def allocate(sizes: Sizes, scenario: RequestPreemptionScenario, b: int) -> World:
    """Arrays of B empty worlds."""
    i, n = scenario.instances, scenario.slots
    entries = scenario.kv_blocks if scenario.prefix_cache and sizes.hashes else 1
    return World(
        slots=np.zeros((b, i, len(SLOT_FIELDS), n), np.int64),
        instances=np.zeros((b, i, len(INSTANCE_FIELDS)), np.int64),
        cache=np.zeros((b, i, 4, entries), np.int64),
        scalars=np.zeros((b, len(WORLD_FIELDS) + len(SUMS)), np.int64),
        clients=np.zeros((b, 3, scenario.clients), np.int64),
        levels=np.zeros((b, 5, scenario.priority_levels), np.int64),
        histograms=np.zeros((b, 2, len(EDGES) - 1), np.int64),
        times=np.zeros((b, 2, sizes.rows), np.int64),
        rows=np.zeros((b, 8, sizes.rows), np.int32),
        hashes=np.zeros((b, sizes.hashes), np.int32),
    )


def display(scenario: RequestPreemptionScenario, b: int) -> Shown:
    """Arrays of what B worlds show."""
    i, n, actions = scenario.instances, scenario.slots, Actions.of(scenario)
    several = scenario.control == "distributed"
    shown = Shown(
        inbox=np.zeros((b, 4), np.int64),
        mask=np.zeros((b, actions.central), np.int8),
        mask_instances=np.zeros((b, i, actions.instance), np.int8),
        mask_router=np.zeros((b, 1 + actions.router), np.int8),
        requests=np.zeros((b, i if several else 1, n, len(REQUEST_FEATURES)), np.float32),
        instances=np.zeros((b, i, len(INSTANCE_FEATURES)), np.float32),
        arrival=np.zeros((b, len(ARRIVAL_FEATURES)), np.float32),
        world=np.zeros((b, len(WORLD_FEATURES)), np.float32),
        focus=np.zeros((b, i), np.float32),
        paid=np.zeros((b, len(TERMS))),
        reward=np.zeros((b, len(TERMS) + 1)),
        flags=np.zeros((b, 2), np.int8),
        status=np.zeros((b, i + (i > 1) if several else 1), np.int8),
    )
    shown.mask[:, 0] = shown.mask_instances[:, :, 0] = shown.mask_router[:, 0] = 1
    return shown


def view(world: World, shown: Shown) -> State:
    """What a policy may see: read-only views."""
    seen: dict[str, NDArray[Any]] = {
        "slots": world.slots[:, :, :PUBLIC_SLOT_FIELDS],
        "instances": world.instances[:, :, :PUBLIC_INSTANCE_FIELDS],
        "scalars": world.scalars[:, :PUBLIC_WORLD_FIELDS],
        "clients": world.clients,
        "cache": world.cache,
        "inbox": shown.inbox,
        "mask": shown.mask,
    }
    return State(**{name: read_only(array) for name, array in seen.items()})


def load(world: World, workload: ServingWorkload, scenario: RequestPreemptionScenario) -> None:
    """Loads a workload into the one world of freshly allocated arrays.

    Raises:
        WorkloadError: the workload is larger than the arrays, or turns contradict each other.
    """
    trace = workload.trace
    _check(world, workload, scenario)
    n, hashes = len(trace), len(trace.hashes)
    scaled = trace.arrival_ns[: trace.num_arrivals] // 1_000 * PS_OF_US * scenario.arrival_scale
    world.times[0, ROW_ARRIVAL, : trace.num_arrivals] = np.rint(scaled).astype(np.int64)
    world.times[0, ROW_PAUSE, :n] = trace.pause_ns * 1_000
    for row, column in (
        (ROW_PROMPT, trace.prompt_tokens),
        (ROW_OUTPUT, trace.output_tokens),
        (ROW_PREDICTED, workload.predicted),
        (ROW_CLIENT, trace.client),
        (ROW_PROGRAM, trace.program),
        (ROW_NEXT, trace.next_turn),
        (ROW_HASH, trace.hash_start),
        (ROW_HASHES, trace.hash_count),
    ):
        world.rows[0, row, :n] = column
    world.hashes[0, :hashes] = trace.hashes
    scalars = world.scalars[0]
    scalars[FIRSTS], scalars[HASH_TOKENS] = trace.num_arrivals, trace.hash_tokens
    scalars[NEXT_ARRIVAL] = world.times[0, ROW_ARRIVAL, 0]
    scalars[SEED] = workload.seed & (2**62 - 1)
    scalars[TICK] = round(scenario.rebalance_s * PS_OF_S) or NEVER
    scalars[LAST_CLIENT] = -1
    instances = world.instances[0]
    instances[:, FREE], instances[:, HOST_FREE] = scenario.kv_blocks, scenario.cpu_blocks
    instances[:, STAGE_END] = instances[:, END] = instances[:, ASIDE_NEXT] = NEVER
    instances[:, MOVED_SLOT] = -1
    instances[:, SPARE_N] = scenario.slots
    world.slots[0, :, LISTS + SPARE] = np.arange(scenario.slots)[::-1]
    world.slots[0, :, WAKE] = -1


def _check(world: World, workload: ServingWorkload, scenario: RequestPreemptionScenario) -> None:
    trace, about = workload.trace, f"workload {workload.name!r} (seed {workload.seed})"
    for what, size, room in (
        ("requests", len(trace), world.rows.shape[2]),
        ("hashes", len(trace.hashes), world.hashes.shape[1]),
        ("clients", int(trace.client.max()) + 1, world.clients.shape[2]),
    ):
        if size > room:
            raise WorkloadError(
                f"{about} has {size} {what}, there is room for {room}: raise its source's "
                "capacity (clients: the scenario's field)"
            )
    if scenario.prefix_cache and trace.hash_tokens % BLOCK:
        raise WorkloadError(
            f"{about} hashes blocks of {trace.hash_tokens} tokens; the prefix cache needs a "
            f"multiple of {BLOCK}"
        )
    if scenario.prefix_cache:
        for row in np.flatnonzero(trace.next_turn >= 0):
            after = trace.next_turn[row]
            own, more = _hashes(trace, row), _hashes(trace, after)
            full = trace.prompt_tokens[row] // max(1, trace.hash_tokens)
            if not np.array_equal(own[:full], more[: len(own[:full])]):
                raise WorkloadError(
                    f"{about}: the hashes of row {after} do not begin with those of the turn "
                    f"before it, row {row}"
                )


def _hashes(trace: ServingTrace, row: Any) -> NDArray[np.int32]:
    start, count = trace.hash_start[row], trace.hash_count[row]
    found: NDArray[np.int32] = trace.hashes[start : start + count]
    return found


def rules_of(scenario: RequestPreemptionScenario) -> Rules:
    """The scalars and tables of a scenario, as the kernels take them."""
    # Whole prompts may exceed the token budget, but not what the pool holds.
    most = max(scenario.token_budget, scenario.kv_blocks * BLOCK)
    time = gpu.load(scenario.model, scenario.gpu, scenario.tp)
    table = time.quantised(most, scenario.stack_overhead)
    model = models.model(scenario.model)
    block = BLOCK * model.kv_bytes_per_token(scenario.tp)
    swap = Link(scenario.dispatch_us, scenario.swap_gb_s)
    move = Link(scenario.dispatch_us, scenario.migration_gb_s)
    values = {
        "a0": table.a0_ps,
        "a1": table.a1_ps,
        "a2": table.a2_ps,
        "d0": table.d0_ps,
        "d1": table.d1_ps,
        "d2": table.d2_ps,
        "kv_blocks": scenario.kv_blocks,
        "cpu_blocks": scenario.cpu_blocks,
        "max_num_seqs": scenario.max_num_seqs,
        "token_budget": scenario.token_budget,
        "prefix_cache": scenario.prefix_cache,
        "preemption": PREEMPTIONS.index(scenario.preemption),
        "overlapped": scenario.overlapped,
        "tax": round(scenario.overlap_tax * 1e6),
        "group_blocks": scenario.group_blocks,
        "reuse": scenario.reuse_cpu_copies,
        "copy_fixed": swap.group_ps(model.layers),
        "copy_block": swap.block_ps(block),
        "move_fixed": move.group_ps(model.layers),
        "move_block": move.block_ps(block),
        "ttft_slo": round(scenario.ttft_slo_s * PS_OF_S),
        "tbt_slo": round(scenario.tbt_slo_s * PS_OF_S),
        "levels": scenario.priority_levels,
        "updates": round(scenario.priority_updates * 1e6),
        "markov": scenario.priority_pattern == "markov",
        "decision_iterations": scenario.decision_iterations,
        "rebalance": round(scenario.rebalance_s * PS_OF_S),
        "horizon": round(scenario.horizon_s * PS_OF_S),
        "max_steps": scenario.max_steps,
        "scores": scenario.action == "scores",
        "distributed": scenario.control == "distributed",
    }
    return Rules(
        first=table.first,
        edges=EDGES,
        ttls=np.array([round(ttl * PS_OF_S) for ttl in scenario.ttls_s], np.int64),
        of=np.array([values[name] for name in RULES], np.int64),
    )


def prices_of(scenario: RequestPreemptionScenario) -> Prices:
    """What the reward needs of a scenario."""
    return Prices(
        weights=np.array(scenario.weights()),
        late=scenario.weight_late,
        goodput=scenario.weight_goodput,
        fairness=scenario.weight_fairness,
        illegal=scenario.illegal_penalty,
    )
