"""Plans of an expert, made in parallel and kept: what imitation learns from."""

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fleetgym.agents.config import Course, Imitation
from fleetgym.baselines.vm_rescheduling import PLANNERS
from fleetgym.baselines.vm_rescheduling.planning import problem_of
from fleetgym.envs.core.registration import family_of
from fleetgym.envs.core.view import View
from fleetgym.envs.vm_rescheduling.simulator import AGENT, VMReschedulingSimulator


class Plan(NamedTuple):
    """What the expert would do with one workload."""

    moves: NDArray[np.int32]  # (K, 2) VM (the simulator's index) and target slot, in order
    goal: float  # objective in the end


@dataclass(frozen=True)
class _Task:
    id: str
    scenario: str
    overrides: tuple[tuple[str, object], ...]
    expert: str
    seconds: float
    seeds: tuple[int, ...]


def _plans(task: _Task) -> list[Plan]:
    family = family_of(task.id)
    scenario = family.scenario(task.scenario, dict(task.overrides))
    source = family.workloads(scenario)
    simulator = family.simulate(scenario, source, 1)
    assert isinstance(simulator, VMReschedulingSimulator)
    view = View(simulator)
    plans = []
    for seed in task.seeds:
        simulator.reset([source.draw(seed)])
        problem, vms = problem_of(view, 0)
        moves = PLANNERS[task.expert](problem, task.seconds, seed)
        for vm, slot in moves:
            simulator.step({AGENT: np.array([[vms[vm]]])})
            simulator.step({AGENT: np.array([[simulator.sizes.vms + 1 + slot]])})
        planned = np.column_stack((vms[moves[:, 0]], moves[:, 1])).astype(np.int32)
        plans.append(Plan(planned, float(simulator.objective()[0])))
    return plans


def expert_plans(
    id: str,
    imitation: Imitation,
    course: Course,
    first_seed: int,
    path: Path,
    progress: Callable[[int], None],
) -> list[Plan]:
    """The expert's plans for ``course.plans`` workloads from ``first_seed`` on.

    Args:
        id: environment.
        imitation: names the expert.
        course: the workloads.
        first_seed: workload seed of the first plan.
        path: .npz where they are kept; plans found there are not made again.
        progress: called with the number of plans made.
    """
    if path.exists():
        with np.load(path, allow_pickle=False) as file:
            if int(file["first_seed"]) == first_seed and len(file["ends"]) == course.plans:
                moves = np.split(file["moves"], file["ends"][:-1])
                return [Plan(*pair) for pair in zip(moves, file["goals"].tolist(), strict=True)]
    chunk = 16
    tasks = [
        _Task(
            id,
            course.scenario,
            tuple(course.overrides.items()),
            imitation.expert,
            imitation.expert_seconds,
            tuple(range(first_seed + at, first_seed + min(at + chunk, course.plans))),
        )
        for at in range(0, course.plans, chunk)
    ]
    plans: list[Plan] = []
    workers = os.cpu_count() or 1
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for made in pool.map(_plans, tasks):
            plans += made
            progress(len(plans))
    part = path.with_suffix(".part.npz")
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        part,
        moves=np.concatenate([plan.moves for plan in plans]),
        ends=np.cumsum([len(plan.moves) for plan in plans]),
        goals=np.array([plan.goal for plan in plans]),
        first_seed=first_seed,
    )
    part.replace(path)
    return plans
