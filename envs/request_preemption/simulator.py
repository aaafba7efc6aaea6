"""The serving machine behind the simulator protocol: arrays, spaces, resets, metrics."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from fleetgym.envs.core.errors import WorkloadError
from fleetgym.envs.core.simulator import Actions as Given
from fleetgym.envs.core.simulator import Observations, Role, Simulator, StepResult, read_only
from fleetgym.envs.core.workload import Workload
from fleetgym.envs.request_preemption import kernels
from fleetgym.envs.request_preemption.hiding import hide_future
from fleetgym.envs.request_preemption.layout import (
    Actions,
    Sizes,
    allocate,
    display,
    load,
    prices_of,
    rules_of,
    view,
)
from fleetgym.envs.request_preemption.metrics import metrics_of
from fleetgym.envs.request_preemption.observe import (
    ARRIVAL_FEATURES,
    INSTANCE_FEATURES,
    REQUEST_FEATURES,
    WORLD_FEATURES,
)
from fleetgym.envs.request_preemption.scenario import RequestPreemptionScenario
from fleetgym.envs.request_preemption.types import (
    CLOCK,
    EDITED,
    NEVER,
    PS_OF_NS,
    SCORES,
    TERMS,
    Float64,
    Prices,
    Rules,
    Shown,
    State,
    World,
)
from fleetgym.envs.request_preemption.workloads import ServingWorkload

SCHEDULER, ROUTER, INSTANCE = "scheduler", "router", "instance"  # roles
TEMPLATES = 64  # prepared workloads kept for cheap resets
MACHINE = ("slots", "instances", "cache", "scalars", "clients", "levels")


class RequestPreemptionSimulator(Simulator):
    """B worlds of I instances, for workloads of at most R rows and H hashes."""

    scenario: RequestPreemptionScenario

    def __init__(
        self, scenario: RequestPreemptionScenario, capacity: Mapping[str, int], num_worlds: int
    ) -> None:
        self.scenario = scenario
        self.num_worlds = num_worlds
        self.workloads: list[Workload | None] = [None] * num_worlds
        self.term_names = TERMS
        self.capacity = dict(capacity)
        self.sizes = Sizes.of(capacity)
        self.rules = rules_of(scenario)
        self.actions = Actions.of(scenario)
        self.prices = prices_of(scenario)
        self.world = allocate(self.sizes, scenario, num_worlds)
        self.shown = display(scenario, num_worlds)
        self.roles = _roles(scenario, self.actions)
        self._agents = sum(len(role.agents) for role in self.roles.values())
        self._fields = _fields(self.world, self.shown)
        self._templates: OrderedDict[str, dict[str, NDArray[Any]]] = OrderedDict()
        self._all = np.ones(num_worlds, np.bool_)
        width = scenario.slots if scenario.action == "scores" else 1
        self._given = np.zeros((num_worlds, width), np.int64)
        self._spent = np.zeros(num_worlds, np.int64)
        self._idle = np.ones((num_worlds, self._agents), np.bool_)
        flags = self.shown.flags.view(np.bool_)
        team = np.broadcast_to(self.shown.reward[:, len(TERMS) :], (num_worlds, self._agents))
        self._result = StepResult(
            read_only(team),
            read_only(flags[:, 0]),
            read_only(flags[:, 1]),
            read_only(self.shown.status),
        )
        self._state = view(self.world, self.shown)
        self._observation = self._observations()

    def _observations(self) -> dict[str, dict[str, NDArray[Any]]]:
        v = self.shown
        shared = {"instances": v.instances[:, None], "world": v.world[:, None]}
        arrival = {"arrival": v.arrival[:, None]}
        if self.scenario.control == "central":
            mask = v.mask
            if self.scenario.action == "scores":
                shown = self.scenario.slots
                mask = v.mask[:, 3 : 3 + shown]
            entries: dict[str, NDArray[Any]] = {
                "requests": v.requests,
                **shared,
                **(arrival if self.scenario.instances > 1 else {}),
                **({"focus": v.focus[:, None]} if self.scenario.instances > 1 else {}),
                "action_mask": mask[:, None],
            }
            return {SCHEDULER: {name: read_only(array) for name, array in entries.items()}}
        count = self.scenario.instances
        world = np.broadcast_to(v.world[:, None], (self.num_worlds, count, v.world.shape[1]))
        roles: dict[str, dict[str, NDArray[Any]]] = {
            INSTANCE: {
                "requests": v.requests,
                "instance": v.instances,
                "world": world,
                "action_mask": v.mask_instances,
            }
        }
        if count > 1:
            mask_router = {"action_mask": v.mask_router[:, None]}
            router: dict[str, NDArray[Any]] = {**shared, **arrival, **mask_router}
            roles = {ROUTER: router, **roles}
        return {
            role: {name: read_only(array) for name, array in entries.items()}
            for role, entries in roles.items()
        }

    def reset(self, workloads: Sequence[Workload], worlds: Sequence[int] | None = None) -> None:
        """Starts the named worlds on their workloads; a workload met before costs a copy."""
        chosen = range(self.num_worlds) if worlds is None else worlds
        for world, workload in zip(chosen, workloads, strict=True):
            template = self._template(workload)
            for name, array in self._fields.items():
                array[world] = template[name][0]
            self.workloads[world] = workload

    def _template(self, workload: Workload) -> dict[str, NDArray[Any]]:
        if not isinstance(workload, ServingWorkload):
            raise WorkloadError(f"{workload.name!r} is no workload for request preemption")
        key = f"{workload.digest}{workload.seed}"  # the seed draws priorities as requests arrive
        template = self._templates.get(key)
        if template is None:
            workload.trace.validate()
            world, shown = allocate(self.sizes, self.scenario, 1), display(self.scenario, 1)
            load(world, workload, self.scenario)
            _begin(world, self.rules, shown, self.prices)
            template = self._templates[key] = _fields(world, shown)
            if len(self._templates) > TEMPLATES:
                self._templates.popitem(last=False)
        else:
            self._templates.move_to_end(key)
        return template

    def elapse(self, duration: NDArray[np.int64]) -> None:
        """Lets the instances go on as they are for ``duration`` (B,) ns."""
        spent = np.asarray(duration, np.int64) * PS_OF_NS
        self._drive(kernels.ELAPSE, self._all, spent)

    def step(self, actions: Given, active: NDArray[np.bool_] | None = None) -> StepResult:
        """One edit of a running set, or one decision of the router, of each active world."""
        if self.scenario.control == "central":
            given = actions[SCHEDULER][:, 0]
            self._given[:] = given.reshape(self.num_worlds, -1)
        else:
            self._distributed(actions)
        active = self._all if active is None else active
        self._drive(kernels.STEP, active, self._spent)
        return self._result

    def _drive(self, op: int, active: NDArray[np.bool_], duration: NDArray[np.int64]) -> None:
        kernels.drive(
            self.world,
            self.rules,
            self.shown,
            self.prices,
            op,
            self._given,
            self._idle,
            active,
            duration,
        )

    def _distributed(self, actions: Given) -> None:
        """Takes the action of the agent that was asked, numbered as under central control."""
        columns = [actions[role].reshape(self.num_worlds, -1) for role in self.roles]
        given = np.concatenate(columns, axis=1)
        self._idle[:] = given == 0
        asked = np.empty(self.num_worlds, np.int64)
        kernels.who(self.world, self.rules, asked)
        chosen = given[np.arange(self.num_worlds), asked]
        by_router = (asked == 0) & (ROUTER in self.roles)
        routed = np.where(chosen > 0, chosen - 1 + self.actions.instance, chosen)
        self._given[:, 0] = np.where(by_router, routed, chosen)

    def rollout(
        self,
        policy: kernels.PolicyKernel,
        max_steps: int,
        *,
        parameters: Float64,
        memory: Float64,
        keep: int | None = None,
        until: NDArray[np.int64] | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Plays every world with a Numba policy, without returning to Python.

        Args:
            policy: a kernel ``policy(state, b, parameters, memory)`` that returns an action as
                under central control.
            max_steps: at most.
            parameters: of the policy.
            memory: the policy's own, ``(B, m)``.
            keep: actions to return of each world; all by default.
            until: time of each world from which on it is left alone, ``(B,)`` ns.

        Returns:
            The actions ``(B, keep)``, and how many there were of each world ``(B,)``.
        """
        kept = max_steps if keep is None else keep
        actions = np.zeros((self.num_worlds, max(1, kept)), np.int64)
        counts = np.zeros(self.num_worlds, np.int64)
        limit = np.full(self.num_worlds, NEVER) if until is None else until * PS_OF_NS
        kernels.rollout(
            self.world,
            self.rules,
            self.shown,
            self.prices,
            self._state,
            policy,
            parameters,
            memory,
            max_steps,
            limit,
            actions,
            counts,
        )
        return actions, counts

    def observation(self) -> Observations:
        """Tables of requests and instances, the arrival, what is asked, and the mask."""
        return self._observation

    def action_mask(self) -> Mapping[str, NDArray[np.int8]]:
        """``(B, agents, actions)`` of each role."""
        return {role: entries["action_mask"] for role, entries in self._observation.items()}

    def state(self) -> State:
        """The machine as it stands, as named read-only arrays."""
        return self._state

    def reward_terms(self) -> NDArray[np.float64]:
        """The last reward by terms, ``(B, agents, terms)``: all agents are one team."""
        terms = self.shown.reward[:, None, : len(TERMS)]
        return np.broadcast_to(terms, (self.num_worlds, self._agents, len(TERMS)))

    def metrics(self) -> Mapping[str, NDArray[np.float64]]:
        """Metrics of each world so far, ``(B,)``."""
        return metrics_of(self.world, self.prices.weights, self.scenario)

    def now(self) -> NDArray[np.int64]:
        """The clock of each world, ``(B,)`` ns."""
        clock: NDArray[np.int64] = self.world.scalars[:, CLOCK] // PS_OF_NS
        return clock

    def over(self) -> NDArray[np.bool_]:
        """True once every request has finished, or time or steps have run out."""
        return self._result.terminated | self._result.truncated

    def decision_starts(self) -> NDArray[np.bool_]:
        """True where no edit has been made in this instant yet."""
        begun: NDArray[np.bool_] = self.world.scalars[:, EDITED] == 0
        return begun

    def forget_future(self) -> None:
        """Nothing arrives any more; what is left of the outputs here is drawn anew."""
        hide_future(self.world, self.rules, self.shown, self.prices, self.scenario)

    def _arrays(self) -> Mapping[str, NDArray[Any]]:
        return self._fields

    def _moving(self) -> tuple[str, ...]:
        return tuple(f"world.{name}" for name in MACHINE)


def _begin(world: World, rules: Rules, shown: Shown, prices: Prices) -> None:
    """Runs one freshly loaded world to its first decision."""
    action, idle = np.zeros((1, 1), np.int64), np.ones((1, shown.status.shape[1]), np.bool_)
    one, none = np.ones(1, np.bool_), np.zeros(1, np.int64)
    kernels.drive(world, rules, shown, prices, kernels.BEGIN, action, idle, one, none)


def _fields(world: World, shown: Shown) -> dict[str, NDArray[Any]]:
    """Every array by a name of its own."""
    fields = {f"world.{name}": array for name, array in world._asdict().items()}
    return fields | {f"shown.{name}": array for name, array in shown._asdict().items()}


def _roles(scenario: RequestPreemptionScenario, actions: Actions) -> dict[str, Role]:
    count, shown = scenario.instances, scenario.slots
    requests = _box(shown, len(REQUEST_FEATURES))
    instances = _box(count, len(INSTANCE_FEATURES))
    world, arrival = _box(len(WORLD_FEATURES)), _box(len(ARRIVAL_FEATURES))
    if scenario.control == "central":
        scores = scenario.action == "scores"
        several = {"arrival": arrival, "focus": _box(count)} if count > 1 else {}
        observation = spaces.Dict(
            {
                "requests": requests,
                "instances": instances,
                "world": world,
                **several,
                "action_mask": spaces.MultiBinary(shown if scores else actions.central),
            }
        )
        chosen: spaces.Space[Any] = spaces.Discrete(actions.central)
        if scores:
            chosen = spaces.MultiDiscrete(np.full(shown, SCORES))
        return {SCHEDULER: Role((SCHEDULER,), observation, chosen)}
    instance = spaces.Dict(
        {
            "requests": requests,
            "instance": _box(len(INSTANCE_FEATURES)),
            "world": world,
            "action_mask": spaces.MultiBinary(actions.instance),
        }
    )
    names = tuple(f"{INSTANCE}_{i}" for i in range(count))
    roles = {INSTANCE: Role(names, instance, spaces.Discrete(actions.instance))}
    if count == 1:
        return roles
    router = spaces.Dict(
        {
            "instances": instances,
            "world": world,
            "arrival": arrival,
            "action_mask": spaces.MultiBinary(1 + actions.router),
        }
    )
    return {ROUTER: Role((ROUTER,), router, spaces.Discrete(1 + actions.router)), **roles}


def _box(*shape: int) -> spaces.Box:
    return spaces.Box(0.0, 1.0, shape, np.float32)
