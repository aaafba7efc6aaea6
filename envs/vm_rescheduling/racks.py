"""Distributed control: every rack moves VMs inside itself, offers them out, and takes offers.

The central machine applies each migration, so no rule of it stands here. An agent decides in two
stages: a VM (its own, or one on offer that it has room for) or PASS; then a slot of its own rack,
or OFFER for a VM of its own. A VM stays on offer until it is moved or departs; its own rack takes
it back by moving it. Agents act at once and are applied in their order: what an earlier one, or
the outside world, has made impossible is STALE.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
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
from fleetgym.envs.core.status import DONE, ILLEGAL, STALE
from fleetgym.envs.core.workload import Workload
from fleetgym.envs.vm_rescheduling.scenario import VMReschedulingScenario
from fleetgym.envs.vm_rescheduling.simulator import AGENT, VMReschedulingSimulator
from fleetgym.envs.vm_rescheduling.types import (
    NUM_PMS,
    STEPS,
    SUM_DROPPED,
    SUM_ILLEGALS,
    SUM_MIGRATIONS,
    TERMINATED,
    TERMS,
    TRUNCATED,
    State,
)

ROLE = "rack"
PENALTY = TERMS.index("illegal")


def simulator_of(
    scenario: VMReschedulingScenario, capacity: Mapping[str, int], num_worlds: int
) -> Simulator:
    """The machine of the scenario's ``control``."""
    made = RackSimulator if scenario.control == "distributed" else VMReschedulingSimulator
    return made(scenario, capacity, num_worlds)


class RackSimulator(Simulator):
    """B fleets whose R racks decide at once; a step is one stage of every rack's decision.

    The reward is the team's (the objective's change in the step) less a rack's own penalty.
    ``decision_starts`` where some rack begins a decision. Columns and rows of the central tables
    that tell of a choice stay 0: each rack's own is ``chosen``.
    """

    scenario: VMReschedulingScenario

    def __init__(
        self, scenario: VMReschedulingScenario, capacity: Mapping[str, int], num_worlds: int
    ) -> None:
        if "racks" not in capacity:
            raise WorkloadError(
                "the workload source's capacity lacks 'racks': distributed control needs it"
            )
        central = replace(scenario, control="central", action="pair")
        self._central = VMReschedulingSimulator(central, capacity, num_worlds)
        self.scenario, self.capacity, self.num_worlds = scenario, dict(capacity), num_worlds
        self.term_names, self.workloads = TERMS, self._central.workloads
        self._racks, sizes = int(capacity["racks"]), self._central.sizes
        self._pass, self._slots = sizes.vms, sizes.vms + 1  # actions: V VMs, PASS, slots, OFFER
        self._offer = self._slots + 2 * sizes.pms
        b, r = num_worlds, self._racks
        self._own = np.zeros((b, r, sizes.pms), np.int8)
        self._offered = np.zeros((b, 1, sizes.vms), np.int8)
        self._chosen = np.full((b, r, 1), -1, np.int32)
        self._offers = np.zeros(b, np.int64)
        self._mask = np.zeros((b, r, self._offer + 1), np.int8)
        self._terms = np.zeros((b, r, len(TERMS)))
        self._reward = np.zeros((b, r))
        self._status = np.zeros((b, r), np.int8)
        over = self._central._result
        self._result = over._replace(reward=read_only(self._reward), status=read_only(self._status))
        shared: dict[str, NDArray[Any]] = {
            **self._central.observation()[AGENT],
            "offered": self._offered,
        }
        own: dict[str, NDArray[Any]] = {
            "rack": self._own,
            "chosen": self._chosen,
            "action_mask": self._mask,
        }
        self._observation = {
            name: np.broadcast_to(table, (b, r, *table.shape[2:])) for name, table in shared.items()
        } | {name: read_only(table) for name, table in own.items()}
        self.roles = {ROLE: self._role()}

    def _role(self) -> Role:
        central, sizes = self._central.roles[AGENT].observation_space, self._central.sizes
        entries = dict(central.spaces) | {
            "rack": spaces.MultiBinary(sizes.pms),
            "offered": spaces.MultiBinary(sizes.vms),
            "chosen": spaces.Box(-1, sizes.vms - 1, (1,), np.int32),
            "action_mask": spaces.MultiBinary(self._offer + 1),
        }
        agents = tuple(f"{ROLE}_{rack}" for rack in range(self._racks))
        return Role(agents, spaces.Dict(entries), spaces.Discrete(self._offer + 1))

    def reset(self, workloads: Sequence[Workload], worlds: Sequence[int] | None = None) -> None:
        """Starts the named worlds on their workloads, with nothing chosen and nothing on offer.

        Raises:
            WorkloadError: a workload has more racks than the source's capacity.
        """
        self._central.reset(workloads, worlds)
        pms = np.arange(self._central.sizes.pms)
        for world in range(self.num_worlds) if worlds is None else worlds:
            rack = np.where(
                pms < self._central.world.scalars[world, NUM_PMS], self.state().pm_rack[world], -1
            )
            if rack.max() >= self._racks:
                raise WorkloadError(
                    f"a workload has {rack.max() + 1} racks, its source's capacity allows "
                    f"{self._racks}: raise the capacity"
                )
            self._own[world] = rack == np.arange(self._racks)[:, None]
            self._offered[world] = self._offers[world] = 0
            self._chosen[world] = -1
            self._write_mask(world)

    def elapse(self, duration: NDArray[np.int64]) -> None:
        """Runs the outside world; the masks that the racks saw stand, offers of the gone end."""
        self._central.elapse(duration)
        self._offered[:, 0] &= self.state().vm_pm >= 0

    def step(self, actions: Actions, active: NDArray[np.bool_] | None = None) -> StepResult:
        """One stage of every rack's decision, in the order of the racks."""
        given = actions[ROLE]
        for world in range(self.num_worlds) if active is None else np.flatnonzero(active):
            self._step(int(world), given[world].tolist())
        return self._result

    def _step(self, world: int, actions: list[int]) -> None:
        self._terms[world] = 0.0
        self._status[world] = [
            self._act(world, rack, action) for rack, action in enumerate(actions)
        ]
        passed = self._status[world] == DONE
        passed &= np.array(actions) == self._pass
        # STOP hands out what the outside world did and has the central machine look again.
        self._central_step(world, self._pass, 0)
        refused = self._status[world] == ILLEGAL
        self._terms[world, refused, PENALTY] = -self.scenario.illegal_penalty
        self._reward[world] = self._terms[world].sum(axis=-1)
        machine, rules = self._central.world, self._central.rules
        sums = machine.sums[world]
        sums[SUM_ILLEGALS] += refused.sum()
        sums[SUM_DROPPED] += (self._status[world] == STALE).sum()
        ended = passed.all() or self.state().moves_left[world] == 0
        # Every step ends in one STOP, so what the central machine counted beyond its migrations.
        steps = machine.scalars[world, STEPS] - sums[SUM_MIGRATIONS]
        late = steps >= rules.max_steps or self.now()[world] >= rules.horizon
        machine.flags[world, TERMINATED], machine.flags[world, TRUNCATED] = (
            ended,
            late and not ended,
        )
        self._write_mask(world)

    def _act(self, world: int, rack: int, action: int) -> int:
        """Applies one rack's action and returns what became of it."""
        if not 0 <= action <= self._offer or not self._mask[world, rack, action]:
            return ILLEGAL
        if action == self._pass:
            return DONE
        vm = int(self._chosen[world, rack, 0])
        if vm < 0:
            if not self._choosable(world, np.array([action]))[rack, 0]:
                return STALE
            self._chosen[world, rack] = action
            return DONE
        self._chosen[world, rack] = -1
        if not self._places(world, rack, vm)[action - self._slots]:
            return STALE
        if action == self._offer:
            self._offered[world, 0, vm] = 1
            self._offers[world] += 1
        else:
            self._offered[world, 0, vm] = 0
            self._central_step(world, vm, action - self._slots)
        return DONE

    def _central_step(self, world: int, vm: int, slot: int) -> None:
        """Has the central machine migrate, or stop, and adds its reward to the team's."""
        pair = np.zeros((self.num_worlds, 1, 2), np.int64)
        pair[world] = vm, slot
        active = np.zeros(self.num_worlds, np.bool_)
        active[world] = True
        self._central.step({AGENT: pair}, active)
        self._terms[world] += self._central.reward_terms()[world]

    def _offerable(self, world: int, vms: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of the VMs their own rack may offer to the others now."""
        state = self.state()
        if self._racks == 1 or state.moves_left[world] == 0:
            return np.zeros(len(vms), np.bool_)
        there = (state.vm_pm[world, vms] >= 0) & (state.vm_movable[world, vms] == 1)
        free: NDArray[np.bool_] = there & (self._offered[world, 0, vms] == 0)
        return free

    def _choosable(self, world: int, vms: NDArray[np.int64]) -> NDArray[np.int8]:
        """Which racks may choose which of the VMs, ``(R, len(vms))``.

        Its own rack one that it can offer; every rack one on offer, if it has a target for it.
        """
        legal: NDArray[np.int8] = self._central.world.legal[world, vms]
        if self._racks == 1:
            return legal[None]
        own = self._own[world]
        chooses: NDArray[np.int8] = own[:, self.state().vm_pm[world, vms]] * self._offerable(
            world, vms
        )
        for i in np.flatnonzero(legal & self._offered[world, 0, vms]):
            targets = self._central.legal_targets(world, int(vms[i]))
            chooses[:, i] = own[:, targets // 2].any(axis=1)
        return chooses

    def _places(self, world: int, rack: int, vm: int) -> NDArray[np.int8]:
        """What the rack may do with a VM now, ``(2P + 1,)``: slots of its own, and OFFER."""
        places = np.zeros(self._offer + 1 - self._slots, np.int8)
        own, host = self._own[world, rack], self.state().vm_pm[world, vm]
        if host < 0 or not (own[host] or self._offered[world, 0, vm]):
            return places  # it has left, or another rack has it
        targets = self._central.legal_targets(world, vm)
        places[targets] = own[targets // 2]
        places[-1] = own[host] and self._offerable(world, np.array([vm]))[0]
        return places

    def _write_mask(self, world: int) -> None:
        """Writes every rack's mask; a choice that nothing can be done with is withdrawn."""
        self._mask[world] = 0
        chooses = self._choosable(world, np.arange(self._pass))
        for rack in range(self._racks):
            mask, vm = self._mask[world, rack], int(self._chosen[world, rack, 0])
            if vm >= 0:
                mask[self._slots :] = self._places(world, rack, vm)
                if mask.any():
                    continue
                self._chosen[world, rack] = -1
            mask[: self._pass] = chooses[rack]
            mask[self._pass] = 1

    def observation(self) -> Observations:
        """The central tables, ``rack`` (own machines), ``offered``, own ``chosen``, and masks."""
        return {ROLE: self._observation}

    def action_mask(self) -> Mapping[str, NDArray[np.int8]]:
        """``(B, R, V + 1 + 2P + 1)``: VMs, PASS, slots, OFFER."""
        return {ROLE: self._observation["action_mask"]}

    def state(self) -> State:
        """The fleet as it stands; what is chosen and on offer is in the observation."""
        return self._central.state()

    def reward_terms(self) -> NDArray[np.float64]:
        """The last reward by terms, ``(B, R, terms)``."""
        return self._terms

    def metrics(self) -> Mapping[str, NDArray[np.float64]]:
        """Metrics of each world so far, ``(B,)``: the central ones, and offers made."""
        return {**self._central.metrics(), "offers": self._offers.astype(np.float64)}

    def now(self) -> NDArray[np.int64]:
        """The clock of each world, ``(B,)`` ns."""
        return self._central.now()

    def over(self) -> NDArray[np.bool_]:
        """True once the limit is spent, every rack has passed at once, or time has run out."""
        return self._central.over()

    def decision_starts(self) -> NDArray[np.bool_]:
        """True where some rack has chosen no VM yet."""
        starts: NDArray[np.bool_] = self._chosen.min(axis=(1, 2)) < 0
        return starts

    def forget_future(self) -> None:
        """No VM arrives or departs any more."""
        self._central.forget_future()
        for world in range(self.num_worlds):
            self._write_mask(world)

    def _arrays(self) -> Mapping[str, NDArray[Any]]:
        return {
            **self._central._arrays(),
            "rack": self._own,
            "offered": self._offered,
            "rack_chosen": self._chosen,
            "offers": self._offers,
            "rack_mask": self._mask,
            "rack_terms": self._terms,
            "rack_reward": self._reward,
            "rack_status": self._status,
        }

    def _moving(self) -> tuple[str, ...]:
        return (*self._central._moving(), "offered", "rack_chosen", "offers")
