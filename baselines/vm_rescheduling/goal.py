"""The whole weighted objective as a sum over machines, and the best prefix of a plan."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fleetgym.baselines.vm_rescheduling.placement import Kinds, Placement, move, placement_of
from fleetgym.baselines.vm_rescheduling.problem import Moves, Problem
from fleetgym.envs.core.jit import kernel
from fleetgym.envs.vm_rescheduling.objective import Precopy

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Float64 = NDArray[np.float64]

GPU_CHUNK = 1000  # milli-GPU: a whole GPU


class Goal(NamedTuple):
    """The objective as a sum over machines, its denominators already divided into the weights."""

    fragment: float  # a core of (free cores mod fragment_cores)
    pair: float  # a core that no pair of pair_half can use
    memory: float  # a MiB of (free memory mod memory_chunk)
    gpu: float  # a milli-GPU of (free GPU mod GPU_CHUNK)
    active: float  # a machine that holds a VM
    fee: Float64  # (types,) a displaced VM
    fragment_cores: int
    pair_half: int
    memory_chunk: int


@kernel
def machine_cost(free: Int64, hosted: Int64, pm: int, goal: Goal) -> float:
    """The machine's share of the objective, without traffic."""
    cost = goal.active if hosted[pm] > 0 else 0.0
    for slot in (2 * pm, 2 * pm + 1):
        cost += goal.fragment * (free[slot, 0] % goal.fragment_cores)
        cost += goal.memory * (free[slot, 1] % goal.memory_chunk)
        cost += goal.gpu * (free[slot, 2] % GPU_CHUNK)
    if goal.pair != 0.0:
        first, second = free[2 * pm, 0], free[2 * pm + 1, 0]
        pairs = min(first // goal.pair_half, second // goal.pair_half)
        cost += goal.pair * (first + second - 2 * goal.pair_half * pairs)
    return cost


@kernel
def placement_cost(free: Int64, hosted: Int64, goal: Goal) -> float:
    """The objective without traffic."""
    cost = 0.0
    for pm in range(len(hosted)):
        cost += machine_cost(free, hosted, pm, goal)
    return cost


@kernel
def carry(now: Placement, hosted: Int64, goal: Goal, vm: int, to: int) -> float:
    """Moves a VM and returns the change of the objective, without traffic."""
    here, there = now.vm_slot[vm] // 2, to // 2
    before = machine_cost(now.free, hosted, here, goal)
    if there != here:
        before += machine_cost(now.free, hosted, there, goal)
    move(now, vm, to)
    hosted[here] -= 1
    hosted[there] += 1
    after = machine_cost(now.free, hosted, here, goal)
    if there != here:
        after += machine_cost(now.free, hosted, there, goal)
    return after - before


@kernel
def prefix_costs(now: Placement, hosted: Int64, goal: Goal, moves: Int32, costs: Float64) -> None:
    """Writes (K + 1,) the objective before the first move and after each; changes ``now``."""
    costs[0] = placement_cost(now.free, hosted, goal)
    for k in range(len(moves)):
        vm, to = int(moves[k, 0]), int(moves[k, 1])
        costs[k + 1] = costs[k] + carry(now, hosted, goal, vm, to) + goal.fee[now.vm_type[vm]]


def traffic_shares(problem: Problem, kinds: Kinds) -> Float64:
    """(types,) MiB that the migration of a VM sends / MiB of all VMs, with the usual pre-copy."""
    nodes = 1 + kinds.double
    sent = np.array([Precopy().cost(int(mib))[0] for mib in kinds.need[:, 1] * nodes], np.float64)
    total = int((kinds.need[:, 1] * nodes)[kinds.of_vm].sum())
    return sent / max(total, 1)


def hosted_of(problem: Problem) -> Int64:
    """(P,) VMs on each machine."""
    return np.bincount(problem.vm_slot // 2, minlength=problem.num_pms).astype(np.int64)


def goal_of(problem: Problem, kinds: Kinds) -> Goal:
    """The problem's objective; its denominators do not change while VMs only move."""
    goal = problem.objective

    def per(weight: float, total: int) -> float:
        return weight / total if total else 0.0

    cores, memory, gpu = (
        int(free.astype(np.int64).sum())
        for free in (problem.free_cores, problem.free_memory, problem.free_gpu)
    )
    return Goal(
        fragment=per(goal.weight_fragment, cores),
        pair=per(goal.weight_pair, cores),
        memory=per(goal.weight_memory, memory),
        gpu=per(goal.weight_gpu, gpu),
        active=per(goal.weight_active, problem.num_pms),
        fee=goal.weight_traffic * traffic_shares(problem, kinds),
        fragment_cores=goal.fragment_cores,
        pair_half=goal.pair_cores // 2,
        memory_chunk=goal.memory_chunk,
    )


def best_prefix(problem: Problem, kinds: Kinds, moves: Moves) -> tuple[Moves, float]:
    """The shortest prefix of a plan that lowers the objective most, and by how much (>= 0)."""
    costs = np.empty(len(moves) + 1)
    prefix_costs(
        placement_of(problem, kinds), hosted_of(problem), goal_of(problem, kinds), moves, costs
    )
    best = int(np.flatnonzero(costs <= costs.min() + 1e-12)[0])
    return moves[:best], float(costs[0] - costs[best])
