"""``fleetgym bench expert-placement``: windows, edits, plans, resets.

Speeds are of CPU time on one core. Edits are random legal ones of the vector face, three steps
each, masks, observations and windows included; they are drawn once, and what is timed is the same
episodes played again. Plans are for 58 x 256 experts on 288 slots of 32 GPUs.
"""

from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from fleetgym.baselines.expert_placement import planners, robust
from fleetgym.baselines.expert_placement.eplb import rebalance_experts
from fleetgym.baselines.expert_placement.situation import Situation
from fleetgym.envs.expert_placement import FAMILY
from fleetgym.envs.expert_placement.layout import first_plan, rules_of, scratch_of
from fleetgym.envs.expert_placement.packing import SWAPS, pack
from fleetgym.envs.expert_placement.scenario import ExpertPlacementScenario
from fleetgym.envs.expert_placement.serving import count_all, window_ns
from fleetgym.envs.expert_placement.workloads import ExpertWorkload
from fleetgym.scripts.bench.figure import Figure, median_seconds

WORLDS = 256
WINDOW_EDITS = 32
EPLB, HIERARCHICAL_S, GLOBAL_S = "DeepSeek EPLB", 0.43, 1.05
EVOLVED, EVOLVED_MS = "evolved EPLB programs", 8.0  # the fastest; several of them are not valid
SEED = 0


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    repeats: int
    steps: int


FULL, QUICK = Effort(7, 300), Effort(1, 30)


def measure(quick: bool = False) -> list[Figure]:
    """Every figure, a minute or less in all."""
    effort = QUICK if quick else FULL
    scenario = FAMILY.scenario("ep32")
    assert isinstance(scenario, ExpertPlacementScenario)
    situation = _situation(scenario)
    return [
        *_windows(situation, effort),
        *_edits(effort),
        *_plans(situation, effort),
        *_resets(effort),
    ]


def _situation(scenario: ExpertPlacementScenario) -> Situation:
    workload = FAMILY.workloads(scenario).draw(SEED)
    assert isinstance(workload, ExpertWorkload)
    seen = scenario.history
    return Situation(
        history=np.ascontiguousarray(workload.loads[:seen][::-1]),
        plan=first_plan(scenario, workload.loads[seen - 1]),
        left=scenario.windows,
        scenario=scenario,
        rules=rules_of(scenario),
        room=scratch_of(scenario),
    )


def _windows(situation: Situation, effort: Effort) -> list[Figure]:
    """From loads to the time of a window."""
    plan, load, room = situation.plan, situation.history[0], situation.room
    replicas = np.empty(load.shape, np.int32)
    count_all(plan, replicas)
    variants = {
        "": situation.rules,
        ", one node": situation.rules._replace(nodes=1, far=0.0, dedup=0.0),
        ", LP dispatch": situation.rules._replace(lp_dispatch=True),
    }
    figures, calls = [], 20 * effort.repeats
    for name, rules in variants.items():

        def evaluate(rules: Any = rules) -> None:
            for _ in range(calls):
                window_ns(plan, replicas, load, rules, room)

        seconds = median_seconds(evaluate, effort.repeats) / calls
        figures.append(Figure(f"58 x 256 window evaluation{name}", seconds * 1e6, "us"))
    return figures


def _vector_env(scenario: str, **fields: Any) -> Any:
    return gymnasium.make_vec(
        FAMILY.id,
        num_envs=WORLDS,
        vectorization_mode="vector_entry_point",
        scenario=scenario,
        copy=False,
        **fields,
    )


def _edits(effort: Effort) -> list[Figure]:
    """Edits of 256 worlds, ``WINDOW_EDITS`` of them in a window in the mean."""
    figures = []
    for scenario in ("small", "ep32-small"):
        env = _vector_env(scenario)
        actions, edits = _record(env, effort.steps)

        def play(env: Any = env, actions: Any = actions) -> None:
            env.reset(seed=SEED)
            for one in actions:
                env.step(one)

        def start(env: Any = env) -> None:
            env.reset(seed=SEED)

        seconds = median_seconds(play, effort.repeats) - median_seconds(start, effort.repeats)
        name = f"{scenario}, vector face, {WORLDS} worlds, {WINDOW_EDITS} edits a window"
        steps = effort.steps * WORLDS
        figures += [
            Figure(f"{name}: edits", edits / seconds, "edits/s"),
            Figure(f"{name}: steps", steps / seconds, "steps/s"),
        ]
    return figures


def _record(env: Any, steps: int) -> tuple[list[NDArray[np.int64]], int]:
    """Random legal actions of a vector environment, and how many edits they make."""
    rng, drawn, edits = np.random.default_rng(SEED), [], 0
    observation, _ = env.reset(seed=SEED)
    layers = env.unwrapped.scenario.layers
    state = env.unwrapped.simulator.state()
    for _ in range(steps):
        mask = observation["action_mask"]
        actions = np.argmax(rng.random(mask.shape) * mask, axis=1)
        first = state.layer < 0
        again = first & (actions == layers)
        actions[again] = np.argmax(mask[again], axis=1)
        actions[first & (rng.random(WORLDS) < 1 / WINDOW_EDITS)] = layers
        edits += int((~first & (observation["chosen"][:, 1] >= 0)).sum())
        drawn.append(actions)
        observation = env.step(actions)[0]
    return drawn, edits


def _plans(situation: Situation, effort: Effort) -> list[Figure]:
    """Planning a window."""
    loads, room = situation.history[0].astype(np.float64), situation.room
    plan = np.empty_like(situation.plan)
    sizes = (situation.scenario.slots, 8, 4, 32)

    def timed(name: str, work: Any, peer: str = "", value: float | None = None) -> Figure:
        return Figure(name, median_seconds(work, effort.repeats) * 1e3, "ms", peer, value)

    return [
        timed("plan: LPT and swaps", lambda: pack(loads, plan, SWAPS, room), EVOLVED, EVOLVED_MS),
        timed("plan: LPT", lambda: pack(loads, plan, 0, room), EVOLVED, EVOLVED_MS),
        timed(
            "plan: EPLB, hierarchical",
            lambda: rebalance_experts(loads, *sizes),
            EPLB,
            1e3 * HIERARCHICAL_S,
        ),
        timed(
            "plan: EPLB, global",
            lambda: rebalance_experts(loads, sizes[0], 1, 1, 32),
            EPLB,
            1e3 * GLOBAL_S,
        ),
        timed("plan: LPT, relabelled", lambda: planners.lpt_global(situation)),
        timed("plan: robust search", lambda: robust.plan(situation, 10.0)),
    ]


def _resets(effort: Effort) -> list[Figure]:
    """Starting episodes whose workloads have been met before."""
    env = _vector_env("ep32-small")
    env.reset(seed=SEED)
    simulator = env.unwrapped.simulator
    workloads = [simulator.workloads[0]] * WORLDS
    seconds = median_seconds(lambda: simulator.reset(workloads), effort.repeats)
    return [Figure("ep32-small: reset to a cached workload", seconds / WORLDS * 1e6, "us/world")]
