"""The operators of the genetic algorithm; plans are expressed gene by gene on a placement."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fleetgym.baselines.vm_rescheduling.draws import UInt64, below, uniform
from fleetgym.baselines.vm_rescheduling.goal import Goal, carry, placement_cost
from fleetgym.baselines.vm_rescheduling.placement import Placement, can_move, move
from fleetgym.envs.core.jit import kernel

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Float64 = NDArray[np.float64]

TRIES = 4  # of redrawing a gene that is illegal
REDRAW = 0.3  # chance that an illegal or empty gene is redrawn, not left empty


class Brood(NamedTuple):
    """Plans of L genes (VM, slot), a VM of -1 for none; N of them now, N children to come."""

    genes: Int32  # (N, L, 2)
    cost: Float64  # (N,) objective
    young: Int32  # (N, L, 2)
    price: Float64  # (N,) objective
    origin: Int64  # (L,) where the VMs of the plan being expressed came from


class Rates(NamedTuple):
    """How children come about."""

    tournament: int = 3  # plans that compete to be a parent
    crossover: float = 0.9  # chance that a child has two parents
    two_points: float = 0.5  # chance that they exchange a middle part, not a tail
    mutation: float = 2.0  # genes of a child redrawn, on average


@kernel
def draw_gene(now: Placement, gene: Int32, state: UInt64) -> bool:
    """Redraws a gene until it is legal now, or gives up."""
    for _ in range(TRIES):
        vm = below(state, len(now.vm_slot))
        to = below(state, len(now.free))
        if now.double[now.vm_type[vm]]:
            to -= to % 2
        if not now.vm_fixed[vm] and can_move(now, vm, to):
            gene[0], gene[1] = vm, to
            return True
    return False


@kernel
def express(
    now: Placement,
    hosted: Int64,
    goal: Goal,
    genes: Int32,
    start: float,
    origin: Int64,
    state: UInt64,
) -> float:
    """Makes a plan's moves in order, repairs it on the way, and takes all of them back.

    Args:
        now: as at the start; left as it was.
        hosted: (P,) VMs on the machine; left as it was.
        goal: the objective.
        genes: (L, 2) repaired: what cannot be made is redrawn or emptied.
        start: the objective at the start.
        origin: (L,) room to work in.
        state: of the draws; moved on.

    Returns:
        The objective after the plan.
    """
    cost = start
    for g in range(len(genes)):
        vm = int(genes[g, 0])
        legal = vm >= 0 and can_move(now, vm, int(genes[g, 1]))
        if not legal:
            genes[g, 0] = -1
            if uniform(state) < REDRAW:
                legal = draw_gene(now, genes[g], state)
        if legal:
            vm = int(genes[g, 0])
            origin[g] = now.vm_slot[vm]
            cost += carry(now, hosted, goal, vm, int(genes[g, 1]))
            cost += goal.fee[now.vm_type[vm]]
    for g in range(len(genes) - 1, -1, -1):
        if genes[g, 0] >= 0:
            vm = int(genes[g, 0])
            hosted[now.vm_slot[vm] // 2] -= 1
            hosted[origin[g] // 2] += 1
            move(now, vm, int(origin[g]))
    return cost


@kernel
def express_all(now: Placement, hosted: Int64, goal: Goal, brood: Brood, state: UInt64) -> None:
    """Expresses a first population of empty plans: repair fills them."""
    start = placement_cost(now.free, hosted, goal)
    for i in range(len(brood.cost)):
        brood.cost[i] = express(now, hosted, goal, brood.genes[i], start, brood.origin, state)


@kernel
def winner(cost: Float64, rivals: int, state: UInt64) -> int:
    """The cheapest of some plans drawn at random."""
    best = below(state, len(cost))
    for _ in range(rivals - 1):
        other = below(state, len(cost))
        if cost[other] < cost[best]:
            best = other
    return best


@kernel
def copy_genes(source: Int32, target: Int32, first: int, last: int) -> None:
    """Copies genes first..last - 1 of a plan into another."""
    for g in range(first, last):
        target[g, 0] = source[g, 0]
        target[g, 1] = source[g, 1]


@kernel
def cross(other: Int32, child: Int32, two_points: float, state: UInt64) -> None:
    """Copies a tail, or a middle part, of another plan into a child."""
    first, last = below(state, len(child)), len(child)
    if uniform(state) < two_points:
        last = below(state, len(child))
    copy_genes(other, child, min(first, last), max(first, last))


@kernel
def evolve(
    now: Placement,
    hosted: Int64,
    goal: Goal,
    brood: Brood,
    rates: Rates,
    generations: int,
    state: UInt64,
) -> None:
    """Replaces a population by its offspring, some generations long; the best plan lives on.

    Args:
        now: the placement at the start; left as it was.
        hosted: (P,) VMs on the machine; left as it was.
        goal: the objective.
        brood: the plans; replaced.
        rates: of the operators.
        generations: how many.
        state: of the draws; moved on.
    """
    genes, cost, young, price = brood.genes, brood.cost, brood.young, brood.price
    size, length = genes.shape[0], genes.shape[1]
    start = placement_cost(now.free, hosted, goal)
    for _ in range(generations):
        best = 0
        for i in range(1, size):
            best = i if cost[i] < cost[best] else best
        copy_genes(genes[best], young[0], 0, length)
        price[0] = cost[best]
        for i in range(1, size):
            copy_genes(genes[winner(cost, rates.tournament, state)], young[i], 0, length)
            if uniform(state) < rates.crossover:
                other = genes[winner(cost, rates.tournament, state)]
                cross(other, young[i], rates.two_points, state)
            for g in range(length):
                if uniform(state) * length < rates.mutation:
                    draw_gene(now, young[i, g], state)
            price[i] = express(now, hosted, goal, young[i], start, brood.origin, state)
        for i in range(size):
            copy_genes(young[i], genes[i], 0, length)
            cost[i] = price[i]
