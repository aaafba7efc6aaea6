"""Offloading behind the simulator protocol: arrays, spaces, resets, metrics."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from fleetgym.envs.core.errors import WorkloadError
from fleetgym.envs.core.scenario import Scenario
from fleetgym.envs.core.simulator import (
    Actions,
    Observations,
    Role,
    Simulator,
    StepResult,
    read_only,
)
from fleetgym.envs.core.workload import Workload
from fleetgym.envs.mec_offloading import kernels
from fleetgym.envs.mec_offloading.layout import Sizes, World, allocate, display, state_of
from fleetgym.envs.mec_offloading.loading import load, write_rules
from fleetgym.envs.mec_offloading.metrics import metrics_of
from fleetgym.envs.mec_offloading.scenario import MECOffloadingScenario
from fleetgym.envs.mec_offloading.types import SCORES, TERMS, Shown, State
from fleetgym.envs.mec_offloading.workloads import MECWorkload

SCHEDULER, DEVICE = "scheduler", "device"  # roles
TEMPLATES = 128  # prepared workloads kept for cheap resets
OWN_SHARE = {"team": 0.0, "mixed": 0.5, "own": 1.0}
Float64 = NDArray[np.float64]
Template = dict[str, NDArray[Any]]


class MECOffloadingSimulator(Simulator):
    """B worlds of U devices and M servers (the capacity of the workload source)."""

    scenario: MECOffloadingScenario

    def __init__(
        self, scenario: MECOffloadingScenario, capacity: Mapping[str, int], num_worlds: int
    ) -> None:
        self.scenario = scenario
        self.num_worlds = num_worlds
        self.workloads: list[Workload | None] = [None] * num_worlds
        self.term_names = TERMS
        self.capacity = dict(capacity)
        self.sizes = Sizes.of(capacity)
        self._distributed = scenario.control == "distributed"
        self._agents = self.sizes.devices if self._distributed else 1
        self.world, self.shown = self._allocate(num_worlds)
        self.prices = kernels.Prices(
            time=scenario.weight_time,
            energy=scenario.weight_energy,
            miss=scenario.weight_miss,
            illegal=scenario.illegal_penalty,
            own=OWN_SHARE[scenario.reward],
        )
        self._fields = _fields(self.world, self.shown)
        self._templates: OrderedDict[str, Template] = OrderedDict()
        self._all = np.ones(num_worlds, np.bool_)
        self._watts = np.zeros((2, num_worlds, self.sizes.servers))
        flags = self.shown.flags.view(np.bool_)
        self._result = StepResult(
            read_only(self.shown.reward[:, :, len(TERMS)]),
            read_only(flags[:, 0]),
            read_only(flags[:, 1]),
            read_only(self.shown.status),
        )
        self._state = state_of(self.world)
        self._observation = self._observations()
        self._role = DEVICE if self._distributed else SCHEDULER
        names = tuple(f"{DEVICE}_{u}" for u in range(self._agents))
        self.roles = {
            self._role: Role(
                names if self._distributed else (SCHEDULER,),
                _observation_space(self._observation),
                _action_space(scenario, self.shown),
            )
        }
        parts = int(np.prod(self.roles[self._role].action_space.shape or (1,)))
        self._given = np.zeros((num_worlds, self._agents, parts), np.int64)

    def _allocate(self, num_worlds: int) -> tuple[World, Shown]:
        levels = 1 if self.scenario.action == "continuous" else len(self.scenario.dvfs)
        return (
            allocate(self.sizes, self._agents, levels, num_worlds),
            display(self.sizes, self.scenario, self._agents, num_worlds),
        )

    def _observations(self) -> dict[str, NDArray[Any]]:
        v = self.shown
        tasks = v.tasks if self._distributed else v.tasks[:, None]
        entries = {"tasks": tasks, "places": v.places, "progress": v.progress}
        if not self._distributed:
            entries["focus"] = v.focus[:, None]
        if self.scenario.symbols:
            shape = (self.num_worlds, self._agents, *v.heard.shape[1:])
            entries["heard"] = np.broadcast_to(v.heard[:, None], shape)
        return {name: read_only(array) for name, array in entries.items()} | {
            "action_mask": read_only(v.mask)
        }

    def reset(self, workloads: Sequence[Workload], worlds: Sequence[int] | None = None) -> None:
        """Starts the named worlds on their workloads; a workload met before costs a copy."""
        chosen = range(self.num_worlds) if worlds is None else worlds
        for world, workload in zip(chosen, workloads, strict=True):
            template = self._template(workload)
            for name, array in self._fields.items():
                array[world] = template[name][0]
            self.workloads[world] = workload

    def _template(self, workload: Workload) -> Template:
        if not isinstance(workload, MECWorkload):
            raise WorkloadError(f"{workload.name!r} is no workload for offloading")
        key = workload.digest
        template = self._templates.get(key)
        if template is None:
            world, shown = self._allocate(1)
            load(world, workload, self.scenario, self.sizes)
            kernels.begin(world.ints, world.floats, world.hidden, world.hidden_floats, shown)
            template = self._templates[key] = _fields(world, shown)
            if len(self._templates) > TEMPLATES:
                self._templates.popitem(last=False)
        else:
            self._templates.move_to_end(key)
        return template

    def elapse(self, duration: NDArray[np.int64]) -> None:
        """Everything goes on for ``duration`` (B,) ns; nobody is asked meanwhile."""
        w = self.world
        spent = np.asarray(duration, np.int64)
        kernels.elapse(w.ints, w.floats, w.hidden, w.hidden_floats, spent)

    def step(self, actions: Actions, active: NDArray[np.bool_] | None = None) -> StepResult:
        """The decisions of one instant, of each active world."""
        w = self.world
        self._given[:] = np.asarray(actions[self._role]).reshape(self._given.shape)
        kernels.step(
            w.ints,
            w.floats,
            w.hidden,
            w.hidden_floats,
            self.shown,
            self._given,
            self._all if active is None else active,
            self.prices,
        )
        return self._result

    def rollout(
        self, policy: kernels.PolicyKernel, parameters: Any, max_steps: int, seen: Any = None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Plays every world with a Numba policy, without returning to Python.

        Args:
            policy: a kernel ``policy(seen, b, parameters, action)`` that writes the action
                ``(agents, parts)`` of world ``b``.
            parameters: of the policy.
            max_steps: at most.
            seen: what it sees, the `Shown` of this simulator by default.

        Returns:
            Actions ``(B, max_steps, agents, parts)``, and how many steps of each world ``(B,)``.
        """
        w = self.world
        actions = np.zeros((self.num_worlds, max_steps, *self._given.shape[1:]), np.int64)
        counts = np.zeros(self.num_worlds, np.int64)
        kernels.rollout(
            w.ints,
            w.floats,
            w.hidden,
            w.hidden_floats,
            self.shown,
            policy,
            self.shown if seen is None else seen,
            parameters,
            actions,
            counts,
            self.prices,
        )
        return actions, counts

    def observation(self) -> Observations:
        """Tables of tasks and places, progress, messages heard, and the mask."""
        return {self._role: self._observation}

    def action_mask(self) -> Mapping[str, NDArray[np.int8]]:
        """``(B, agents, actions)``: places, under distributed control behind the no-op."""
        return {self._role: self._observation["action_mask"]}

    def state(self) -> State:
        """The whole machine, for critics and policies that see all at once: read-only arrays."""
        return self._state

    def reward_terms(self) -> Float64:
        """The last reward by terms, ``(B, agents, terms)``."""
        return self.shown.reward[:, :, : len(TERMS)]

    def metrics(self) -> Mapping[str, Float64]:
        """Metrics of each world so far, ``(B,)``."""
        for world, workload in enumerate(self.workloads):
            if isinstance(workload, MECWorkload):
                network = workload.network
                self._watts[:, world] = network.power_idle, network.power_max
        return metrics_of(self.world, self._watts[0], self._watts[1])

    def now(self) -> NDArray[np.int64]:
        """The clock of each world, ``(B,)`` ns."""
        return self._state.clock

    def over(self) -> NDArray[np.bool_]:
        """True once every application has finished, or time or steps have run out."""
        return self._result.terminated | self._result.truncated

    def decision_starts(self) -> NDArray[np.bool_]:
        """Every action is a decision."""
        return self._all

    def forget_future(self) -> None:
        """Nothing arrives or fails any more, devices stand, and fading is drawn anew."""
        write_rules(self.world.ints, self.scenario)
        kernels.forget(self.world.ints)
        for table in (*self.world.h.values(), *self.world.g.values()):
            table[:] = 0
        kernels.show(self.world.ints, self.world.floats, self.shown)

    def fork(self, world: int, k: int, scenario: Scenario | None = None) -> Self:
        """A simulator of k worlds, each a copy of this world and its future."""
        copies = super().fork(world, k, scenario)
        write_rules(copies.world.ints, copies.scenario)
        return copies

    def _arrays(self) -> Mapping[str, NDArray[Any]]:
        return self._fields

    def _moving(self) -> tuple[str, ...]:
        return ("ints", "floats")


def _fields(world: World, shown: Shown) -> Template:
    """Every array by a name of its own."""
    rows = ("ints", "floats", "hidden", "hidden_floats")
    fields: Template = {name: getattr(world, name) for name in rows}
    return fields | {f"shown.{name}": array for name, array in shown._asdict().items()}


def _observation_space(observation: Mapping[str, NDArray[Any]]) -> spaces.Dict:
    """Every feature lies in [0, 1]."""
    entries: dict[str, spaces.Space[Any]] = {
        name: spaces.Box(0.0, 1.0, array.shape[2:], np.float32)
        for name, array in observation.items()
        if name != "action_mask"
    }
    mask = spaces.MultiBinary(observation["action_mask"].shape[2])
    return spaces.Dict({**entries, "action_mask": mask})


def _action_space(scenario: MECOffloadingScenario, shown: Shown) -> spaces.Space[Any]:
    actions = shown.mask.shape[2]
    if scenario.action == "continuous":
        return spaces.MultiDiscrete(np.full(actions + 2, SCORES))
    if scenario.symbols:
        return spaces.MultiDiscrete([actions - scenario.symbols, scenario.symbols])
    return spaces.Discrete(actions)
