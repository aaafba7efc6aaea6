"""From counts to moves: an order in which every move is legal when it is made.

A place whose leavers have all gone can take everything it still awaits, in any order: such moves
are made first. Where none is left, one is made that fits for now, and may have been a mistake:
hence several tries. Where nothing fits (VMs wait for each other's room in a cycle) one VM of the
cycle stops over on a slot that awaits nobody, if a move can be spared.
"""

from typing import NamedTuple

import numpy as np

from fleetgym.baselines.vm_rescheduling.board import Board
from fleetgym.baselines.vm_rescheduling.grouped_kinds import GroupedKinds
from fleetgym.baselines.vm_rescheduling.placement import Bool, Int64
from fleetgym.baselines.vm_rescheduling.problem import NO_MOVES, Moves, Problem

TRIES = 8  # random orders, after the first


class Ordered(NamedTuple):
    """Moves, and where the plan got stuck."""

    moves: Moves  # legal in this order
    stuck: Bool  # (S,) slots that still await VMs


def order(problem: Problem, kinds: GroupedKinds, change: Int64, seed: int) -> Ordered:
    """Orders a plan; of several tries the one that leaves the fewest VMs waiting.

    Args:
        problem: before the first move.
        kinds: of its VMs.
        change: (C, 3) kind, place, VMs gained there (negative: lost); each kind's sum is 0.
        seed: of the tries.
    """
    rng = np.random.default_rng(seed)
    best: _Orderer | None = None
    for attempt in range(1 + TRIES):
        orderer = _Orderer(problem, kinds, change, rng if attempt else None)
        orderer.run()
        if best is None or orderer.waiting() < best.waiting():
            best = orderer
        if not best.waiting():
            break
    assert best is not None
    moves = np.array(best.moves, np.int32).reshape(-1, 2) if best.moves else NO_MOVES
    return Ordered(moves, best.stuck())


class _Orderer:
    """One try: makes moves on a board while any can be made."""

    def __init__(
        self, problem: Problem, kinds: GroupedKinds, change: Int64, rng: np.random.Generator | None
    ) -> None:
        self.board = Board(problem)
        self.rng = rng
        self.kinds = kinds
        self.moves: list[tuple[int, int]] = []
        self.arrivals: dict[tuple[int, int], int] = {}  # (kind, place): VMs awaited
        self.leavers: dict[int, list[int]] = {}  # kind: VMs that must leave their place
        for kind, place, gain in change.tolist():
            if gain > 0:
                self.arrivals[kind, place] = gain
            elif gain < 0:
                here = problem.vm_movable & (problem.vm_slot == place) & (kinds.of_vm == kind)
                self.leavers.setdefault(kind, []).extend(np.flatnonzero(here)[:-gain].tolist())

    def waiting(self) -> int:
        """VMs still awaited."""
        return sum(self.arrivals.values())

    def stuck(self) -> Bool:
        """(S,) slots that still await VMs."""
        slots = np.zeros(len(self.board.free), np.bool_)
        for kind, place in self.arrivals:
            slots[place : place + 1 + int(self.kinds.double[kind])] = True
        return slots

    def run(self) -> None:
        """Makes moves until the plan is done, stuck, or out of moves."""
        while self.arrivals and self.board.moves_left:
            if not (self._safe_move() or self._some_move() or self._stop_over()):
                return

    def _pms_left(self) -> set[int]:
        """Machines that VMs must still leave."""
        slot = self.board.slot
        return {int(slot[vm]) // 2 for vms in self.leavers.values() for vm in vms}

    def _make(self, vm: int, place: int) -> None:
        kind = int(self.kinds.of_vm[vm])
        self.board.move(vm, place)
        self.moves.append((vm, place))
        self.leavers[kind].remove(vm)
        self.arrivals[kind, place] -= 1
        if not self.arrivals[kind, place]:
            del self.arrivals[kind, place]

    def _movers(self) -> list[tuple[int, int]]:
        """Awaited VMs that can come now: (kind, place)."""
        return [
            (kind, place)
            for kind, place in self.arrivals
            if any(self.board.legal(vm, place) for vm in self.leavers[kind])
        ]

    def _safe_move(self) -> bool:
        """A move to a machine that no VM must leave any more: it can never be a mistake."""
        left = self._pms_left()
        for kind, place in self._movers():
            if place // 2 not in left:
                self._come(kind, place)
                return True
        return False

    def _some_move(self) -> bool:
        movers = self._movers()
        if not movers:
            return False
        pick = int(self.rng.integers(len(movers))) if self.rng else 0
        self._come(*movers[pick])
        return True

    def _come(self, kind: int, place: int) -> None:
        """Of the leavers of the kind, that comes whose machine awaits most VMs."""
        awaited: dict[int, int] = {}
        for (_, other), number in self.arrivals.items():
            awaited[other // 2] = awaited.get(other // 2, 0) + number
        able = [vm for vm in self.leavers[kind] if self.board.legal(vm, place)]
        self._make(max(able, key=lambda vm: awaited.get(int(self.board.slot[vm]) // 2, 0)), place)

    def _stop_over(self) -> bool:
        """Moves a leaver aside so that an awaited VM can come."""
        if self.board.moves_left <= self.waiting():
            return False
        awaiting = {place // 2 for _, place in self.arrivals}
        leavers = [vm for vms in self.leavers.values() for vm in vms]
        leavers.sort(key=lambda vm: int(self.board.need[vm, 0]))
        for helpful in (True, False):
            for vm in leavers:
                home = int(self.board.slot[vm])
                if home // 2 not in awaiting:
                    continue
                for aside in range(len(self.board.free)):
                    if aside // 2 in awaiting or not self.board.legal(vm, aside):
                        continue
                    self.board.move(vm, aside)
                    if not helpful or self._movers():
                        self.moves.append((vm, aside))
                        return True
                    self.board.move(vm, home)
                    self.board.moves_left += 2
                    break  # another slot aside frees the same room
        return False
