"""``fleetgym bench expert-cache``: requests resolved, misses decided, resets, checkpoints.

An event is one requested expert resolved, hits included: a step runs the world on to its next miss.
Speeds are per second of CPU time on one core, observation and mask included, of DeepSeek-V2-Lite's
shape at medium locality. What LRU decides is recorded once; what is timed is the same steps played
again from the list, none of them a reset.
"""

from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from fleetgym.baselines.expert_cache.online import RulePolicy
from fleetgym.envs.core.view import View
from fleetgym.envs.core.workload import Workload
from fleetgym.envs.expert_cache import FAMILY
from fleetgym.envs.expert_cache.simulator import ExpertCacheSimulator
from fleetgym.envs.expert_cache.types import SUM_REQUESTS
from fleetgym.scripts.bench.figure import Figure, median_seconds

SCENARIO = "dsv2-lite"
CAPACITIES = (0.25, 0.5, 0.75)
DRAWN = 16  # workloads, over which the worlds are spread


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    repeats: int
    worlds: int
    share: float  # of an episode's steps


FULL, QUICK = Effort(5, 128, 0.8), Effort(1, 16, 0.1)


def measure(quick: bool = False) -> list[Figure]:
    """Every figure, a minute or two in all."""
    effort = QUICK if quick else FULL
    figures = [figure for share in CAPACITIES for figure in _faces(share, effort)]
    return [*figures, *_rollout(effort), *_machine(effort)]


def _start(simulator: ExpertCacheSimulator, source: Any) -> list[Workload]:
    """Resets every world; worlds share a few workloads."""
    drawn = [source.draw(seed) for seed in range(DRAWN)]
    workloads = [drawn[world % DRAWN] for world in range(simulator.num_worlds)]
    simulator.reset(workloads)
    return workloads


def _faces(capacity: float, effort: Effort) -> list[Figure]:
    """The vector face, without and with copies of the observation."""
    figures = []
    for copy in (False, True):
        env: Any = gymnasium.make_vec(
            FAMILY.id,
            num_envs=effort.worlds,
            vectorization_mode="vector_entry_point",
            scenario=SCENARIO,
            capacity=capacity,
            copy=copy,
        ).unwrapped
        events, steps, seconds = _play(env, effort)
        name = f"{capacity:.0%} of experts, vector face, {effort.worlds} worlds, copy={copy}"
        figures.append(Figure(f"{name}: events", events / seconds, "events/s"))
        figures.append(Figure(f"{name}: steps", steps / seconds, "steps/s"))
    return figures


def _play(env: Any, effort: Effort) -> tuple[int, int, float]:
    """Requests resolved and steps made by the recorded actions, and CPU seconds to play them."""
    simulator, source = env.simulator, env._face.source
    env.reset(seed=0)
    workloads = _start(simulator, source)
    actions = _record(env, simulator, effort.share)
    saved = [simulator._template(workload) for workload in workloads[:DRAWN]]
    began = sum(int(one.scalars[0, SUM_REQUESTS]) for one in saved) * effort.worlds // DRAWN
    events = int(simulator.state().scalars[:, SUM_REQUESTS].sum()) - began

    def play() -> None:
        for one in actions:
            env.step(one)

    def restart() -> None:
        simulator.reset(workloads)

    seconds = _played(play, restart, effort.repeats)
    return events, len(actions) * effort.worlds, seconds


def _played(play: Any, restart: Any, repeats: int) -> float:
    """The median CPU seconds of playing; restarting is not counted."""

    def both() -> None:
        restart()
        play()

    return median_seconds(both, repeats) - median_seconds(restart, repeats)


def _record(env: Any, simulator: ExpertCacheSimulator, share: float) -> list[NDArray[np.int64]]:
    """What LRU decides, until a world has gone through so much of its episode."""
    policy, view, actions = RulePolicy("lru"), View(simulator), []
    policy.reset(view, np.arange(simulator.num_worlds))
    progress = simulator.observation()["cache"]["progress"]
    while progress[:, 0, 4].max() < share:
        actions.append(policy.act(view))
        env.step(actions[-1])
    return actions


def _rollout(effort: Effort) -> list[Figure]:
    """Whole episodes of a rule inside the batch."""
    scenario = FAMILY.scenario(SCENARIO)
    source = FAMILY.workloads(scenario)
    simulator: Any = FAMILY.simulate(scenario, source, DRAWN)
    workloads = _start(simulator, source)
    before = int(simulator.state().scalars[:, SUM_REQUESTS].sum())
    policy = RulePolicy("lru")

    def play() -> None:
        simulator.rollout(policy.kernel, policy.parameters, 100_000)

    play()
    events = int(simulator.state().scalars[:, SUM_REQUESTS].sum()) - before
    seconds = _played(play, lambda: simulator.reset(workloads), effort.repeats)
    return [Figure("25% of experts, rollout of LRU: events", events / seconds, "events/s")]


def _machine(effort: Effort) -> list[Figure]:
    """Drawing a workload, resets, digests, checkpoints."""
    scenario = FAMILY.scenario(SCENARIO)
    source = FAMILY.workloads(scenario)
    simulator: Any = FAMILY.simulate(scenario, source, DRAWN)
    workloads = _start(simulator, source)
    saved = simulator.save(0)

    def draw() -> None:
        fresh = FAMILY.workloads(scenario)
        for seed in range(DRAWN):
            fresh.draw(seed)

    def each(work: Any) -> float:
        return median_seconds(work, effort.repeats) / DRAWN * 1e6

    def restore() -> None:
        for world in range(DRAWN):
            simulator.restore(world, saved)

    return [
        Figure("drawing a workload", each(draw), "us"),
        Figure(
            "reset to a prepared workload", each(lambda: simulator.reset(workloads)), "us/world"
        ),
        Figure("digest", each(simulator.digest), "us/world"),
        Figure("restore", each(restore), "us/world"),
        Figure("memory of a world", len(saved) / 2**20, "MiB"),
    ]
