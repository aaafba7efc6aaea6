"""The expert cache behind the simulator protocol: arrays, spaces, resets, metrics."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from fleetgym.envs.core.errors import WorkloadError
from fleetgym.envs.core.simulator import (
    Actions,
    Observations,
    Role,
    Simulator,
    StepResult,
    read_only,
)
from fleetgym.envs.core.workload import Workload
from fleetgym.envs.expert_cache import kernels
from fleetgym.envs.expert_cache.layout import Sizes, allocate, load, view
from fleetgym.envs.expert_cache.scenario import ExpertCacheScenario
from fleetgym.envs.expert_cache.types import (
    BATCH,
    CLOCK,
    EVENT,
    LAST_EVENT,
    SLOT,
    STAGE,
    STATUS,
    SUMS,
    TERMINATED,
    TERMS,
    TRUNCATED,
    Rules,
    State,
    World,
)
from fleetgym.envs.expert_cache.workloads import RoutingWorkload

AGENT = "cache"
TEMPLATES = 128  # prepared workloads kept for cheap resets
Float64 = NDArray[np.float64]


class ExpertCacheSimulator(Simulator):
    """B caches of a model of L layers with E experts (the capacity of the workload source)."""

    scenario: ExpertCacheScenario

    def __init__(
        self, scenario: ExpertCacheScenario, capacity: Mapping[str, int], num_worlds: int
    ) -> None:
        self.scenario = scenario
        self.num_worlds = num_worlds
        self.workloads: list[Workload | None] = [None] * num_worlds
        self.term_names = TERMS
        self.capacity = dict(capacity)
        self.sizes = Sizes.of(capacity)
        self.slots = scenario.slots(self.sizes.experts)
        self.rules = rules_of(scenario, self.sizes, self.slots)
        self.world = self._allocate(num_worlds)
        self._fields = self.world._asdict()
        self._templates: OrderedDict[str, World] = OrderedDict()
        self._all = np.ones(num_worlds, np.bool_)
        flags = self.world.flags.view(np.bool_)
        self._result = StepResult(
            read_only(self.world.reward[:, len(TERMS) :]),
            read_only(flags[:, TERMINATED]),
            read_only(flags[:, TRUNCATED]),
            read_only(self.world.flags[:, STATUS:]),
        )
        self._state = view(self.world)
        self._observation = {
            "slots": read_only(self.world.features[:, None, : self.slots]),
            "expert": read_only(self.world.features[:, None, self.slots]),
            "progress": read_only(self.world.progress[:, None]),
            "action_mask": read_only(self.world.mask[:, None]),
        }
        if scenario.prefetch:
            self._observation["next"] = read_only(self.world.features[:, None, self.slots + 1 :])
        shapes = {name: array.shape[2:] for name, array in self._observation.items()}
        self.roles = {AGENT: Role((AGENT,), *_spaces(shapes))}

    def _allocate(self, num_worlds: int) -> World:
        return allocate(self.sizes, self.slots, self.scenario.prefetch > 0, num_worlds)

    def reset(self, workloads: Sequence[Workload], worlds: Sequence[int] | None = None) -> None:
        """Starts the named worlds on their workloads; a workload met before costs a copy."""
        chosen = range(self.num_worlds) if worlds is None else worlds
        for world, workload in zip(chosen, workloads, strict=True):
            template = self._template(workload)._asdict()
            for name, array in self._fields.items():
                array[world] = template[name][0]
            self.workloads[world] = workload

    def _template(self, workload: Workload) -> World:
        if not isinstance(workload, RoutingWorkload):
            raise WorkloadError(f"{workload.name!r} is no workload for expert caching")
        key = f"{workload.digest} {workload.warmup} {workload.batch}"  # digests are of arrays
        template = self._templates.get(key)
        if template is None:
            template = self._allocate(1)
            load(template, workload, self.scenario, self.rules)
            self._templates[key] = template
            if len(self._templates) > TEMPLATES:
                self._templates.popitem(last=False)
        else:
            self._templates.move_to_end(key)
        return template

    def elapse(self, duration: NDArray[np.int64]) -> None:
        """GPU and CPU wait for the next ``duration`` (B,) ns; PCIe goes on."""
        kernels.elapse(self.world, np.asarray(duration, np.int64), self.rules)

    def step(self, actions: Actions, active: NDArray[np.bool_] | None = None) -> StepResult:
        """One decision about a miss, or one stage of a prefetch, of each active world."""
        given = np.ascontiguousarray(actions[AGENT][:, 0], np.int64)
        kernels.step(self.world, given, self._all if active is None else active, self.rules)
        return self._result

    def rollout(
        self,
        policy: kernels.PolicyKernel,
        parameters: Any,
        max_steps: int,
        seed: int = 0,
        seen: Any = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Plays every world with a Numba policy, without returning to Python.

        Args:
            policy: a kernel ``policy(seen, b, parameters, random)``: the action of world ``b``.
            parameters: of the policy.
            max_steps: at most.
            seed: of ``random``, the ``(B,)`` states of SplitMix64 that the policy may advance.
            seen: what it sees, the `State` by default.

        Returns:
            The actions ``(B, max_steps)``, and how many there are of each world ``(B,)``.
        """
        random = np.random.default_rng(seed).integers(2**64, size=self.num_worlds, dtype=np.uint64)
        actions = np.zeros((self.num_worlds, max_steps), np.int64)
        counts = np.zeros(self.num_worlds, np.int64)
        shown = self._state if seen is None else seen
        kernels.rollout(self.world, policy, shown, parameters, random, actions, counts, self.rules)
        return actions, counts

    def observation(self) -> Observations:
        """Tables of slots and expert, progress, and the mask."""
        return {AGENT: self._observation}

    def action_mask(self) -> Mapping[str, NDArray[np.int8]]:
        """``(B, 1, 1 + C)`` do not admit, slots; with prefetch also the next layer's experts."""
        return {AGENT: self._observation["action_mask"]}

    def state(self) -> State:
        """The caches as they stand, as named read-only arrays."""
        return self._state

    def reward_terms(self) -> Float64:
        """The last reward by terms, ``(B, 1, terms)``."""
        return self.world.reward[:, None, : len(TERMS)]

    def metrics(self) -> Mapping[str, Float64]:
        """Metrics of each world so far, ``(B,)``; ``gap_closed`` once the episode is over."""
        sums = dict(zip(SUMS, self.world.scalars.T.astype(np.float64), strict=False))
        clock = self.world.scalars[:, CLOCK].astype(np.float64)
        over = self.world.scalars[:, EVENT] == self.world.scalars[:, LAST_EVENT]
        lru, best = self.world.references.T.astype(np.float64) * over
        gained = (sums["hits"] - lru) * over
        loads = sums["loads"] + sums["prefetches"] + sums["streams"]
        return {
            "hit_rate": _rate(sums["hits"], sums["requests"]),
            "gap_closed": _rate(gained, best - lru),
            "tokens_per_s": _rate(1e9 * sums["tokens"] * self.world.scalars[:, BATCH], clock),
            "makespan_s": sums["makespan"] / 1e9,
            "waiting_s": sums["waited"] / 1e9,
            "requests": sums["requests"],
            "misses": sums["misses"],
            "loads_per_request": _rate(loads, sums["requests"]),
            "admissions": sums["loads"],
            "streams": sums["streams"],
            "prefetches": sums["prefetches"],
            "wasted_prefetches": sums["wasted"],
            "gpu_busy_share": _rate(sums["gpu"], clock),
            "cpu_busy_share": _rate(sums["cpu"], clock),
            "pcie_busy_share": _rate(sums["pcie"], np.maximum(clock, sums["pcie"])),
            "illegal_actions": sums["illegal"],
        }

    def now(self) -> NDArray[np.int64]:
        """The clock of each world, ``(B,)`` ns."""
        return self._state.scalars[:, CLOCK]

    def over(self) -> NDArray[np.bool_]:
        """True once a world has played its last event, or run out of steps."""
        return self._result.terminated | self._result.truncated

    def decision_starts(self) -> NDArray[np.bool_]:
        """False where a prefetch lacks its slot."""
        starts: NDArray[np.bool_] = self._state.scalars[:, STAGE] != SLOT
        return starts

    def forget_future(self) -> None:
        """The event in progress is the last."""
        for world in range(self.num_worlds):
            end = int(min(self.world.scalars[world, [EVENT, LAST_EVENT]] + [1, 0]))
            self.world.scalars[world, LAST_EVENT] = end
            self.world.routes[world, end:] = 0
        self.world.references[:] = 0
        kernels.write_views(self.world, self.rules)

    def _arrays(self) -> Mapping[str, NDArray[Any]]:
        return self._fields

    def _moving(self) -> tuple[str, ...]:
        return ("tenants", "copies", "scalars")


def rules_of(scenario: ExpertCacheScenario, sizes: Sizes, slots: int) -> Rules:
    """The scalars of a scenario, as the kernels take them."""
    decisions = sizes.steps * sizes.layers * (sizes.active + 2 * scenario.prefetch + 1)
    return Rules(
        **scenario.costs()._asdict(),
        dense=round(scenario.dense_ms * 1e6),
        prefetch=min(scenario.prefetch, slots),
        miss_reward=scenario.reward == "misses",
        max_steps=2 * decisions + 16,
        illegal_penalty=scenario.illegal_penalty,
    )


def _spaces(shapes: Mapping[str, tuple[int, ...]]) -> tuple[spaces.Dict, spaces.Space[Any]]:
    """Of observations and actions; every feature lies in [0, 1]."""
    (actions,) = shapes["action_mask"]
    observation: dict[str, spaces.Space[Any]] = {
        name: spaces.Box(0.0, 1.0, shape, np.float32)
        for name, shape in shapes.items()
        if name != "action_mask"
    }
    return spaces.Dict(
        {**observation, "action_mask": spaces.MultiBinary(actions)}
    ), spaces.Discrete(actions)


def _rate(part: Float64, whole: Float64) -> Float64:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole != 0)
