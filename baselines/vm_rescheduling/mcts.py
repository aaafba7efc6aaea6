"""Monte Carlo tree search over single migrations, anew at every decision.

UCT with progressive widening over moves ranked by the objective, rollouts by best single moves.
The world is deterministic where nobody comes or goes, so the best sequence met in any rollout is
kept and carried out, and as the first one is that of `greedy`, none is worse. Where somebody does,
what is left of it is checked against the present, which is all the search knows.
"""

import time
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fleetgym.baselines.vm_rescheduling import greedy
from fleetgym.baselines.vm_rescheduling.draws import UInt64, fresh_state
from fleetgym.baselines.vm_rescheduling.goal import goal_of, hosted_of
from fleetgym.baselines.vm_rescheduling.grouped_kinds import grouped_kinds_of
from fleetgym.baselines.vm_rescheduling.mcts_kernels import (
    NEAREST,
    Plan,
    Position,
    Tree,
    Trial,
    copy_position,
    legal,
    play,
    price_all,
    simulate,
)
from fleetgym.baselines.vm_rescheduling.placement import placement_of
from fleetgym.baselines.vm_rescheduling.planning import problem_of
from fleetgym.baselines.vm_rescheduling.problem import Problem
from fleetgym.envs.core.view import View
from fleetgym.envs.vm_rescheduling.scenario import VMReschedulingScenario
from fleetgym.envs.vm_rescheduling.types import State

NODES = 4_096  # of a tree; the search goes on without new ones when they are used up
CANDIDATES = 32  # of a node
SEARCHING = 0.98  # share of the budget: the rest is for what surrounds the search


class Search:
    """The tree search from one present."""

    def __init__(self, problem: Problem, state: UInt64) -> None:
        kinds = grouped_kinds_of(problem)
        self.kind_of = kinds.of_vm
        self.slot_of = problem.vm_slot.astype(np.int64)
        self.fixed = ~problem.vm_movable
        self.goal = goal_of(problem, kinds)
        x = self.goal.fragment_cores
        self.lure = self.goal.fragment / (8 * x)  # of a move at most half of what a slot is worth
        now = placement_of(problem, kinds)
        movable = np.zeros((len(kinds.need), len(now.free)), np.int64)
        free_to_go = problem.vm_movable
        np.add.at(movable, (kinds.of_vm[free_to_go], self.slot_of[free_to_go]), 1)
        costs = np.empty((3, *movable.shape))
        self.root = Position(now, hosted_of(problem), movable, kinds.group, costs)
        price_all(self.root, self.goal, self.lure)
        self.work = _copy(self.root)
        self.state = state
        self.tree = _empty_tree()
        self.iteration = 0.0  # seconds, the longest so far

    def improve(self, plan: list[tuple[int, int]], limit: int, until: float) -> None:
        """Replaces ``plan`` (VM, target slot) by the best sequence found until a time.

        Args:
            plan: what is left of the last one; its VMs are the problem's.
            limit: moves left.
            until: ``time.perf_counter()`` at which to answer.
        """
        best = self._played(plan, limit)
        trial = Trial(
            self.work,
            seen=np.empty((limit, 3), np.int32),
            path=np.empty(limit + 1, np.int64),
            moves=np.empty((CANDIDATES, 3), np.int32),
            worth=np.empty(CANDIDATES),
            near=np.empty((2, NEAREST), np.int64),
        )
        self._clear()
        while time.perf_counter() + self.iteration < until:
            began = time.perf_counter()
            simulate(self.tree, self.root, trial, self.goal, self.lure, best, self.state)
            took = time.perf_counter() - began
            self.iteration = max(0.9 * self.iteration, took)
        plan[:] = self._resolved(best)

    def advance(self, vm: int, slot: int) -> None:
        """Makes a move in the present."""
        play(self.root, self.kind_of[vm], self.slot_of[vm], slot, self.goal, self.lure)
        self.slot_of[vm] = slot

    def _played(self, plan: list[tuple[int, int]], limit: int) -> Plan:
        """The plan in the search's terms, without what has become illegal."""
        best = Plan(np.zeros((limit, 3), np.int32), np.zeros(1, np.int64), np.zeros(1))
        copy_position(self.root, self.work)
        slot_of, change, made = dict[int, int](), 0.0, 0
        for vm, target in plan[:limit]:
            move = (int(self.kind_of[vm]), slot_of.get(vm, int(self.slot_of[vm])), target)
            if legal(self.work, *move):
                change += play(self.work, *move, self.goal, self.lure)
                slot_of[vm] = target
                best.moves[made] = move
                made += 1
                if -change > best.gain[0]:
                    best.gain[0], best.length[0] = -change, made
        return best

    def _resolved(self, best: Plan) -> list[tuple[int, int]]:
        """The best prefix with VMs named in place of kinds."""
        slot_of = self.slot_of.copy()
        moves = []
        for kind, source, target in best.moves[: best.length[0]].tolist():
            found = (slot_of == source) & (self.kind_of == kind) & ~self.fixed
            vm = int(np.argmax(found))
            slot_of[vm] = target
            moves.append((vm, target))
        return moves

    def _clear(self) -> None:
        used = int(self.tree.size[0])
        self.tree.width[:used] = -1
        for array in (self.tree.tried, self.tree.visits, self.tree.total):
            array[:used] = 0
        self.tree.size[0] = 1


def _copy(position: Position) -> Position:
    now = position.now._replace(free=position.now.free.copy(), load=position.now.load.copy())
    hosted, movable = position.hosted.copy(), position.movable.copy()
    return Position(now, hosted, movable, position.group, position.costs.copy())


def _empty_tree() -> Tree:
    return Tree(
        children=np.full((NODES, CANDIDATES), -1, np.int32),
        moves=np.empty((NODES, CANDIDATES, 3), np.int32),
        width=np.full(NODES, -1, np.int32),
        tried=np.zeros(NODES, np.int32),
        visits=np.zeros(NODES, np.int64),
        total=np.zeros(NODES),
        size=np.ones(1, np.int64),
        span=np.zeros(2),
    )


@dataclass
class _Episode:
    """What is remembered of one world."""

    spent: float = 0.0  # seconds
    search: Search | None = None
    vms: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    plan: list[tuple[int, int]] = field(default_factory=list)  # VMs as the simulator counts them
    target: int = -1  # slot for the VM just chosen


class MCTS:
    """Searches at every decision, with an even share of what is left of an episode's budget.

    Args:
        seconds: budget of an episode.
        seed: of the rollouts.
    """

    name = "mcts"
    information: Literal["online", "clairvoyant"] = "online"

    def __init__(self, seconds: float, seed: int) -> None:
        self._seconds = SEARCHING * seconds
        self._draws = fresh_state(np.random.default_rng(seed))
        self._episodes: dict[int, _Episode] = {}

    def reset(self, view: View, worlds: NDArray[np.int64]) -> None:
        """Forgets the named worlds."""
        for world in worlds.tolist():
            self._episodes[world] = _Episode()

    def act(self, view: View) -> NDArray[np.int64]:
        """The first move of the best sequence found, STOP where none is better than nothing."""
        state, scenario = view.state(), view.scenario
        assert isinstance(state, State)
        assert isinstance(scenario, VMReschedulingScenario)
        mask = view.action_mask()["scheduler"][:, 0]
        stop = state.vm_pm.shape[1]
        pair = scenario.action == "pair"
        actions = np.full((view.num_worlds, 2 if pair else 1), stop)
        actions[:, 1:] = 0
        for world, episode in self._episodes.items():
            if not pair and state.chosen[world] >= 0:
                wanted = stop + 1 + episode.target
                actions[world] = wanted if mask[world, wanted] else np.argmax(mask[world])
                continue
            move = self._decide(view, state, world, episode)
            if move is not None:
                episode.target = move[1]
                actions[world] = move if pair else move[0]
        return actions if pair else actions[:, 0]

    def _decide(
        self, view: View, state: State, world: int, episode: _Episode
    ) -> tuple[int, int] | None:
        """The next move of a world, or None."""
        began = time.perf_counter()
        left = int(state.moves_left[world])
        if left < 1:
            return None
        search = self._search(view, state, world, episode)
        index = {int(vm): i for i, vm in enumerate(episode.vms)}
        plan = [(index[vm], slot) for vm, slot in episode.plan if vm in index]
        budget = self._seconds - episode.spent
        search.improve(plan, left, began + budget / left)
        if not plan:  # to stop is final: nothing is worth saving up for
            search.improve(plan, left, began + budget)
        episode.plan = [(int(episode.vms[vm]), slot) for vm, slot in plan]
        move = episode.plan.pop(0) if plan else None
        if move is not None:
            search.advance(*plan[0])
        episode.spent += time.perf_counter() - began
        return move

    def _search(self, view: View, state: State, world: int, episode: _Episode) -> Search:
        """The search of a world, begun anew where the world is not as expected."""
        vms = np.flatnonzero(state.vm_pm[world] >= 0)
        slots = 2 * state.vm_pm[world, vms] + state.vm_numa[world, vms]
        known = episode.search
        if (
            known is None
            or not np.array_equal(vms, episode.vms)
            or not np.array_equal(slots, known.slot_of)
        ):
            problem, episode.vms = problem_of(view, world)
            known = episode.search = Search(problem, self._draws)
            if not episode.plan:
                moves = greedy.plan(problem, 0.0, 0).tolist()
                episode.plan = [(int(episode.vms[vm]), slot) for vm, slot in moves]
        return known
