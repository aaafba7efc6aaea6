"""Rescheduling as an integer programme over counts: how many VMs of a kind stand on a place.

A *kind* is a distinct (cores, memory, GPU, double, group) of VMs; a *place* a slot, or for a
double-NUMA kind the first slot of a machine. VMs of one kind are interchangeable, so a variable
counts them: some thousands for a data centre, where a binary for each VM and target (VMR2L,
EuroSys'25, section 3) needs a million. The order of the moves is left out: the optimum bounds
every sequence of ``moves_left`` moves, and `ordering` makes one of it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csc_matrix

from fleetgym.baselines.vm_rescheduling.board import group_members
from fleetgym.baselines.vm_rescheduling.goal import GPU_CHUNK, goal_of
from fleetgym.baselines.vm_rescheduling.grouped_kinds import GroupedKinds, grouped_kinds_of
from fleetgym.baselines.vm_rescheduling.placement import Bool, Int64, placement_of
from fleetgym.baselines.vm_rescheduling.problem import Problem

Float64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Cells:
    """The C pairs of kind and place whose count can change: the first C variables."""

    kind: Int64  # (C,)
    place: Int64  # (C,)
    lower: Int64  # (C,) at most this many leave (not positive)
    upper: Int64  # (C,) at most this many enter


@dataclass(frozen=True, eq=False)
class Programme:
    """Maximise ``worth @ x`` with ``matrix @ x <= limit`` (``==`` in the first ``equal`` rows).

    The variables are the change of each cell, how many VMs leave each cell that can lose some,
    and then the slots, pairs and the like that are gained.
    """

    cells: Cells
    worth: Float64  # (N,) in units of ``unit``
    matrix: csc_matrix  # (M, N)
    limit: Float64  # (M,)
    equal: int
    lower: Float64  # (N,)
    upper: Float64  # (N,)
    integral: Bool  # (N,)
    leaving: slice  # of the variables: VMs that leave a cell
    unit: float  # objective of one unit
    whole: bool  # gains are whole units


class _Rows:
    """Collects the sparse rows and the columns of a programme."""

    def __init__(self) -> None:
        self.entries: list[tuple[Int64, Int64, Float64]] = []
        self.limits: list[Float64] = []
        self.count = 0

    def add(self, row: Int64, column: Int64, value: Float64 | Int64, limit: Float64) -> None:
        """Adds ``len(limit)`` rows; ``row`` counts from 0 among them."""
        self.entries.append((row + self.count, column, np.asarray(value, np.float64)))
        self.limits.append(np.asarray(limit, np.float64))
        self.count += len(limit)

    def matrix(self, columns: int) -> tuple[csc_matrix, Float64]:
        row, column, value = (np.concatenate(part) for part in zip(*self.entries, strict=True))
        matrix = coo_matrix((value, (row, column)), (self.count, columns)).tocsc()
        return matrix, np.concatenate(self.limits)


def _cells(problem: Problem, kinds: GroupedKinds, room: Int64) -> Cells:
    """Args: room (S, 3) of what stands still plus what could leave, that is without movable VMs."""
    size = (len(kinds.need), len(problem.free_cores))
    movable = np.zeros(size, np.int64)
    mine = problem.vm_movable
    np.add.at(movable, (kinds.of_vm[mine], problem.vm_slot[mine].astype(np.int64)), 1)
    need = kinds.need[:, None, :]
    holds = np.where(need > 0, room[None] // np.maximum(need, 1), np.iinfo(np.int64).max).min(2)
    holds[kinds.double, 0::2] = np.minimum(holds[kinds.double, 0::2], holds[kinds.double, 1::2])
    holds[kinds.double, 1::2] = 0
    upper = np.minimum(holds, movable.sum(axis=1, keepdims=True)) - movable
    upper = np.clip(upper, 0, problem.moves_left)
    kind, place = np.nonzero((movable > 0) | (upper > 0))
    lower = -np.minimum(movable, problem.moves_left)
    return Cells(kind, place, lower[kind, place], upper[kind, place])


def _taken(cells: Cells, kinds: GroupedKinds) -> tuple[Int64, Int64]:
    """(N,) slot and (N,) cell of every node that a VM of a cell takes."""
    both = np.flatnonzero(kinds.double[cells.kind])
    every = np.arange(len(cells.kind))
    return np.concatenate([cells.place, cells.place[both] + 1]), np.concatenate([every, both])


def programme(problem: Problem, settled: Bool | None = None) -> Programme:
    """The integer programme of a problem.

    Args:
        problem: with at least one VM.
        settled: (S,) slots where what enters must fit beside what is there now, whatever leaves:
            no cycle of moves goes through them. None: nowhere.
    """
    kinds = grouped_kinds_of(problem)
    free = placement_of(problem, kinds).free
    need = kinds.need[kinds.of_vm]
    room, mine = free.copy(), problem.vm_movable
    np.add.at(room, problem.vm_slot[mine], need[mine])
    both = mine & problem.vm_double
    np.add.at(room, problem.vm_slot[both] + 1, need[both])
    cells = _cells(problem, kinds, room)
    builder = _Builder(problem, kinds, cells, free, room)
    builder.conserve()
    builder.leave()
    builder.fit()
    builder.separate()
    if settled is not None:
        builder.settle(settled)
    builder.score()
    return builder.finish()


class _Builder:
    """Writes the rows of a programme, one subject a method."""

    def __init__(
        self, problem: Problem, kinds: GroupedKinds, cells: Cells, free: Int64, room: Int64
    ) -> None:
        self.problem, self.kinds, self.cells = problem, kinds, cells
        self.free, self.room = free, room
        self.rows = _Rows()
        self.slot, self.cell = _taken(cells, kinds)
        self.losing = np.flatnonzero(cells.lower < 0)
        self.lower = [cells.lower.astype(np.float64), np.zeros(len(self.losing))]
        self.upper = [cells.upper.astype(np.float64), -self.lower[0][self.losing]]
        self.worth = [np.zeros(len(cells.kind)), np.zeros(len(self.losing))]
        self.integral = [np.ones(len(cells.kind), np.bool_), np.zeros(len(self.losing), np.bool_)]
        self.columns = len(cells.kind) + len(self.losing)

    def _new(self, worth: float, lower: Int64, upper: Int64, integral: bool = True) -> Int64:
        """New variables; returns their columns."""
        count = len(lower)
        self.worth.append(np.full(count, worth))
        self.lower.append(lower.astype(np.float64))
        self.upper.append(upper.astype(np.float64))
        self.integral.append(np.full(count, integral))
        self.columns += count
        return np.arange(self.columns - count, self.columns)

    def conserve(self) -> None:
        """As many VMs of a kind enter as leave."""
        every = np.arange(len(self.cells.kind))
        zeros = np.zeros(len(self.kinds.need))
        self.rows.add(self.cells.kind, every, np.ones(len(every)), zeros)

    def leave(self) -> None:
        """VMs that leave are at least those that are lost; they are at most ``moves_left``."""
        losing, count = self.losing, len(self.losing)
        leaving, each = len(self.cells.kind) + np.arange(count), np.arange(count)
        minus = np.full(2 * count, -1.0)
        row, column = np.concatenate([each, each]), np.concatenate([losing, leaving])
        self.rows.add(row, column, minus, np.zeros(count))
        most = np.array([self.problem.moves_left], np.float64)
        self.rows.add(np.zeros(count, np.int64), leaving, np.ones(count), most)

    def _use(self, resource: int) -> Int64:
        use: Int64 = self.kinds.need[self.cells.kind[self.cell], resource]
        return use

    def fit(self) -> None:
        """Memory and GPU fit on every slot where they could run out before the cores do."""
        need = self.kinds.need.astype(np.float64)
        for resource in (1, 2):
            rate = np.divide(need[:, resource], need[:, 0], out=np.full(len(need), np.inf),
                             where=need[:, 0] > 0)  # fmt: skip
            rate[need[:, resource] == 0] = 0.0
            scarce = self.room[:, 0] * rate.max() > self.room[:, resource]
            self._capacity(resource, scarce)

    def _capacity(self, resource: int, slots: Bool) -> None:
        index = np.cumsum(slots) - 1
        here = slots[self.slot]
        self.rows.add(
            index[self.slot[here]], self.cell[here], self._use(resource)[here],
            self.free[slots, resource].astype(np.float64),
        )  # fmt: skip

    def separate(self) -> None:
        """No machine takes more VMs of a group than it may hold; one that is over only loses."""
        every = np.arange(len(self.cells.kind))
        self._limit_groups(every, every)

    def _limit_groups(self, cell: Int64, column: Int64) -> None:
        """Limits the variables that stand for VMs gained by these cells."""
        group = self.kinds.group[self.cells.kind[cell]]
        grouped = group >= 0
        pms = self.problem.num_pms
        left = self.problem.group_max[:, None] - group_members(self.problem)
        row = group[grouped] * pms + self.cells.place[cell[grouped]] // 2
        used, index = np.unique(row, return_inverse=True)
        limit = np.maximum(left.reshape(-1)[used], 0).astype(np.float64)
        self.rows.add(index.reshape(-1), column[grouped], np.ones(len(row)), limit)

    def settle(self, slots: Bool) -> None:
        """What enters a settled slot fits beside what is there now."""
        here = slots[self.slot] & (self.cells.upper[self.cell] > 0)
        cell, index = np.unique(self.cell[here], return_inverse=True)
        index = index.reshape(-1)
        entering = self._new(0.0, np.zeros(len(cell), np.int64), self.cells.upper[cell], False)
        each, count = np.arange(len(cell)), len(cell)
        sign = np.repeat([1.0, -1.0], count)
        column = np.concatenate([cell, entering])
        self.rows.add(np.concatenate([each, each]), column, sign, np.zeros(count))
        self._limit_groups(cell, entering)
        slot, row = np.unique(self.slot[here], return_inverse=True)
        for resource in range(3):
            self.rows.add(
                row.reshape(-1), entering[index], self._use(resource)[here],
                self.free[slot, resource].astype(np.float64),
            )  # fmt: skip

    def _whole_chunks(self, resource: int, chunk: int, worth: float) -> None:
        """A variable a slot: the chunks of a resource that it gains."""
        slots = len(self.free)
        before, most = self.free[:, resource] // chunk, self.room[:, resource] // chunk
        gained = self._new(worth, -before, most - before)
        row = np.concatenate([self.slot, np.arange(slots)])
        column = np.concatenate([self.cell, gained])
        use = np.concatenate([self._use(resource), np.full(slots, chunk)])
        self.rows.add(row, column, use, (self.free[:, resource] - chunk * before).astype(float))

    def _pairs(self, worth: float) -> None:
        """A variable a machine: the double-NUMA VMs of ``pair_cores`` for which it gains room."""
        half = self.problem.objective.pair_cores // 2
        free, most = (
            (cores[:, 0] // half).reshape(-1, 2).min(axis=1) for cores in (self.free, self.room)
        )
        gained = self._new(worth, -free, most - free)
        row = np.concatenate([self.slot, np.arange(len(self.free))])
        column = np.concatenate([self.cell, np.repeat(gained, 2)])
        use = np.concatenate([self._use(0), np.full(len(self.free), half)])
        self.rows.add(row, column, use, self.free[:, 0] - half * np.repeat(free, 2).astype(float))

    def _emptied(self, worth: float) -> None:
        """A binary a machine with VMs: whether it is emptied; and one without: whether kept so."""
        pms, cells = self.problem.num_pms, self.cells
        count = np.bincount(self.problem.vm_slot // 2, minlength=pms)
        stuck = np.bincount(self.problem.vm_slot[~self.problem.vm_movable] // 2, minlength=pms)
        empty = count == 0
        gained = self._new(worth, -empty.astype(np.int64), ((stuck == 0) & ~empty).astype(np.int64))
        pm = cells.place // 2
        most = count + np.bincount(pm, cells.upper, minlength=pms).astype(np.int64)
        # VMs here <= most * (1 - emptied), with emptied = empty + gained.
        row = np.concatenate([pm, np.arange(pms)])
        column = np.concatenate([np.arange(len(pm)), gained])
        use = np.concatenate([np.ones(len(pm), np.int64), most])
        self.rows.add(row, column, use, (most * ~empty - count).astype(float))

    def score(self) -> None:
        """The objective's terms, and core capacity (with the fragment term, in its rows)."""
        sizes, goal = self.problem.objective, goal_of(self.problem, self.kinds)
        worth = {
            "fragment": goal.fragment * sizes.fragment_cores,
            "pair": goal.pair * 2 * goal.pair_half,
            "memory": goal.memory * sizes.memory_chunk,
            "gpu": goal.gpu * GPU_CHUNK,
            "active": goal.active,
        }
        used = [term for term, each in worth.items() if each]
        self.unit = float(max(worth.values())) or 1.0
        self.whole = len(used) < 2 and not goal.fee.any()
        self._whole_chunks(0, sizes.fragment_cores, worth["fragment"] / self.unit)
        if worth["pair"]:
            self._pairs(worth["pair"] / self.unit)
        if worth["memory"]:
            self._whole_chunks(1, sizes.memory_chunk, worth["memory"] / self.unit)
        if worth["gpu"]:
            self._whole_chunks(2, GPU_CHUNK, worth["gpu"] / self.unit)
        if worth["active"]:
            self._emptied(worth["active"] / self.unit)
        self.worth[1] = -goal.fee[self.cells.kind[self.losing]] / self.unit

    def finish(self) -> Programme:
        """The programme of the rows so far."""
        matrix, limit = self.rows.matrix(self.columns)
        return Programme(
            cells=self.cells,
            worth=np.concatenate(self.worth),
            matrix=matrix,
            limit=limit,
            equal=len(self.kinds.need),
            lower=np.concatenate(self.lower),
            upper=np.concatenate(self.upper),
            integral=np.concatenate(self.integral),
            unit=self.unit,
            leaving=slice(len(self.cells.kind), len(self.cells.kind) + len(self.losing)),
            whole=self.whole,
        )
