"""The exact solver by integer programming: places and turns as binaries, starts as reals."""

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint
from scipy.sparse import csr_matrix

from fleetgym.baselines.highs import milp
from fleetgym.baselines.mec_offloading.bounds import earliest_finish, lower_bound
from fleetgym.baselines.mec_offloading.branch_bound import Answer
from fleetgym.baselines.mec_offloading.decoding import (
    Solution,
    decode,
    objective,
    room_for,
    solution_of,
)
from fleetgym.baselines.mec_offloading.list_schedulers import heft
from fleetgym.baselines.mec_offloading.problem import FORBIDDEN, Float64, Int64, Problem

SHARES = 1000.0  # the horizon in units of the programme: HiGHS is exact to about 1e-6 of one


@dataclass
class _Rows:
    """Constraints ``sum of value x variable >= least``, as they are written down."""

    row: list[int] = field(default_factory=list)
    column: list[int] = field(default_factory=list)
    value: list[float] = field(default_factory=list)
    least: list[float] = field(default_factory=list)

    def add(self, least: float, *terms: tuple[float, int]) -> None:
        """Adds one constraint of (value, variable) terms."""
        for value, column in terms:
            self.row.append(len(self.least))
            self.column.append(column)
            self.value.append(value)
        self.least.append(least)

    def constraint(self, variables: int) -> LinearConstraint:
        """All of them."""
        shape = (len(self.least), variables)
        matrix = csr_matrix((self.value, (self.row, self.column)), shape=shape)
        return LinearConstraint(matrix, np.array(self.least), np.inf)


class _Model:
    """Variables: x[i, l] task i on core l, s[i] start, y[i, j] i before j, e[a] end of a.

    A place with a free core for every task counts as one core where tasks need not take turns.
    """

    def __init__(self, problem: Problem, horizon: float) -> None:
        self.problem = problem
        self.unit = horizon / SHARES
        self.horizon = SHARES
        self.n = len(problem.app)
        self.place_of, self.free, self.roomy = _lanes(problem)
        self.cores = len(self.free)
        self.pairs = _unrelated_pairs(problem)
        self.first_start = self.n * self.cores
        self.first_turn = self.first_start + self.n
        self.first_end = self.first_turn + len(self.pairs)
        self.variables = self.first_end + len(problem.weight)
        self.scale = 1.0
        self.rows = _Rows()

    def x(self, i: int, core: int) -> int:
        return i * self.cores + core

    def s(self, i: int) -> int:
        return self.first_start + i

    def length(self, i: int) -> list[tuple[float, int]]:
        """The duration of a task as terms."""
        lengths = self.problem.duration[i, self.place_of] / self.unit
        return [(lengths[c], self.x(i, c)) for c in self.allowed(i)]

    def allowed(self, i: int) -> list[int]:
        """Cores on which a task may run."""
        legal = self.problem.duration[i, self.place_of] < FORBIDDEN
        return [int(core) for core in np.flatnonzero(legal)]

    def write(self) -> None:
        """Writes all constraints."""
        for i in range(self.n):
            self._task(i)
        for e in range(len(self.problem.parent)):
            self._edge(e)
        for k, (i, j) in enumerate(self.pairs):
            self._turns(self.first_turn + k, i, j)

    def _task(self, i: int) -> None:
        """It runs somewhere, once its inputs and a core are there; the application ends later."""
        problem, rows, cores = self.problem, self.rows, self.allowed(i)
        rows.add(1.0, *((1.0, self.x(i, c)) for c in cores))
        rows.add(-1.0, *((-1.0, self.x(i, c)) for c in cores))
        at = [max(problem.release[i, self.place_of[c]], self.free[c]) / self.unit for c in cores]
        rows.add(
            0.0, (1.0, self.s(i)), *((-t, self.x(i, c)) for t, c in zip(at, cores, strict=True))
        )
        tail = [
            (-(problem.duration[i, q] + problem.tail[i, q]) / self.unit, self.x(i, c))
            for c, q in zip(cores, self.place_of[cores], strict=True)
        ]
        end = self.first_end + int(problem.app[i])
        rows.add(0.0, (1.0, end), (-1.0, self.s(i)), *tail)

    def _edge(self, e: int) -> None:
        """The child starts when the parent's data is at its core, whichever it is."""
        i, j = int(self.problem.parent[e]), int(self.problem.child[e])
        after_parent = [(-value, column) for value, column in self.length(i)]
        for core in self.allowed(j):
            sent = self.problem.transfer[e, self.place_of, self.place_of[core]] / self.unit
            most = max(sent[c] for c in self.allowed(i))
            self.rows.add(
                -most,
                (1.0, self.s(j)), (-1.0, self.s(i)), *after_parent, (-most, self.x(j, core)),
                *((-sent[c], self.x(i, c)) for c in self.allowed(i)),
            )  # fmt: skip

    def _turns(self, turn: int, i: int, j: int) -> None:
        """Two tasks on one core: the one whose turn is first ends before the other starts."""
        big = self.horizon
        for core in sorted({*self.allowed(i)} & {*self.allowed(j)}):
            if self.roomy[core]:
                continue
            both = [(-big, self.x(i, core)), (-big, self.x(j, core))]
            for first, second, sign in ((i, j, 1.0), (j, i, -1.0)):
                length = self.problem.duration[first, self.place_of[core]] / self.unit
                # s_second >= s_first + length - big (3 - x_i - x_j - [first's turn])
                least = length - 3 * big if sign > 0 else length - 2 * big
                self.rows.add(
                    least, (1.0, self.s(second)), (-1.0, self.s(first)), *both, (-sign * big, turn)
                )

    def cost(self) -> Float64:
        """Of each variable, in units, scaled so that the largest is 1: HiGHS' tolerances are so."""
        cost = np.zeros(self.variables)
        for i in range(self.n):
            for core in self.allowed(i):
                cost[self.x(i, core)] = self.problem.price[i, self.place_of[core]] / self.unit
        cost[self.first_end :] = self.problem.weight
        self.scale = float(np.abs(cost).max()) or 1.0
        return cost / self.scale

    def bounds(self) -> Bounds:
        """Cores that are legal; starts after the critical path to them and before the horizon."""
        upper = np.zeros(self.variables)
        lower = np.zeros(self.variables)
        for i in range(self.n):
            for core in self.allowed(i):
                upper[self.x(i, core)] = 1.0
        least = (earliest_finish(self.problem) - self.problem.duration).min(axis=1)
        lower[self.first_start : self.first_turn] = np.maximum(least, 0) / self.unit
        upper[self.first_start : self.first_turn] = self.horizon
        upper[self.first_turn : self.first_end] = 1.0
        upper[self.first_end :] = self.horizon
        return Bounds(lower, upper)

    def integrality(self) -> NDArray[np.int64]:
        """1 for the binaries."""
        whole = np.ones(self.variables, np.int64)
        whole[self.first_start : self.first_turn] = 0
        whole[self.first_end :] = 0
        return whole


def solve(problem: Problem, seconds: float) -> Answer:
    """Minimises the objective with HiGHS.

    Args:
        problem: small: binaries grow with tasks x cores and with the square of the tasks.
        seconds: of wall time, kept as well as HiGHS does; HEFT's schedule stands where it finds
            nothing better.
    """
    start = solution_of(heft(problem))
    room = room_for(problem)
    best, value = start, decode(problem, start, room)
    model = _Model(problem, _horizon(problem))
    model.write()
    answer = milp(
        model.cost(),
        constraints=[model.rows.constraint(model.variables)],
        bounds=model.bounds(),
        integrality=model.integrality(),
        options={"time_limit": seconds, "mip_rel_gap": 0.0},
    )
    dual = answer.get("mip_dual_bound")
    bound = lower_bound(problem)
    if dual is not None:
        bound = max(bound, float(dual) * model.unit * model.scale)
    if answer.x is not None:
        found = _decoded(model, answer.x)
        cost = decode(problem, found, room)
        if cost < value:
            best, value = found, cost
    bound = min(bound, value)
    return Answer(best, value, bound, value - bound <= 1e-5 * abs(value))


def _horizon(problem: Problem) -> float:
    """An end that some best schedule keeps, ns.

    A chain of tasks and transfers leads to the last end of a schedule in which nothing can start
    earlier; and where every end counts, none is later than HEFT's objective allows.
    """
    allowed = problem.duration < FORBIDDEN
    work = np.where(allowed, problem.duration + problem.tail, 0).max(axis=1).sum()
    sent = problem.transfer.max(axis=(1, 2), initial=0).sum()
    chain = float(work + sent + max(problem.release.max(), problem.free.max()))
    if (problem.weight <= 0).any() or (problem.price < 0).any():
        return chain + 1
    return min(chain, objective(problem, heft(problem)) / float(problem.weight.min())) + 1


def _lanes(problem: Problem) -> tuple[NDArray[np.int64], Int64, NDArray[np.bool_]]:
    """The place of each core, when it is free, and whether it stands for enough of them."""
    place_of, free, roomy = [], [], []
    for q, (first, end) in enumerate(pairwise(problem.first_core.tolist())):
        times = problem.free[first:end]
        enough = end - first >= len(problem.app) and bool((times == times[0]).all())
        count = 1 if enough else end - first
        place_of += [q] * count
        free += times[:count].tolist()
        roomy += [enough] * count
    return np.array(place_of), np.array(free, np.int64), np.array(roomy, np.bool_)


def _decoded(model: _Model, x: Float64) -> Solution:
    tasks = np.arange(model.n)
    core = x[: model.first_start].reshape(model.n, model.cores).argmax(axis=1)
    start = x[model.first_start : model.first_turn]
    order = np.lexsort((tasks, np.round(start, 7)))
    return Solution(order.astype(np.int32), model.place_of[core].astype(np.int32))


def _unrelated_pairs(problem: Problem) -> list[tuple[int, int]]:
    """Pairs of tasks of which neither comes after the other in the graph."""
    n = len(problem.app)
    after = np.zeros((n, n), np.bool_)
    for i, j in zip(problem.parent[::-1], problem.child[::-1], strict=True):
        after[i] |= after[j]
        after[i, j] = True
    return [(i, j) for j in range(n) for i in range(j) if not after[i, j]]
