"""``fleetgym bench vm-rescheduling``: steps, resets, memory, start-up, digests, checkpoints.

Speeds are steps per second of CPU time on one core, observation, mask and resets included, of
random legal actions on the real Medium where it is here, else on a matched fleet of its size. The
actions are drawn once; what is timed is the same episodes played again from the list. A migration
is two steps (VM, then target), one step of the peer.
"""

import time
import tracemalloc
from dataclasses import dataclass
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from fleetgym.envs.vm_rescheduling import FAMILY, kernels
from fleetgym.envs.vm_rescheduling.simulator import VMReschedulingSimulator
from fleetgym.scripts.bench.figure import Figure, fresh_process, median_seconds
from fleetgym.traces import catalog
from fleetgym.traces.errors import TraceError

WORLDS = 256
LARGE_WORLDS = 32
MNL = 50  # everywhere, so that resets are as frequent
PEER, PEER_STEPS, PEER_RESET_US = "VMR2L", 633.0, 33_000.0  # 386 to 633 steps/s with reset, mask
SEED = 0


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    repeats: int
    single_steps: int
    vector_steps: int


FULL, QUICK = Effort(5, 4_000, 200), Effort(1, 200, 5)


def measure(quick: bool = False) -> list[Figure]:
    """Every figure, a minute or two in all."""
    effort = QUICK if quick else FULL
    data = _workload("medium")
    return [
        *_single(data, effort),
        *_vector(data, effort),
        _ratio(effort),
        *_machine(data, effort),
        *_start(effort),
    ]


def _workload(scenario: str) -> str:
    """The real trace of this size where it is here, else the matched generator."""
    real = f"bytedance-{scenario}"
    try:
        catalog.find(real)
    except TraceError:
        return "matched"
    return real


def _vector_env(scenario: str, workload: str, worlds: int, copy: bool) -> Any:
    return gymnasium.make_vec(
        FAMILY.id,
        num_envs=worlds,
        vectorization_mode="vector_entry_point",
        scenario=scenario,
        workload=workload,
        copy=copy,
        mnl=MNL,
    )


def _draw(simulator: VMReschedulingSimulator, rng: np.random.Generator) -> NDArray[np.int64]:
    """A random legal action of each world."""
    actions = np.zeros((simulator.num_worlds, 2), np.int64)
    active = np.ones(simulator.num_worlds, np.bool_)
    random = rng.integers(2**64, dtype=np.uint64, size=simulator.num_worlds)
    kernels.sample_legal(simulator.world, active, random, actions)
    return actions[:, 0]


def _record(env: Any, steps: int) -> tuple[list[NDArray[np.int64]], float]:
    """The actions of ``steps`` steps of a vector environment, and CPU seconds to draw them."""
    rng, drawn, seconds = np.random.default_rng(SEED), [], 0.0
    env.reset(seed=SEED)
    for _ in range(steps):
        began = time.process_time()
        drawn.append(_draw(env.unwrapped.simulator, rng))
        seconds += time.process_time() - began
        env.step(drawn[-1])
    return drawn, seconds


def _seconds(env: Any, actions: list[NDArray[np.int64]], repeats: int) -> float:
    """CPU seconds to play recorded actions of a vector environment."""

    def play() -> None:
        env.reset(seed=SEED)
        for one in actions:
            env.step(one)

    return median_seconds(play, repeats)


def _migrations(simulator: VMReschedulingSimulator, actions: list[NDArray[np.int64]]) -> int:
    """How many of the actions are the second half of a migration."""
    return sum(int((one > simulator.sizes.vms).sum()) for one in actions)


def _script(env: Any, steps: int) -> tuple[list[int | None], float]:
    """What one world is told, None for a reset, and CPU seconds to draw the actions."""
    rng, seconds, over = np.random.default_rng(SEED), 0.0, True
    script: list[int | None] = []
    for _ in range(steps):
        if over:
            script.append(None)
            env.reset(seed=SEED)
        began = time.process_time()
        action = int(_draw(env.unwrapped.simulator, rng)[0])
        seconds += time.process_time() - began
        script.append(action)
        _, _, terminated, truncated, _ = env.step(action)
        over = terminated or truncated
    return script, seconds


def _act_out(env: Any, script: list[int | None]) -> None:
    for action in script:
        if action is None:
            env.reset(seed=SEED)
        else:
            env.step(action)


def _single(data: str, effort: Effort) -> list[Figure]:
    """The ``gymnasium.make`` face, one world."""
    figures = []
    sampling = 0.0
    for copy in (True, False):
        env: Any = gymnasium.make(
            FAMILY.id,
            scenario="medium",
            workload=data,
            copy=copy,
            mnl=MNL,
            disable_env_checker=True,
        )
        script, sampling = _script(env, effort.single_steps)
        seconds = median_seconds(partial(_act_out, env, script), effort.repeats)
        vms = env.unwrapped.simulator.sizes.vms
        moved = sum(action is not None and action > vms for action in script)
        name = f"{data}, single face, copy={copy}"
        figures += [
            Figure(f"{name}: steps", effort.single_steps / seconds, "steps/s"),
            Figure(f"{name}: migrations", moved / seconds, "migrations/s", PEER, PEER_STEPS),
        ]
    drawing = sampling / effort.single_steps * 1e6
    return [*figures, Figure("drawing a random legal action, single face", drawing, "us")]


def _vector(data: str, effort: Effort) -> list[Figure]:
    """The vector face at 256 worlds."""
    figures = []
    recorder = _vector_env("medium", data, WORLDS, copy=False)
    actions, sampling = _record(recorder, effort.vector_steps)
    steps = effort.vector_steps * WORLDS
    for copy in (False, True):
        env = _vector_env("medium", data, WORLDS, copy)
        seconds = _seconds(env, actions, effort.repeats)
        name = f"{data}, vector face, {WORLDS} worlds, copy={copy}"
        moved = _migrations(env.unwrapped.simulator, actions)
        figures += [
            Figure(f"{name}: steps", steps / seconds, "steps/s"),
            Figure(f"{name}: migrations", moved / seconds, "migrations/s", PEER, PEER_STEPS),
        ]
    figures.append(
        Figure(
            f"drawing a random legal action, vector face, {WORLDS} worlds",
            sampling / steps * 1e6,
            "us/world",
        )
    )
    return figures


def _ratio(effort: Effort) -> Figure:
    """By how much a step of the Large costs more than one of the Medium."""
    times = {}
    for scenario in ("medium", "large"):
        env = _vector_env(scenario, _workload(scenario), LARGE_WORLDS, copy=False)
        actions, _ = _record(env, effort.vector_steps)
        times[scenario] = _seconds(env, actions, effort.repeats)
    return Figure("Large / Medium, time of a step", times["large"] / times["medium"], "ratio")


def _machine(data: str, effort: Effort) -> list[Figure]:
    """The simulator itself: memory, resets, digests, checkpoints."""
    scenario = FAMILY.scenario("medium", {"workload": data})
    source = FAMILY.workloads(scenario)
    workloads = [source.draw(0)] * WORLDS
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    simulator = FAMILY.simulate(scenario, source, WORLDS)
    simulator.reset(workloads)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    saved = simulator.save(0)

    def restore() -> None:
        for world in range(WORLDS):
            simulator.restore(world, saved)

    def each(work: Any) -> float:
        return median_seconds(work, effort.repeats) / WORLDS * 1e6

    reset = each(lambda: simulator.reset(workloads))
    return [
        Figure("reset to a cached workload", reset, "us/world", PEER, PEER_RESET_US),
        Figure(f"memory of {WORLDS} Medium worlds", (after - before) / 2**20, "MiB"),
        Figure("digest", each(simulator.digest), "us/world"),
        Figure("save", each(lambda: [simulator.save(w) for w in range(WORLDS)]), "us/world"),
        Figure("restore", each(restore), "us/world"),
    ]


_TIMED = "import time; began = time.perf_counter(); {work}; print(time.perf_counter() - began)"
_FIRST_STEP = (
    f"import gymnasium, fleetgym; env = gymnasium.make('{FAMILY.id}', scenario='medium', "
    "workload='matched'); env.reset(seed=0); env.step(env.unwrapped.action_masks().argmax())"
)


def _start(effort: Effort) -> list[Figure]:
    """Wall-clock time of a new process: importing, and up to the first step."""
    imported = fresh_process(_TIMED.format(work="import fleetgym"), effort.repeats)
    stepped = fresh_process(_TIMED.format(work=_FIRST_STEP), 1 + effort.repeats)
    return [
        Figure("import fleetgym", imported, "s"),
        Figure("first step in a later process, import included", stepped, "s"),
    ]
