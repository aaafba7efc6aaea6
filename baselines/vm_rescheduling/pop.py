"""POP: the fleet is cut at random into parts that are solved exactly, one after the other.

Partitioned Optimization Problems (Narayanan et al., SOSP'21), as VMR2L (EuroSys'25) compares with
it. Every machine is in a part (the published code drops the remainder), and moves that a part
leaves over go to the next ones.
"""

import time
from dataclasses import replace

import numpy as np

from fleetgym.baselines.vm_rescheduling import exact, slot_greedy
from fleetgym.baselines.vm_rescheduling.board import replay
from fleetgym.baselines.vm_rescheduling.counts import Float64
from fleetgym.baselines.vm_rescheduling.guards import fragments_only
from fleetgym.baselines.vm_rescheduling.placement import Int64
from fleetgym.baselines.vm_rescheduling.problem import NO_MOVES, Moves, Problem
from fleetgym.envs.vm_rescheduling.objective import Objective

PART_PMS = 140  # machines of a part, where the number of parts is not given


def plan(problem: Problem, seconds: float, seed: int, parts: int = 0) -> Moves:
    """Every part may make an equal share of the moves.

    Args:
        problem: of any weights.
        seconds: shared equally too.
        seed: of the partition.
        parts: 0: as many as make parts of about `PART_PMS` machines, at least two.
    """
    pieces = partition(problem, seed, parts)
    return solve_parts(problem, pieces, np.ones(len(pieces)), seconds, seed)


def plan_marginal(problem: Problem, seconds: float, seed: int, parts: int = 0) -> Moves:
    """Parts share the moves by what they would gain with them, as slot greedy estimates it.

    Raises:
        PolicyError: the objective has other terms than fragments.
    """
    fragments_only(problem, "pop-marginal")
    pieces = partition(problem, seed, parts)
    return solve_parts(problem, pieces, marginal_shares(problem, pieces, seed), seconds, seed)


def partition(problem: Problem, seed: int, parts: int = 0) -> list[Int64]:
    """Cuts the machines at random into parts whose sizes differ by at most one."""
    count = parts or max(2, round(problem.num_pms / PART_PMS))
    pms = np.random.default_rng(seed).permutation(problem.num_pms)
    return [np.sort(piece) for piece in np.array_split(pms, count) if len(piece)]


def part_of(problem: Problem, pms: Int64, moves: int) -> tuple[Problem, Int64, Int64]:
    """The problem of some machines, the slots it has, and its VMs.

    The weights are scaled so that what a move gains in the part is what it gains in the whole.
    """
    slots = (2 * pms[:, None] + np.arange(2)).reshape(-1)
    local = np.full(len(problem.free_cores), -1, np.int32)
    local[slots] = np.arange(len(slots))
    vms = np.flatnonzero(local[problem.vm_slot] >= 0)
    part = replace(
        problem,
        free_cores=problem.free_cores[slots],
        free_memory=problem.free_memory[slots],
        free_gpu=problem.free_gpu[slots],
        vm_slot=local[problem.vm_slot[vms]],
        vm_cores=problem.vm_cores[vms],
        vm_memory=problem.vm_memory[vms],
        vm_gpu=problem.vm_gpu[vms],
        vm_double=problem.vm_double[vms],
        vm_movable=problem.vm_movable[vms],
        vm_group=problem.vm_group[vms],
        moves_left=moves,
    )
    return replace(part, objective=_scaled(problem, part)), slots, vms


def _scaled(problem: Problem, part: Problem) -> Objective:
    def share(field: str) -> float:
        whole, mine = getattr(problem, field), getattr(part, field)
        return float(mine.sum(dtype=np.int64) / max(whole.sum(dtype=np.int64), 1))

    def memory(fleet: Problem) -> int:
        return int((fleet.vm_memory.astype(np.int64) * (1 + fleet.vm_double)).sum())

    goal = problem.objective
    return replace(
        goal,
        weight_fragment=goal.weight_fragment * share("free_cores"),
        weight_pair=goal.weight_pair * share("free_cores"),
        weight_memory=goal.weight_memory * share("free_memory"),
        weight_gpu=goal.weight_gpu * share("free_gpu"),
        weight_active=goal.weight_active * part.num_pms / problem.num_pms,
        weight_traffic=goal.weight_traffic * memory(part) / max(memory(problem), 1),
    )


def marginal_shares(problem: Problem, pieces: list[Int64], seed: int) -> Float64:
    """Moves of each part when slot greedy's cheapest slots, over all parts, get the moves."""
    costs = []  # (moves for the slot, place in the part's plan, part)
    for index, pms in enumerate(pieces):
        part, _, _ = part_of(problem, pms, problem.moves_left)
        part = replace(part, objective=problem.objective)
        for rank, moves in enumerate(slot_costs(part, slot_greedy.plan(part, 0.0, seed))):
            costs.append((moves, rank, index))
    shares = np.zeros(len(pieces))
    for moves, _, index in sorted(costs):
        if shares.sum() + moves <= problem.moves_left:
            shares[index] += moves
    return shares


def slot_costs(problem: Problem, moves: Moves) -> list[int]:
    """Moves that each slot gained by a plan took."""
    chunk, costs, count = problem.objective.fragment_cores, [], 0
    for step in range(len(moves)):
        after = replay(problem, moves[step : step + 1])
        count += 1
        if (after.free_cores // chunk).sum() > (problem.free_cores // chunk).sum():
            costs.append(count)
            count = 0
        problem = after
    return costs


def solve_parts(
    problem: Problem, pieces: list[Int64], shares: Float64, seconds: float, seed: int
) -> Moves:
    """Solves part after part with its share of the moves and of the time that are left."""
    deadline = time.perf_counter() + seconds
    made, left = [NO_MOVES], problem.moves_left
    for index, pms in enumerate(pieces):
        rest = max(float(shares[index:].sum()), 1e-9)
        budget = round(left * float(shares[index]) / rest)
        part, slots, vms = part_of(problem, pms, budget)
        time_left = (deadline - time.perf_counter()) / (len(pieces) - index)
        moves = exact.plan(part, max(time_left, 0.0), seed)
        left -= len(moves)
        made.append(np.stack([vms[moves[:, 0]], slots[moves[:, 1]]], axis=1).astype(np.int32))
    return np.concatenate(made)
