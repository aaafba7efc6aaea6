"""Monte Carlo tree search over single migrations: positions, rollouts and the tree, as kernels.

A move is (kind, source slot, target slot). Moves are ranked by the objective and, among equals, by
how much they gather fragments on few nodes (sum of squared fragments): a VM that fills a hole frees
nothing yet, but leaves a node that needs less to gain a slot.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fleetgym.baselines.vm_rescheduling.draws import UInt64, below, uniform
from fleetgym.baselines.vm_rescheduling.goal import Float64, Goal, machine_cost
from fleetgym.baselines.vm_rescheduling.greedy import best_move, shift
from fleetgym.baselines.vm_rescheduling.placement import Int64, Placement, has_room
from fleetgym.envs.core.jit import kernel

Int32 = NDArray[np.int32]

NEAREST = 3  # sources and targets of each kind that are combined into candidates
BETTER = 1e-12
ASTRAY = 0.1  # share of a rollout's moves that are drawn from the candidates
EXPLORE = 0.35  # of UCT, on gains scaled to [0, 1]
WIDEN, POWER = 1.0, 0.5  # children allowed: WIDEN * visits ** POWER


class Position(NamedTuple):
    """Who is where, by kind, and what every shift of a VM would cost."""

    now: Placement  # its ``free`` and ``load`` change
    hosted: Int64  # (P,) VMs on each machine
    movable: Int64  # (K, S) VMs of the kind that may leave the slot
    group: Int64  # (K,) anti-affinity group, or -1
    costs: Float64  # (3, K, S) of leaving, of entering, of changing node


class Tree(NamedTuple):
    """N nodes with up to M children each; node 0 is the root."""

    children: Int32  # (N, M) node, or -1
    moves: Int32  # (N, M, 3) candidates, the best first
    width: Int32  # (N,) candidates, or -1 before the node is first entered
    tried: Int32  # (N,) children
    visits: Int64  # (N,)
    total: Float64  # (N,) gains of all visits
    size: Int64  # (1,) nodes in use
    span: Float64  # (2,) least and greatest gain seen


class Plan(NamedTuple):
    """A sequence of moves, and how much its best prefix lowers the objective."""

    moves: Int32  # (limit, 3)
    length: Int64  # (1,) of the best prefix
    gain: Float64  # (1,)


class Trial(NamedTuple):
    """One way through the tree and beyond: overwritten by each."""

    position: Position
    seen: Int32  # (limit, 3) the moves made
    path: Int64  # (limit + 1,) the nodes passed
    moves: Int32  # (M, 3) candidates
    worth: Float64  # (M,) their costs
    near: Int64  # (2, NEAREST)


@kernel
def lured_cost(now: Placement, hosted: Int64, pm: int, goal: Goal, lure: float) -> float:
    """A machine's share of the objective, less the lure of gathered fragments."""
    cost = machine_cost(now.free, hosted, pm, goal)
    for slot in (2 * pm, 2 * pm + 1):
        part = now.free[slot, 0] % goal.fragment_cores
        cost -= lure * part * part
    return cost


@kernel
def shift_price(p: Position, kind: int, slot: int, vms: int, goal: Goal, lure: float) -> float:
    """What adding VMs of a kind to a slot's machine (or taking them off) would cost."""
    before = lured_cost(p.now, p.hosted, slot // 2, goal, lure)
    shift(p.now, p.hosted, kind, slot, vms)
    after = lured_cost(p.now, p.hosted, slot // 2, goal, lure)
    shift(p.now, p.hosted, kind, slot, -vms)
    return after - before


@kernel
def price(p: Position, pm: int, goal: Goal, lure: float) -> None:
    """Writes what a VM of each kind costs that leaves, enters or changes node of a machine."""
    leave, enter, across = p.costs[0], p.costs[1], p.costs[2]
    for kind in range(len(p.group)):
        group = p.group[kind]
        full = group >= 0 and p.now.load[group, pm] >= p.now.most[group]
        double = p.now.double[kind]
        for slot in (2 * pm, 2 * pm + 1):
            leave[kind, slot] = enter[kind, slot] = across[kind, slot] = np.inf
            if double and slot % 2 == 1:
                continue
            if not full and has_room(p.now, kind, slot):
                enter[kind, slot] = shift_price(p, kind, slot, 1, goal, lure)
            if p.movable[kind, slot] == 0:
                continue
            leave[kind, slot] = shift_price(p, kind, slot, -1, goal, lure)
            if not double and has_room(p.now, kind, slot ^ 1):
                shift(p.now, p.hosted, kind, slot, -1)
                across[kind, slot] = shift_price(p, kind, slot ^ 1, 1, goal, lure)
                shift(p.now, p.hosted, kind, slot, 1)
                across[kind, slot] += leave[kind, slot]


@kernel
def price_all(p: Position, goal: Goal, lure: float) -> None:
    """Prices every machine."""
    for pm in range(len(p.hosted)):
        price(p, pm, goal, lure)


@kernel
def legal(p: Position, kind: int, source: int, target: int) -> bool:
    """Whether a VM of the kind can go from source to target now."""
    if source == target or p.movable[kind, source] == 0 or not has_room(p.now, kind, target):
        return False
    group = p.group[kind]
    same = source // 2 == target // 2
    return bool(group < 0 or same or p.now.load[group, target // 2] < p.now.most[group])


@kernel
def play(p: Position, kind: int, source: int, target: int, goal: Goal, lure: float) -> float:
    """Makes a legal move and returns the change of the objective, traffic included."""
    here, there, group = source // 2, target // 2, p.group[kind]
    change = goal.fee[kind] - machine_cost(p.now.free, p.hosted, here, goal)
    if here != there:
        change -= machine_cost(p.now.free, p.hosted, there, goal)
    shift(p.now, p.hosted, kind, source, -1)
    shift(p.now, p.hosted, kind, target, 1)
    if group >= 0:
        p.now.load[group, here] -= 1
        p.now.load[group, there] += 1
    p.movable[kind, source] -= 1
    p.movable[kind, target] += 1
    price(p, here, goal, lure)
    change += machine_cost(p.now.free, p.hosted, here, goal)
    if here != there:
        price(p, there, goal, lure)
        change += machine_cost(p.now.free, p.hosted, there, goal)
    return float(change)


@kernel
def copy_rows(source: Int64, target: Int64) -> None:
    """Copies a two-dimensional array."""
    for i in range(source.shape[0]):
        for j in range(source.shape[1]):
            target[i, j] = source[i, j]


@kernel
def copy_position(source: Position, target: Position) -> None:
    """Copies what moves change."""
    copy_rows(source.now.free, target.now.free)
    copy_rows(source.now.load, target.now.load)
    copy_rows(source.movable, target.movable)
    for i in range(len(source.hosted)):
        target.hosted[i] = source.hosted[i]
    for sort in range(3):
        copy_rows(source.costs[sort], target.costs[sort])


@kernel
def least(costs: Float64, slots: Int64) -> None:
    """Writes the slots of least cost, in order; -1 where there are no more."""
    slots[:] = -1
    for slot in range(len(costs)):
        if costs[slot] < np.inf and (slots[-1] < 0 or costs[slot] < costs[slots[-1]]):
            at = len(slots) - 1
            while at > 0 and (slots[at - 1] < 0 or costs[slot] < costs[slots[at - 1]]):
                slots[at] = slots[at - 1]
                at -= 1
            slots[at] = slot


@kernel
def write(moves: Int32, at: int, kind: int, source: int, target: int) -> None:
    """Writes one move of a list."""
    moves[at, 0], moves[at, 1], moves[at, 2] = kind, source, target


@kernel
def read(moves: Int32, at: int) -> tuple[int, int, int]:
    """Reads one move of a list."""
    return int(moves[at, 0]), int(moves[at, 1]), int(moves[at, 2])


@kernel
def enter_candidate(
    moves: Int32, worth: Float64, count: int, cost: float, kind: int, source: int, target: int
) -> int:
    """Keeps the M cheapest moves in order; returns how many there are."""
    size = len(moves)
    if count == size and cost >= worth[size - 1]:
        return count
    at = min(count, size - 1)
    while at > 0 and worth[at - 1] > cost:
        worth[at] = worth[at - 1]
        write(moves, at, *read(moves, at - 1))
        at -= 1
    worth[at] = cost
    write(moves, at, kind, source, target)
    return min(count + 1, size)


@kernel
def rank(p: Position, fee: Float64, moves: Int32, worth: Float64, near: Int64) -> int:
    """Writes the cheapest moves, the best first; returns their number.

    Args:
        p: priced.
        fee: (K,) of a migration.
        moves: (M, 3) overwritten.
        worth: (M,) overwritten.
        near: (2, NEAREST) overwritten.
    """
    count = 0
    for kind in range(len(p.group)):
        least(p.costs[0, kind], near[0])
        least(p.costs[1, kind], near[1])
        for source in near[0]:
            for target in near[1]:
                if source >= 0 and target >= 0 and source // 2 != target // 2:
                    cost = p.costs[0, kind, source] + p.costs[1, kind, target] + fee[kind]
                    count = enter_candidate(moves, worth, count, cost, kind, source, target)
        least(p.costs[2, kind], near[0])
        for source in near[0]:
            if source >= 0:
                cost = p.costs[2, kind, source] + fee[kind]
                count = enter_candidate(moves, worth, count, cost, kind, source, source ^ 1)
    return count


@kernel
def better_child(tree: Tree, node: int) -> int:
    """The child that UCT chooses (Kocsis and Szepesvari, ECML 2006), gains scaled to [0, 1]."""
    best, best_value = 0, -np.inf
    low, high = tree.span[0], tree.span[1]
    scale = 1.0 / (high - low) if high > low else 1.0
    for i in range(tree.tried[node]):
        child = tree.children[node, i]
        mean = (tree.total[child] / tree.visits[child] - low) * scale
        value = mean + EXPLORE * np.sqrt(np.log(tree.visits[node]) / tree.visits[child])
        if value > best_value:
            best, best_value = i, value
    return best


@kernel
def next_child(tree: Tree, node: int) -> int:
    """A new child where widening allows one, else the one UCT chooses; -1 where there is none."""
    allowed = min(tree.width[node], int(np.ceil(WIDEN * tree.visits[node] ** POWER)))
    full = tree.size[0] == len(tree.visits)
    if tree.tried[node] < allowed and not full:
        i = tree.tried[node]
        tree.children[node, i] = tree.size[0]
        tree.size[0] += 1
        tree.tried[node] += 1
        return int(i)
    return better_child(tree, node) if tree.tried[node] > 0 else -1


@kernel
def descend(tree: Tree, t: Trial, goal: Goal, lure: float) -> tuple[int, float, float, int]:
    """Goes down to a node that was not visited before.

    Returns:
        Its depth, the change of the objective there, the least on the way, and the depth of that.
    """
    node, depth, change, lowest, length = 0, 0, 0.0, 0.0, 0
    t.path[0] = 0
    while tree.visits[node] > 0 and depth < len(t.seen):
        if tree.width[node] < 0:
            tree.width[node] = rank(t.position, goal.fee, tree.moves[node], t.worth, t.near)
        i = next_child(tree, node)
        if i < 0:
            break
        kind, source, target = read(tree.moves[node], i)
        change += play(t.position, kind, source, target, goal, lure)
        write(t.seen, depth, kind, source, target)
        node = int(tree.children[node, i])
        depth += 1
        t.path[depth] = node
        if change < lowest - BETTER:
            lowest, length = change, depth
    return depth, change, lowest, length


@kernel
def roll_out(
    t: Trial, made: int, change: float, lowest: float, length: int, goal: Goal, lure: float,
    astray: float, state: UInt64,
) -> tuple[float, int]:  # fmt: skip
    """Goes on by best single moves, a share ``astray`` of them drawn from the candidates.

    Returns:
        The least change of the objective on the whole way, and the number of moves to it.
    """
    while made < len(t.seen):
        cost, kind, source, target = best_move(t.position.costs, goal.fee)
        if kind < 0:
            break
        if astray > 0.0 and uniform(state) < astray:
            count = rank(t.position, goal.fee, t.moves, t.worth, t.near)
            kind, source, target = read(t.moves, below(state, count))
        elif not cost < -BETTER:
            break
        change += play(t.position, kind, source, target, goal, lure)
        write(t.seen, made, kind, source, target)
        made += 1
        if change < lowest - BETTER:
            lowest, length = change, made
    return lowest, length


@kernel
def simulate(
    tree: Tree, root: Position, t: Trial, goal: Goal, lure: float, best: Plan, state: UInt64
) -> None:
    """One descent through the tree, one rollout, one update; keeps the best plan met.

    Args:
        tree: changed.
        root: the present, priced.
        t: overwritten.
        goal: the objective.
        lure: of gathered fragments.
        best: the best plan so far; overwritten by a better one.
        state: of the draws.
    """
    copy_position(root, t.position)
    depth, change, lowest, length = descend(tree, t, goal, lure)
    astray = ASTRAY if tree.visits[0] > 0 and uniform(state) < 0.5 else 0.0
    lowest, length = roll_out(t, depth, change, lowest, length, goal, lure, astray, state)
    gain = -lowest
    if tree.visits[0] == 0:
        tree.span[0] = tree.span[1] = gain
    tree.span[0], tree.span[1] = min(tree.span[0], gain), max(tree.span[1], gain)
    for d in range(depth + 1):
        tree.visits[t.path[d]] += 1
        tree.total[t.path[d]] += gain
    if gain > best.gain[0] + BETTER:
        best.gain[0], best.length[0] = gain, length
        for i in range(length):
            write(best.moves, i, *read(t.seen, i))
