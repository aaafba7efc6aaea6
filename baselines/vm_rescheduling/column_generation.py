"""Rescheduling as a choice of patterns: a bound in a blink, and mostly the optimum.

Dantzig-Wolfe decomposition (Operations Research 8, 1960): only the moves left and one balance a
type couple the machines ("at least as many VMs of a type enter as leave"), so the linear master
has few rows, its prices settle in some ten rounds, and its gap to the integer optimum is small.
Transient infeasibility and anti-affinity are left to whoever makes the moves.
"""

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint
from scipy.sparse import coo_matrix, csc_matrix

from fleetgym.baselines.highs import linprog, milp
from fleetgym.baselines.vm_rescheduling.goal import traffic_shares
from fleetgym.baselines.vm_rescheduling.pattern_kernels import price_patterns, tables
from fleetgym.baselines.vm_rescheduling.patterns import (
    MOST_BANDS,
    MOST_LEVELS,
    Classes,
    Float64,
    Int16,
    Int64,
)
from fleetgym.baselines.vm_rescheduling.problem import Problem

ROUNDS = 100  # of column generation, a guard: some ten are needed
FIRST_FEES = (0.5, 0.0)  # slots a move must bring: guesses that seed the master
MORE_FEES = (0.34, 0.25, 1.0)  # likewise, where patterns are refused and variety helps
SLACK = 0.5  # slots below a class's best down to which patterns join the integer master
EXACT = 1e-6  # slots
FEWER_MOVES = 0.1  # slots: the most that sparing moves may count for


@dataclass(frozen=True, eq=False)
class Gains:
    """The objective in units of one slot of ``fragment_cores`` (or of a pair, without that)."""

    worth: Float64  # (L, L) of a machine by the levels of its two nodes
    level: Int64  # (levels + 1,) level of a number of free units
    fee: Float64  # (T + U,) of moving a VM of the type
    scale: float  # objective of one unit
    whole: bool  # gains are whole numbers


@dataclass(frozen=True, eq=False)
class Columns:
    """K patterns of the master, with their coefficients."""

    owner: Int64  # (K,) class
    pattern: Int16  # (K, 2, width) VMs that leave and enter
    gain: Float64  # (K,) units of Gains
    moves: Int64  # (K,)
    net: Int64  # (K, T + U) VMs entering less those leaving


@dataclass(frozen=True, eq=False)
class Choice:
    """Patterns chosen, with how often, and the certificate that came with them."""

    owner: Int64  # (K,) class
    pattern: Int16  # (K, 2, width)
    times: Int64  # (K,) at least 1
    gain: float  # units of Gains
    bound: float  # no set of at most moves_left displaced VMs gains more


def gains_of(problem: Problem, classes: Classes) -> Gains:
    """What patterns are worth under the problem's weights."""
    goal = problem.objective
    free = np.arange(classes.levels + 1) * classes.unit
    half = goal.pair_cores // 2
    bands, level = np.unique(
        np.stack([free // goal.fragment_cores, free // half], axis=1), axis=0, return_inverse=True
    )
    slot = goal.weight_fragment * goal.fragment_cores
    pair = goal.weight_pair * 2 * half
    unit = slot or pair or 1.0
    pairs = np.minimum.outer(bands[:, 1], bands[:, 1])
    worth = slot / unit * np.add.outer(bands[:, 0], bands[:, 0]) + pair / unit * pairs
    scale = unit / max(int(problem.free_cores.sum()), 1)
    fee = goal.weight_traffic * traffic_shares(problem, classes.kinds) / scale
    whole = bool(np.all(worth == np.round(worth)) and not fee.any())
    return Gains(worth, level.reshape(-1).astype(np.int64), fee, scale, whole)


def small_enough(problem: Problem, classes: Classes) -> bool:
    """Whether patterns are rewarded and the tables of pricing stay small."""
    goal = problem.objective
    rewarded = goal.weight_fragment > 0 or goal.weight_pair > 0
    finest = min(goal.fragment_cores, goal.pair_cores // 2)
    bands = classes.levels * classes.unit // max(finest, 1)
    return rewarded and classes.levels <= MOST_LEVELS and bands < MOST_BANDS


class Master:
    """The restricted master of one problem: columns so far, prices, bound."""

    def __init__(self, problem: Problem, classes: Classes) -> None:
        self.classes, self.gains = classes, gains_of(problem, classes)
        self.moves_left = problem.moves_left
        kinds = self.classes.kinds
        slots = kinds.need[:, 0] // problem.objective.fragment_cores
        self.slots = np.where(kinds.double, 2, 1) * slots
        self.bound = np.inf
        self.converged = False  # no pattern can improve the linear master
        self.price = np.zeros(len(slots))
        self.fee = 0.0
        count, bands = len(self.classes.machines), len(self.gains.worth)
        self.tables = tables(self.classes.levels, bands, len(slots))
        self.best = np.empty(count)  # written by pricing, as are:
        self.owner = np.empty(count * bands**2, np.int64)
        self.pattern = np.empty((count * bands**2, 2, self.classes.width), np.int16)
        shape = (0, 2, self.classes.width)
        self.columns = self._columns(np.empty(0, np.int64), np.empty(shape, np.int16))

    @property
    def ceiling(self) -> float:
        """The most that any plan can gain, in units of Gains."""
        return float(np.floor(self.bound + EXACT)) if self.gains.whole else self.bound

    def _columns(self, owner: Int64, pattern: Int16) -> Columns:
        kinds = len(self.classes.single)
        by_type = np.concatenate(
            [pattern[:, :, :kinds] + pattern[:, :, kinds : 2 * kinds], pattern[:, :, 2 * kinds :]],
            axis=2,
        ).astype(np.int64)
        change = (pattern[:, 0] - pattern[:, 1]).astype(np.int64)
        both = change[:, 2 * kinds :] @ self.classes.double
        single = self.classes.single
        before = self.classes.free[owner]
        after = before + both[:, None]
        after[:, 0] += change[:, :kinds] @ single
        after[:, 1] += change[:, kinds : 2 * kinds] @ single
        worth, level = self.gains.worth, self.gains.level
        gain = worth[level[after[:, 0]], level[after[:, 1]]]
        gain = gain - worth[level[before[:, 0]], level[before[:, 1]]]
        out = by_type[:, 0]
        return Columns(
            owner, pattern, gain - out @ self.gains.fee, out.sum(axis=1), by_type[:, 1] - out
        )

    def _fits(self, owner: Int64, pattern: Int16) -> NDArray[np.bool_]:
        """Whether memory and GPU suffice on both nodes (cores always do)."""
        classes = self.classes
        kinds, other = len(classes.single), classes.kinds.need[:, 1:]
        need = (pattern[:, 1] - pattern[:, 0]).astype(np.int64)
        both = need[:, 2 * kinds :] @ other[kinds:]
        fits = np.ones(len(owner), np.bool_)
        for node in (0, 1):
            own = need[:, node * kinds : (node + 1) * kinds] @ other[:kinds]
            fits &= (own + both <= classes.free_other[owner, node]).all(axis=1)
        return fits

    def add_patterns(self, price: Float64, fee: float, slack: float) -> int:
        """Prices patterns, lowers the bound, adds the new columns and says how many they are."""
        classes = self.classes
        fees = self.gains.fee + fee
        found = price_patterns(
            classes.free, classes.leave_single, classes.leave_double, classes.single,
            classes.double, price, fees, self.gains.worth, self.gains.level, slack, self.tables,
            self.best, self.owner, self.pattern,
        )  # fmt: skip
        best, owner, pattern = self.best, self.owner[:found], self.pattern[:found]
        bound = float(classes.machines @ best + fee * self.moves_left)
        if bound < self.bound:
            self.bound, self.price, self.fee = bound, price, fee
        keep = pattern.any(axis=(1, 2))
        if classes.scarce:
            keep &= self._fits(owner, pattern)
        known = len(self.columns.owner)
        owners = np.concatenate([self.columns.owner, owner[keep]])
        patterns = np.concatenate([self.columns.pattern, pattern[keep]])
        flat = patterns.reshape(len(owners), patterns.shape[1] * patterns.shape[2])
        rows = np.ascontiguousarray(np.concatenate([owners[:, None], flat], axis=1), np.int32)
        _, first = np.unique(rows.view(f"V{rows.shape[1] * 4}").reshape(-1), return_index=True)
        first.sort()
        if len(first) > known:
            self.columns = self._columns(owners[first], patterns[first])
        return len(first) - known

    def _rows(self, columns: Columns) -> tuple[csc_matrix, Float64]:
        kinds, count = columns.net.shape[1], len(columns.owner)
        column, kind = np.nonzero(columns.net)
        entry = np.arange(count)
        value = np.concatenate([-columns.net[column, kind], columns.moves, np.ones(count)])
        row = np.concatenate([kind, np.full(count, kinds), kinds + 1 + columns.owner])
        at = np.concatenate([column, entry, entry])
        shape = (kinds + 1 + len(self.classes.machines), count)
        limits = np.concatenate([np.zeros(kinds), [self.moves_left], self.classes.machines])
        return coo_matrix((value, (row, at)), shape).tocsc(), limits

    def relax(self, deadline: float) -> Float64:
        """Column generation to the linear optimum, or until the clock says stop.

        Returns:
            (K,) how often each column is used in the last linear master.
        """
        # Where memory or GPU refuse the best pattern, the next best must be there too.
        slack = SLACK if self.classes.scarce else 0.0
        for fee in FIRST_FEES + (MORE_FEES if self.classes.scarce else ()):
            self.add_patterns(np.maximum(self.slots - fee, 0.0), fee, slack)
        used = np.zeros(0)
        if not len(self.columns.owner):  # nothing that any machine could do is worth a move
            self.converged = True
            return used
        pull = 0.5  # how far the prices go from the best known ones towards the master's
        for _ in range(ROUNDS):
            matrix, limits = self._rows(self.columns)
            answer = linprog(
                -self.columns.gain,
                A_ub=matrix,
                b_ub=limits,
                method="highs-ds",
                options={"presolve": False},
            )
            used = answer.x
            self.converged = self.bound + answer.fun < EXACT
            if self.converged or time.perf_counter() > deadline:
                break
            dual = np.maximum(-answer.ineqlin.marginals[: len(self.price) + 1], 0.0)
            price = pull * dual[:-1] + (1 - pull) * self.price
            fee = pull * float(dual[-1]) + (1 - pull) * self.fee
            if self.add_patterns(price, fee, slack):
                pull = 0.5
            elif pull == 1.0:
                self.converged = True
                break
            else:
                pull = 1.0
        self.add_patterns(self.price, self.fee, SLACK)
        return np.concatenate([used, np.zeros(len(self.columns.owner) - len(used))])

    def choose(self, used: Float64, deadline: float) -> Choice:
        """The integer master over the columns so far.

        Where column generation was cut short, or no integer choice is found in time, ``used`` is
        rounded: some VMs may then find no place.
        """
        columns = self.columns
        value = columns.gain + columns.net @ self.price - self.fee * columns.moves
        best = np.zeros(len(self.classes.machines))
        np.maximum.at(best, columns.owner, value)
        short = best[columns.owner] - value
        ceiling = self.ceiling
        room = self.bound - ceiling + EXACT  # columns shorter than this cannot reach the ceiling
        times, gain = self._rounded(used), -np.inf
        for reach in (max(room, EXACT), np.inf):
            some = np.flatnonzero(short <= reach)
            found = self._integer(some, deadline)
            if found is not None and columns.gain[some] @ found > gain:
                times = np.zeros(len(columns.owner), np.int64)
                times[some] = found
                gain = float(columns.gain @ times)
            if gain >= ceiling - EXACT:
                break
        chosen = np.flatnonzero(times)
        return Choice(
            columns.owner[chosen], columns.pattern[chosen], times[chosen],
            float(columns.gain @ times), self.bound,
        )  # fmt: skip

    def _rounded(self, used: Float64) -> Int64:
        """Each column's use to the nearest whole number that its class has machines for."""
        times, machines = np.round(used).astype(np.int64), self.classes.machines.copy()
        for column in np.flatnonzero(times):
            owner = self.columns.owner[column]
            times[column] = min(times[column], machines[owner])
            machines[owner] -= times[column]
        return times

    def _integer(self, some: Int64, deadline: float) -> Int64 | None:
        left = deadline - time.perf_counter()
        if left <= 0 or not len(some) or not self.converged:
            return None
        columns = self.columns
        part = Columns(
            columns.owner[some], columns.pattern[some], columns.gain[some], columns.moves[some],
            columns.net[some],
        )  # fmt: skip
        matrix, limits = self._rows(part)
        # Of plans as good, the one with fewest moves is the easiest to make: a small fee a move,
        # and a gap that stops once no whole slot can be missing.
        fee = FEWER_MOVES / max(self.moves_left, 1) if self.gains.whole else 0.0
        gap = (1 - FEWER_MOVES - EXACT) / max(self.bound, 1.0) if self.gains.whole else 1e-6
        answer = milp(
            fee * part.moves - part.gain,
            constraints=LinearConstraint(matrix, -np.inf, limits),
            bounds=Bounds(0, np.inf),
            integrality=np.ones(len(some)),
            options={"time_limit": left, "mip_rel_gap": gap},
        )
        return None if answer.x is None else np.round(answer.x).astype(np.int64)
