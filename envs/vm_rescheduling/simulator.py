"""The VM rescheduling machine behind the simulator protocol: arrays, spaces, resets, metrics."""

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
from fleetgym.envs.vm_rescheduling import kernels
from fleetgym.envs.vm_rescheduling.layout import Sizes, allocate, load, view
from fleetgym.envs.vm_rescheduling.scenario import VMReschedulingScenario
from fleetgym.envs.vm_rescheduling.types import (
    CURSOR,
    EVENT_TIME,
    PM,
    PM_FEATURES,
    PROGRESS,
    STATUS,
    SUMS,
    TERMINATED,
    TERMS,
    TRUNCATED,
    VM_FEATURES,
    Rules,
    State,
    World,
)
from fleetgym.envs.vm_rescheduling.workloads import VMWorkload
from fleetgym.traces.generators.churn import NEVER

AGENT = "scheduler"
TEMPLATES = 512  # prepared workloads kept for cheap resets


class VMReschedulingSimulator(Simulator):
    """B fleets of at most P machines and V VMs (the capacity of the workload source)."""

    scenario: VMReschedulingScenario

    def __init__(
        self, scenario: VMReschedulingScenario, capacity: Mapping[str, int], num_worlds: int
    ) -> None:
        self.scenario = scenario
        self.num_worlds = num_worlds
        self.workloads: list[Workload | None] = [None] * num_worlds
        self.term_names = TERMS
        self.rules = rules_of(scenario)
        self.capacity = dict(capacity)
        self.sizes = Sizes.of(capacity)
        self.roles = {AGENT: Role((AGENT,), *_spaces(self.sizes, scenario))}
        self.world = allocate(self.sizes, num_worlds)
        self._fields = self.world._asdict()
        self._templates: OrderedDict[str, World] = OrderedDict()
        self._all = np.ones(num_worlds, np.bool_)
        self._actions = np.zeros((num_worlds, 2), np.int64)
        flags = self.world.flags.view(np.bool_)
        self._result = StepResult(
            read_only(self.world.reward[:, len(TERMS) :]),
            read_only(flags[:, TERMINATED]),
            read_only(flags[:, TRUNCATED]),
            read_only(self.world.flags[:, STATUS:]),
        )
        self._state = view(self.world)
        self._observation = {
            "pms": read_only(self.world.obs_pms[:, None]),
            "vms": read_only(self.world.obs_vms[:, None]),
            "vm_host": self._state.vm_pm[:, None],
            "progress": read_only(self.world.progress[:, None]),
            "action_mask": read_only(self.world.mask[:, None]),
        }

    def reset(self, workloads: Sequence[Workload], worlds: Sequence[int] | None = None) -> None:
        """Starts the named worlds on their workloads; a workload met before costs a copy."""
        chosen = range(self.num_worlds) if worlds is None else worlds
        for world, workload in zip(chosen, workloads, strict=True):
            template = self._template(workload)._asdict()
            for name, array in self._fields.items():
                array[world] = template[name][0]
            self.workloads[world] = workload

    def _template(self, workload: Workload) -> World:
        if not isinstance(workload, VMWorkload):
            raise WorkloadError(f"{workload.name!r} is no workload for VM rescheduling")
        key = workload.digest
        template = self._templates.get(key)
        if template is None:
            template = allocate(self.sizes, 1)
            load(template, workload, self.scenario, self.rules)
            self._templates[key] = template
            if len(self._templates) > TEMPLATES:
                self._templates.popitem(last=False)
        else:
            self._templates.move_to_end(key)
        return template

    def elapse(self, duration: NDArray[np.int64]) -> None:
        """Runs the arrivals and departures of the next ``duration`` (B,) ns."""
        kernels.elapse(self.world, np.asarray(duration, np.int64), self.rules)

    def step(self, actions: Actions, active: NDArray[np.bool_] | None = None) -> StepResult:
        """One stage of a decision (two-phase) or a whole one (pair) of each active world."""
        given = actions[AGENT]
        if self.rules.pair_action:
            self._actions[:] = given[:, 0]
        else:
            self._actions[:, 0] = given[:, 0]
        active = self._all if active is None else active
        kernels.step(self.world, self._actions, active, self.rules)
        return self._result

    def rollout(
        self, policy: kernels.PolicyKernel, max_steps: int, seed: int = 0
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Plays every world with a Numba policy, without returning to Python.

        Args:
            policy: a kernel ``policy(world, b, random)`` that returns the flat action of world
                ``b``, such as ``kernels.draw_legal``; for two-phase actions.
            max_steps: at most.
            seed: of ``random``, the ``(B,)`` states of SplitMix64 that the policy may advance.

        Returns:
            The actions ``(B, max_steps)``, and how many there are of each world ``(B,)``.
        """
        random = np.random.default_rng(seed).integers(2**64, size=self.num_worlds, dtype=np.uint64)
        actions = np.zeros((self.num_worlds, max_steps), np.int64)
        counts = np.zeros(self.num_worlds, np.int64)
        kernels.rollout(self.world, policy, random, actions, counts, self.rules)
        return actions, counts

    def observation(self) -> Observations:
        """Tables of machines, VMs and progress, the relation ``vm_host``, and the mask."""
        return {AGENT: self._observation}

    def action_mask(self) -> Mapping[str, NDArray[np.int8]]:
        """``(B, 1, V + 1 + 2P)``: VMs, STOP, slots."""
        return {AGENT: self._observation["action_mask"]}

    def state(self) -> State:
        """The fleet as it stands, as named read-only arrays."""
        return self._state

    def reward_terms(self) -> NDArray[np.float64]:
        """The last reward by terms, ``(B, 1, terms)``."""
        return self.world.reward[:, None, : len(TERMS)]

    def metrics(self) -> Mapping[str, NDArray[np.float64]]:
        """Metrics of each world so far, ``(B,)``."""
        sums = dict(zip(SUMS, self.world.sums.T.astype(np.float64), strict=True))
        return {
            "fragment_rate": _rate(sums["fragment_cores"], sums["free_cores"]),
            "pair_fragment_rate": _rate(sums["pair_fragment_cores"], sums["free_cores"]),
            "memory_fragment_rate": _rate(sums["fragment_memory"], sums["free_memory"]),
            "gpu_fragment_rate": _rate(sums["fragment_gpu"], sums["free_gpu"]),
            "objective": self.objective(),
            "active_pms": sums["active_pms"],
            "migrations": sums["migrations"],
            "moved_mib": sums["moved"],
            "traffic_mib": sums["traffic"],
            "downtime_s": sums["downtime"] / 1e6,
            "dropped_migrations": sums["dropped"],
            "illegal_actions": sums["illegal"],
            "arrivals": sums["arrivals"],
            "departures": sums["departures"],
            "rejected_arrivals": sums["rejected"],
        }

    def objective(self) -> NDArray[np.float64]:
        """The weighted objective of each world, ``(B,)``."""
        values = np.empty(self.num_worlds)
        kernels.objectives(self.world, self.rules, values)
        return values

    def now(self) -> NDArray[np.int64]:
        """The clock of each world, ``(B,)`` ns."""
        return self._state.clock

    def over(self) -> NDArray[np.bool_]:
        """True once a world has stopped, spent its limit, or run out of time."""
        return self._result.terminated | self._result.truncated

    def decision_starts(self) -> NDArray[np.bool_]:
        """True where no VM has been chosen yet."""
        return self._state.chosen < 0

    def legal_targets(self, world: int, vm: int) -> NDArray[np.int64]:
        """Slots the VM may migrate to now (a double-NUMA VM: first slots of machines)."""
        legal = np.zeros(2 * self.sizes.pms, np.int8)
        if 0 <= vm < self.sizes.vms:
            kernels.legal_targets(self.world, world, vm, legal)
        return np.flatnonzero(legal)

    def forget_future(self) -> None:
        """No VM arrives or departs any more."""
        self.world.events[:] = 0
        self.world.events[:, EVENT_TIME] = NEVER
        self.world.scalars[:, CURSOR] = 0
        absent = self.world.vms[:, :, PM] < 0
        self.world.newcomers[:] = np.where(absent[:, None], -1, self.world.newcomers)
        kernels.write_masks(self.world, self.rules)

    def _arrays(self) -> Mapping[str, NDArray[Any]]:
        return self._fields

    def _moving(self) -> tuple[str, ...]:
        return ("slots", "machines", "vms", "group_count", "scalars", "sums")


def rules_of(scenario: VMReschedulingScenario) -> Rules:
    """The scalars of a scenario, as the kernels take them."""
    return Rules(
        fragment_cores=scenario.fragment_cores,
        pair_half=scenario.pair_cores // 2,
        memory_chunk=scenario.memory_chunk,
        weights=scenario.weights(),
        vmr2l_reward=scenario.reward == "vmr2l",
        pair_action=scenario.action == "pair",
        mnl=scenario.mnl,
        max_steps=4 * scenario.mnl + 16,
        horizon=int(scenario.horizon_s * 1e9),
        illegal_penalty=scenario.illegal_penalty,
    )


def _spaces(
    sizes: Sizes, scenario: VMReschedulingScenario
) -> tuple[spaces.Dict, spaces.Space[Any]]:
    actions = sizes.vms + 1 + 2 * sizes.pms
    observation = spaces.Dict(
        {
            "pms": spaces.Box(0.0, 1.0, (sizes.pms, len(PM_FEATURES)), np.float32),
            "vms": spaces.Box(0.0, 1.0, (sizes.vms, len(VM_FEATURES)), np.float32),
            "vm_host": spaces.Box(-1, sizes.pms - 1, (sizes.vms,), np.int32),
            "progress": spaces.Box(0.0, 1.0, (len(PROGRESS),), np.float32),
            "action_mask": spaces.MultiBinary(actions),
        }
    )
    if scenario.action == "pair":
        return observation, spaces.MultiDiscrete([sizes.vms + 1, 2 * sizes.pms])
    return observation, spaces.Discrete(actions)


def _rate(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
