"""How a fleet is shown: every NUMA node a stack of VMs, then usable slots, then the fragment."""

from typing import NamedTuple

import numpy as np

from fleetgym.envs.core.simulator import Simulator
from fleetgym.envs.vm_rescheduling.scenario import VMReschedulingScenario
from fleetgym.envs.vm_rescheduling.types import State


class Block(NamedTuple):
    """A VM in the stack of its NUMA node; a double-NUMA VM lies across both of its machine."""

    vm: int
    slot: int  # the first of its machine for a double-NUMA VM
    double: bool
    bottom: int  # cores of the VMs below it
    cores: int  # on each node it uses
    movable: bool


class Migration(NamedTuple):
    """The last migration, while its VM is still where it went."""

    vm: int
    source: int  # slot
    target: int  # slot
    cores: int  # on each node it uses
    double: bool


class Fleet(NamedTuple):
    """One world, ready to be shown."""

    scenario: VMReschedulingScenario
    cores: list[int]  # (S,) of each slot; 0 for machines that do not exist
    free: list[int]  # (S,)
    blocks: list[Block]
    migration: Migration | None
    chosen: int  # VM whose target is being asked for, or -1
    moves_left: int
    seconds: float
    fragment_rate: float
    objective: float

    @property
    def num_pms(self) -> int:
        """Machines that exist."""
        return sum(1 for pm in range(len(self.cores) // 2) if any(self.cores[2 * pm : 2 * pm + 2]))

    @property
    def fragment(self) -> int:
        """Free cores that no VM of X cores can use."""
        return sum(free % self.scenario.fragment_cores for free in self.free)


def fleet_of(simulator: Simulator, world: int) -> Fleet:
    """One world of a VM rescheduling simulator, ready to be shown."""
    scenario, state = simulator.scenario, simulator.state()
    assert isinstance(scenario, VMReschedulingScenario)
    assert isinstance(state, State)
    metrics = simulator.metrics()
    blocks = _blocks(state, world)
    return Fleet(
        scenario=scenario,
        cores=state.slot_cores[world].tolist(),
        free=state.free_cores[world].tolist(),
        blocks=blocks,
        migration=_migration(state, world, blocks),
        chosen=int(state.chosen[world]),
        moves_left=int(state.moves_left[world]),
        seconds=float(simulator.now()[world]) / 1e9,
        fragment_rate=float(metrics["fragment_rate"][world]),
        objective=float(metrics["objective"][world]),
    )


def _blocks(state: State, world: int) -> list[Block]:
    """Every placed VM in its stack: double-NUMA VMs at the bottom, the largest first."""
    vms = np.flatnonzero(state.vm_pm[world] >= 0)
    kind = state.vm_type[world, vms]
    cores, double = state.type_cores[world, kind], state.type_double[world, kind]
    slot = 2 * state.vm_pm[world, vms] + state.vm_numa[world, vms]
    movable = state.vm_movable[world, vms]
    height = np.zeros(state.slot_cores.shape[1], np.int64)
    blocks = []
    for i in np.lexsort((vms, -cores, -double)).tolist():
        at, wide = int(slot[i]), bool(double[i])
        block = Block(int(vms[i]), at, wide, int(height[at]), int(cores[i]), bool(movable[i]))
        height[at : at + 1 + wide] += cores[i]
        blocks.append(block)
    return blocks


def _migration(state: State, world: int, blocks: list[Block]) -> Migration | None:
    vm, source, target = state.last_move[world].tolist()
    for block in blocks:
        if block.vm == vm and block.slot == target:
            return Migration(vm, source, target, block.cores, block.double)
    return None


def place_name(slot: int, double: bool) -> str:
    """A slot in words."""
    return f"PM {slot // 2}" if double else f"PM {slot // 2} node {slot % 2}"


def clock(seconds: float) -> str:
    """Minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
