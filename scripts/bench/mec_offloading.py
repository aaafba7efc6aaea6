"""``fleetgym bench mec-offloading``: decisions by one environment and by many, resets, memory.

Speeds are decisions (the place of one task) per second of CPU time on one core, observation and
mask included, at 8 devices with 20 tasks each and 4 servers: every resource contended, or uplinks
only. What greedy EFT decides is recorded once; what is timed is the same episodes played again.
"""

from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from fleetgym.baselines.mec_offloading.simple import GreedyEFT
from fleetgym.envs.core.view import View
from fleetgym.envs.mec_offloading import FAMILY
from fleetgym.scripts.bench import rllib_sampling
from fleetgym.scripts.bench.figure import Figure, median_seconds

SCENARIO = "cluster"
DRAWN = 16  # workloads, over which the worlds are spread
# Wires, servers and memory so ample that nothing but the uplinks is waited for.
UPLINK_ONLY: dict[str, Any] = {
    "server_cores": 1_000,
    "server_mb": 1e6,
    "device_mb": 1e6,
    "wire_mbit_s": 1e6,
    "cloud_mbit_s": 1e6,
    "fading": False,
}
SETTINGS: dict[str, dict[str, Any]] = {"all contended": {}, "uplinks only": UPLINK_ONLY}


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    repeats: int
    worlds: int


FULL, QUICK = Effort(5, 64), Effort(1, 16)


def measure(quick: bool = False) -> list[Figure]:
    """Every figure, a minute or two in all."""
    effort = QUICK if quick else FULL
    figures = []
    for setting, fields in SETTINGS.items():
        figures += [_single(setting, fields, effort), *_vector(setting, fields, effort)]
    return [*figures, *_machine(effort), *rllib_sampling.measure(quick)]


def _single(setting: str, fields: dict[str, Any], effort: Effort) -> Figure:
    """The single face, played through `gymnasium.make` without its wrappers."""
    env: Any = gymnasium.make(FAMILY.id, scenario=SCENARIO, copy=False, **fields).unwrapped
    episodes = []
    for seed in range(DRAWN):
        env.reset(options={"workload_seed": seed})
        episodes.append([int(one[0, 0]) for one in _record(env, env.simulator)])

    def play() -> None:
        for seed, actions in enumerate(episodes):
            env.reset(options={"workload_seed": seed})
            for action in actions:
                env.step(action)

    def restart() -> None:
        for seed in range(DRAWN):
            env.reset(options={"workload_seed": seed})

    seconds = median_seconds(play, effort.repeats) - median_seconds(restart, effort.repeats)
    count = sum(len(actions) for actions in episodes)
    return Figure(f"{setting}, single face", count / seconds, "decisions/s")


def _vector(setting: str, fields: dict[str, Any], effort: Effort) -> list[Figure]:
    """The vector face, without and with copies of the observation."""
    figures = []
    for copy in (False, True):
        env: Any = gymnasium.make_vec(
            FAMILY.id,
            num_envs=effort.worlds,
            vectorization_mode="vector_entry_point",
            scenario=SCENARIO,
            copy=copy,
            **fields,
        ).unwrapped
        env.reset(seed=0)
        drawn = [env._face.source.draw(seed) for seed in range(DRAWN)]
        workloads = [drawn[world % DRAWN] for world in range(effort.worlds)]
        env.simulator.reset(workloads)
        actions = _record(env, env.simulator)
        peer = ("NumPy sketch without contention", 1.6e6) if not copy else ("", None)
        seconds = _played(env, workloads, actions, effort.repeats)
        name = f"{setting}, vector face, {effort.worlds} worlds, copy={copy}"
        speed = len(actions) * effort.worlds / seconds
        figures.append(Figure(name, speed, "decisions/s", *peer))
    return figures


def _played(
    env: Any, workloads: list[Any], actions: list[NDArray[np.int64]], repeats: int
) -> float:
    """The median CPU seconds of the recorded steps; restarting is not counted."""
    flat = [one[:, 0] for one in actions]

    def restart() -> None:
        env.simulator.reset(workloads)

    def play() -> None:
        restart()
        for action in flat:
            env.step(action)

    return median_seconds(play, repeats) - median_seconds(restart, repeats)


def _record(env: Any, simulator: Any) -> list[NDArray[np.int64]]:
    """What greedy EFT decides, until the first world is over; the last step is left out."""
    policy, view, actions = GreedyEFT(), View(simulator), []
    policy.reset(view, np.arange(simulator.num_worlds))
    while not simulator.over().any():
        actions.append(policy.act(view)["scheduler"])
        simulator.step({"scheduler": actions[-1]})
    return actions[:-1]


def _machine(effort: Effort) -> list[Figure]:
    """Drawing a workload, resets, checkpoints, memory."""
    scenario = FAMILY.scenario(SCENARIO)
    source = FAMILY.workloads(scenario)
    simulator: Any = FAMILY.simulate(scenario, source, DRAWN)
    workloads = [source.draw(seed) for seed in range(DRAWN)]
    simulator.reset(workloads)
    saved = simulator.save(0)

    def draw() -> None:
        fresh = FAMILY.workloads(scenario)
        for seed in range(DRAWN):
            fresh.draw(seed)

    def restore() -> None:
        for world in range(DRAWN):
            simulator.restore(world, saved)

    def each(work: Any) -> float:
        return median_seconds(work, effort.repeats) / DRAWN * 1e6

    return [
        Figure("drawing a workload", each(draw), "us"),
        Figure(
            "reset to a prepared workload", each(lambda: simulator.reset(workloads)), "us/world"
        ),
        Figure("restore", each(restore), "us/world"),
        Figure("memory of a world", len(saved) / 2**20, "MiB"),
    ]
