"""``fleetgym bench request-preemption``: request-steps, decisions, a long trace, memory, start-up.

A request-step is a request in the batch of one iteration. Speeds are per second of CPU time on one
core. Rollouts play vLLM's first-come-first-served rule inside the batch; the faces play the same
episodes from a list of its actions, observation, mask and resets included.
"""

import time
from dataclasses import dataclass
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from fleetgym.baselines.request_preemption import RULES
from fleetgym.baselines.request_preemption.kernel_policy import KernelPolicy
from fleetgym.envs.core.view import View
from fleetgym.envs.request_preemption import FAMILY
from fleetgym.envs.request_preemption.scenario import RequestPreemptionScenario
from fleetgym.envs.request_preemption.simulator import (
    MACHINE,
    SCHEDULER,
    RequestPreemptionSimulator,
)
from fleetgym.scripts.bench.figure import Figure, cpu_seconds, fresh_process, median_seconds

WORLDS = 64
SEED = 0
RULE = "vllm-v1-fcfs"
VIDUR, VIDUR_STEPS = "Vidur", 150_000.0  # request-steps/s, on one core
SCHED_SIM, SCHED_SIM_STEPS = "sched-sim", 550_000.0
A100_BLOCKS = 29_205  # of Llama-3-8B, at 0.9 of 80 GiB
KEEPS_UP: dict[str, Any] = {  # a whole A100 that azure-conv-like arrivals load but do not overrun
    "kv_blocks": A100_BLOCKS,
    "slots": 512,
    "arrival_scale": 1.2,
    "horizon_s": 999_999.0,
    "max_steps": 2**31 - 1,
}


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    repeats: int
    vector_steps: int
    long_trace: int  # requests
    compile_anew: bool


FULL, QUICK = Effort(3, 1_500, 1_000_000, True), Effort(1, 60, 2_000, False)


def measure(quick: bool = False) -> list[Figure]:
    """Every figure; some minutes in all, most of them for the long trace and compiling."""
    effort = QUICK if quick else FULL
    return [
        *_rollout(effort),
        *_vector(effort),
        *_long_trace(effort),
        *_memory(effort),
        *_start(effort),
    ]


def _simulator(scenario: str, worlds: int, **fields: Any) -> RequestPreemptionSimulator:
    """A simulator whose worlds are reset to workloads of their own."""
    resolved = FAMILY.scenario(scenario, fields)
    source = FAMILY.workloads(resolved)
    simulator = FAMILY.simulate(resolved, source, worlds)
    assert isinstance(simulator, RequestPreemptionSimulator)
    simulator.reset([source.draw(SEED + world) for world in range(worlds)])
    return simulator


def _first_come(simulator: RequestPreemptionSimulator) -> KernelPolicy:
    """The rule, ready for a rollout from the start."""
    rule, own, _ = RULES[RULE]
    policy = KernelPolicy(RULE, rule, own)
    policy.reset(View(simulator), np.arange(simulator.num_worlds))
    return policy


def _play(simulator: RequestPreemptionSimulator, policy: KernelPolicy) -> int:
    """Plays every world to its end; the number of actions."""
    scenario = simulator.scenario
    _, counts = simulator.rollout(
        policy.kernel,
        scenario.max_steps,
        parameters=policy.parameters,
        memory=policy.memory,
        keep=1,
    )
    return int(counts.sum())


def _rollout(effort: Effort) -> list[Figure]:
    """Episodes of the chat scenario, and of a whole GPU, in one call."""
    figures = []
    for name, fields in (("chat", {}), ("chat on a whole A100", KEEPS_UP)):
        simulator = _simulator("chat", WORLDS, **fields)
        workloads = [workload for workload in simulator.workloads if workload is not None]
        policy, times, actions = _first_come(simulator), [], 0
        for _ in range(1 + effort.repeats):
            simulator.reset(workloads)
            policy.memory[:] = 0.0
            began = time.process_time()
            actions = _play(simulator, policy)
            times.append(time.process_time() - began)
        seconds = float(np.median(times[1:]))
        metrics = simulator.metrics()
        steps = float((metrics["batch_mean"] * metrics["iterations"]).sum()) / seconds
        figures += [
            Figure(f"{name}, rollout: request-steps", steps, "/s", VIDUR, VIDUR_STEPS),
            Figure(f"{name}, rollout: request-steps", steps, "/s", SCHED_SIM, SCHED_SIM_STEPS),
            Figure(f"{name}, rollout: actions", actions / seconds, "/s"),
            Figure(f"{name}, rollout: mean batch", float(metrics["batch_mean"].mean()), "requests"),
        ]
    return figures


def _vector_env(copy: bool) -> Any:
    return gymnasium.make_vec(
        FAMILY.id,
        num_envs=WORLDS,
        vectorization_mode="vector_entry_point",
        scenario="chat",
        copy=copy,
    )


def _record(env: Any, steps: int) -> tuple[list[NDArray[np.int64]], float]:
    """The rule's actions in the vector face, and how many decisions they made."""
    env.reset(seed=SEED)
    simulator = env.unwrapped.simulator
    view, policy = View(simulator), _first_come(simulator)
    recorded, decisions = [], 0.0
    for _ in range(steps):
        decisions += float(simulator.decision_starts().sum())
        recorded.append(policy.act(view)[SCHEDULER][:, 0].copy())
        env.step(recorded[-1])
    return recorded, decisions


def _vector(effort: Effort) -> list[Figure]:
    """The vector face."""
    figures = []
    actions, decisions = _record(_vector_env(copy=False), effort.vector_steps)
    for copy in (False, True):
        env = _vector_env(copy)

        def play(env: Any = env) -> None:
            env.reset(seed=SEED)
            for one in actions:
                env.step(one)

        seconds = median_seconds(play, effort.repeats)
        name = f"chat, vector face, {WORLDS} worlds, copy={copy}"
        figures += [
            Figure(f"{name}: steps", WORLDS * len(actions) / seconds, "steps/s"),
            Figure(f"{name}: decisions", decisions / seconds, "decisions/s"),
        ]
    return figures


def _long_trace(effort: Effort) -> list[Figure]:
    """One instance serves a long trace from its first to its last request."""
    seconds = 0.0
    for count in (1_000, effort.long_trace):  # one world is compiled apart from many
        simulator = _simulator("chat", 1, requests=count, **KEEPS_UP)
        policy = _first_come(simulator)
        seconds = cpu_seconds(partial(_play, simulator, policy))
    metrics = simulator.metrics()
    name = f"{effort.long_trace:,} requests, one instance"
    steps = float(metrics["batch_mean"][0] * metrics["iterations"][0])
    return [
        Figure(f"{name}: rollout", seconds, "s"),
        Figure(f"{name}: request-steps", steps / seconds, "/s", VIDUR, VIDUR_STEPS),
        Figure(f"{name}: mean batch", float(metrics["batch_mean"][0]), "requests"),
        Figure(f"{name}: TTFT p99 in the simulation", float(metrics["ttft_p99_s"][0]), "s"),
    ]


def _bytes(simulator: RequestPreemptionSimulator) -> tuple[int, int]:
    """Bytes of a world's workload without hashes, and of its state."""
    world = simulator.world
    state = sum(getattr(world, name)[0].nbytes for name in MACHINE)
    return world.times[0].nbytes + world.rows[0].nbytes, state


def _memory(effort: Effort) -> list[Figure]:
    """Bytes of workload and state, and the time of a reset."""
    short, long = (_simulator("chat", 1, requests=n) for n in (1_000, 100_000))
    (_, small), (workload, large) = _bytes(short), _bytes(long)
    simulator = _simulator("chat", WORLDS)
    workloads = [workload for workload in simulator.workloads if workload is not None]
    reset = median_seconds(lambda: simulator.reset(workloads), effort.repeats)
    scenario = simulator.scenario
    assert isinstance(scenario, RequestPreemptionScenario)
    return [
        Figure("workload of a request, without hashes", workload / 100_000, "bytes"),
        Figure(f"state of a world of {scenario.slots} slots", small / 1024, "KiB"),
        Figure("state at 100,000 requests / at 1,000", large / small, "ratio"),
        Figure("reset to a cached workload", reset / WORLDS * 1e6, "us/world"),
    ]


_TIMED = "import time; began = time.perf_counter(); {work}; print(time.perf_counter() - began)"
_FIRST_STEP = (
    f"import gymnasium, fleetgym; env = gymnasium.make('{FAMILY.id}', scenario='chat'); "
    "env.reset(seed=0); env.step(env.unwrapped.action_masks().argmax())"
)
_NEW_CACHE = (
    "import os, tempfile; kept = tempfile.TemporaryDirectory(); "
    "os.environ['NUMBA_CACHE_DIR'] = kept.name; "
)


def _start(effort: Effort) -> list[Figure]:
    """Wall-clock time of a new process up to the first step: compiled before, or not."""
    later = fresh_process(_TIMED.format(work=_FIRST_STEP), 1 + effort.repeats)
    figures = [Figure("first step in a later process, import included", later, "s")]
    if effort.compile_anew:
        first = fresh_process(_NEW_CACHE + _TIMED.format(work=_FIRST_STEP), 1)
        figures.append(Figure("first step where nothing is compiled yet", first, "s"))
    return figures
