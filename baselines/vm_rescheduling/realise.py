"""From patterns or a placement to a plan: which machine, which VM, in which order."""

import numpy as np

from fleetgym.baselines.vm_rescheduling.column_generation import Choice
from fleetgym.baselines.vm_rescheduling.draws import fresh_state
from fleetgym.baselines.vm_rescheduling.patterns import Classes, Int64
from fleetgym.baselines.vm_rescheduling.placement import Kinds, placement_of
from fleetgym.baselines.vm_rescheduling.problem import Moves, Problem
from fleetgym.baselines.vm_rescheduling.realise_kernels import Tasks, make_moves


def machines_of(classes: Classes, choice: Choice, rng: np.random.Generator) -> Int64:
    """(N,) a machine for every use of a pattern, drawn within the class without repetition."""
    owner = np.repeat(choice.owner, choice.times)
    shuffled = rng.permutation(len(classes.class_of))
    members = shuffled[np.argsort(classes.class_of[shuffled], kind="stable")]
    start = np.concatenate([[0], np.cumsum(classes.machines)])
    order = np.argsort(owner, kind="stable")
    sizes = np.bincount(owner, minlength=len(classes.machines))
    rank = np.empty(len(owner), np.int64)
    rank[order] = np.arange(len(owner)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return members[start[owner] + rank]


def changes_of(classes: Classes, choice: Choice, machines: Int64) -> Int64:
    """(S, types) VMs entering less VMs leaving each slot (double ones: the machine's first)."""
    singles = len(classes.single)
    pattern = np.repeat(choice.pattern, choice.times, axis=0).astype(np.int64)
    net = pattern[:, 1] - pattern[:, 0]
    change = np.zeros((2 * len(classes.class_of), len(classes.kinds.need)), np.int64)
    change[2 * machines, :singles] = net[:, :singles]
    change[2 * machines + 1, :singles] = net[:, singles : 2 * singles]
    change[2 * machines, singles:] = net[:, 2 * singles :]
    return change


def displacement_of(problem: Problem, kinds: Kinds, target: Int64) -> Int64:
    """(S, types) the same for a placement, (V,) slots: who swaps with a like VM stays."""
    change = np.zeros((len(problem.free_cores), len(kinds.need)), np.int64)
    np.add.at(change, (target, kinds.of_vm), 1)
    np.add.at(change, (problem.vm_slot, kinds.of_vm), -1)
    return change


def tasks_of(problem: Problem, kinds: Kinds, change: Int64) -> Tasks:
    """One task for every VM that shall leave or enter."""

    def units(times: Int64) -> tuple[Int64, Int64]:
        slot, kind = np.nonzero(times > 0)
        return np.repeat(slot, times[slot, kind]), np.repeat(kind, times[slot, kind])

    leave_slot, leave_type = units(-change)
    enter_slot, enter_type = units(change)
    types = len(kinds.need)
    place = problem.vm_slot.astype(np.int64) * types + kinds.of_vm
    by_place = np.argsort(place, kind="stable")
    wanted = leave_slot * types + leave_type
    return Tasks(
        leave_slot=leave_slot,
        leave_type=leave_type,
        first=np.searchsorted(place[by_place], wanted),
        last=np.searchsorted(place[by_place], wanted, side="right"),
        by_place=by_place,
        carried=np.full(len(leave_slot), -1, np.int64),
        left=np.zeros(len(leave_slot), np.bool_),
        enter_slot=enter_slot,
        enter_type=enter_type,
        entered=np.zeros(len(enter_slot), np.bool_),
        busy=np.zeros(len(change), np.bool_),
        wanted=np.zeros(len(change), np.bool_),
    )


def realise(problem: Problem, kinds: Kinds, change: Int64, rng: np.random.Generator) -> Moves:
    """Makes a change happen as far as the order of moves and anti-affinity let it.

    Args:
        problem: where the fleet stands.
        kinds: its types.
        change: (S, types) VMs entering less VMs leaving.
        rng: of the order.

    Returns:
        (K, 2) moves, each legal when made in this order.
    """
    tasks = tasks_of(problem, kinds, change)
    moves = np.empty((problem.moves_left, 2), np.int32)
    made = make_moves(placement_of(problem, kinds), tasks, moves, fresh_state(rng))
    return moves[:made]
