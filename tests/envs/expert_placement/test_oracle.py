"""The machine against its slow reference, step by step, on random small servers."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.oracles.expert_placement import OracleWorld, least_maximum, split

from fleetgym.envs.core.registration import family_of
from fleetgym.envs.core.status import DONE, ILLEGAL
from fleetgym.envs.expert_placement.scenario import declared_ns
from fleetgym.envs.expert_placement.simulator import ExpertPlacementSimulator
from fleetgym.envs.expert_placement.workloads import ExpertWorkload

WORLDS = 4
STEPS_EACH = 700  # legal ones, of each of the eight runs
FAMILY = family_of("expert-placement")


def random_scenario(rng, control, dispatch, migration):
    """Few GPUs, slots and experts, in every relation that is allowed."""
    # A split of least maximum is not the only one: what is sent between nodes may differ.
    nodes = int(rng.integers(1, 3)) if dispatch == "equal" else 1
    gpus = max(2, nodes * int(rng.integers(1, 4 // nodes + 1)))
    groups = int(rng.choice([1, 2, 4]))
    experts = groups * int(rng.integers(1, 4))
    experts = experts if experts >= 3 else 4 * groups
    slots = gpus * -(-(experts + int(rng.integers(0, 4))) // gpus)
    return FAMILY.scenario(
        "small",
        {
            "layers": int(rng.integers(1, 4)),
            "experts": experts,
            "slots": slots,
            "gpus": gpus,
            "nodes": nodes,
            "groups": groups,
            "group_picks": float(rng.choice([1.0, 2.0, 3.5])),
            "windows": 3,
            "history": int(rng.integers(1, 4)),
            "edits_per_layer": int(rng.integers(1, 5)),
            "tokens_per_iteration": 1_000,
            "iterations_per_window": 10,
            "floor_us": float(rng.choice([0.0, 100.0])),
            "expert_mb": float(rng.choice([0.5, 20.0])),
            "start": str(rng.choice(["planned", "linear"])),
            "control": control,
            "dispatch": dispatch,
            "migration": migration,
        },
    )


def random_loads(rng, scenario):
    """Skewed loads, some of them 0."""
    shape = (scenario.history + scenario.windows, scenario.layers, scenario.experts)
    loads = np.rint(rng.lognormal(0, 1.2, shape) * 1_000) * (rng.random(shape) < 0.9)
    loads[..., 0] += 1
    return loads.astype(np.int32)


class Pair:
    """The simulator and its references, taken through the same episode."""

    def __init__(self, seed, control, dispatch, migration):
        self.rng = rng = np.random.default_rng(seed)
        self.scenario = scenario = random_scenario(rng, control, dispatch, migration)
        capacity = {"layers": scenario.layers, "experts": scenario.experts}
        self.simulator = ExpertPlacementSimulator(scenario, capacity, WORLDS)
        (self.role,) = self.simulator.roles
        self.space = self.simulator.roles[self.role].observation_space
        loads = [random_loads(rng, scenario) for _ in range(WORLDS)]
        self.simulator.reset([ExpertWorkload("random", i, one) for i, one in enumerate(loads)])
        plans, edit = self.simulator.state().plan.tolist(), declared_ns(scenario, "edit")
        self.worlds = [
            OracleWorld(one.tolist(), scenario, plan, edit)
            for one, plan in zip(loads, plans, strict=True)
        ]
        self.active = np.ones(WORLDS, bool)
        self.legal_steps = 0
        self.check(range(WORLDS))

    def play(self):
        while self.active.any():
            if self.rng.random() < 0.1:
                self.elapse()
            self.step()

    def elapse(self):
        duration = self.rng.integers(0, 10**7, WORLDS) * self.active
        mask = self.simulator.action_mask()[self.role].copy()
        self.simulator.elapse(duration)
        for world, ns in zip(self.worlds, duration.tolist(), strict=True):
            world.elapse(ns)
        assert (self.simulator.action_mask()[self.role] == mask).all()

    def choose(self, mask, size):
        """Mostly what is open, sometimes anything at all; to serve often enough."""
        if self.rng.random() < 0.05:
            return int(self.rng.integers(-1, size + 1))
        return mask[-1] if self.rng.random() < 0.15 else mask[self.rng.integers(len(mask))]

    def step(self):
        size = self.simulator.action_mask()[self.role].shape[-1]
        given = np.array([[self.choose(m, size) for m in w.mask()] for w in self.worlds])
        result = self.simulator.step({self.role: given}, self.active)
        terms = self.simulator.reward_terms()
        np.testing.assert_allclose(terms.sum(axis=-1), result.reward, atol=1e-12)
        playing = np.flatnonzero(self.active)
        for i in playing:
            expected, over, refused = self.worlds[i].step(given[i].tolist())
            np.testing.assert_allclose(terms[i], expected, rtol=1e-6, atol=1e-9)
            assert bool(result.terminated[i]) == over
            assert not result.truncated[i]
            assert result.status[i].tolist() == [ILLEGAL if bad else DONE for bad in refused]
            self.legal_steps += not any(refused)
            self.active[i] = not over
        self.check(playing)

    def check(self, worlds):
        state, metrics = self.simulator.state(), self.simulator.metrics()
        starts = self.simulator.decision_starts()
        for i in worlds:
            world = self.worlds[i]
            assert state.plan[i].tolist() == world.plan
            assert state.begun[i].tolist() == world.begun
            assert state.window[i] == world.window
            assert abs(state.clock[i] - world.clock) <= 3 * world.window * len(world.plan)
            assert starts[i] == world.fresh
            expected = world.metrics()
            assert set(metrics) == {*expected, "regret_to_clairvoyant_s"}
            for name, value in expected.items():
                assert metrics[name][i] == pytest.approx(value, rel=1e-6, abs=1e-7), name
            self.check_tables(i, world)
            if world.window < self.scenario.windows:
                self.check_mask(i, world)

    def check_mask(self, i, world):
        masks = self.simulator.action_mask()[self.role][i]
        assert [np.flatnonzero(mask).tolist() for mask in masks] == world.mask()

    def check_tables(self, i, world):
        seen, state = self.simulator.observation()[self.role], self.simulator.state()
        lead = (i,) if self.scenario.control == "distributed" else (i, 0)
        for layer in range(self.scenario.layers):
            assert state.replicas[i, layer].tolist() == world.replicas(layer)
            assert min(world.replicas(layer)) >= 1, "an expert is nowhere"
            rows = zip(("experts", "gpus", "layers"), world.seen(layer), strict=True)
            for name, expected in rows:
                table = seen[name][lead][layer]
                if name == "gpus" and self.scenario.dispatch == "lp":
                    assert table[:, 0].max() == pytest.approx(max(r[0] for r in expected), rel=1e-5)
                    table, expected = table[:, 1:], [row[1:] for row in expected]
                np.testing.assert_allclose(table, expected, rtol=2e-6, atol=2e-6, err_msg=name)
            tokens = state.gpu_tokens[i, layer].sum()
            assert tokens == pytest.approx(state.history[i, 0, layer].sum(), rel=1e-9)
        one = {name: array[i, 0] for name, array in seen.items()}
        assert self.space.contains(one)


@pytest.mark.parametrize("migration", ["synchronous", "overlapped"])
@pytest.mark.parametrize("dispatch", ["equal", "lp"])
@pytest.mark.parametrize("control", ["central", "distributed"])
def test_machine_agrees_with_reference(control, dispatch, migration):
    steps = 0

    @settings(
        max_examples=400,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(seed=st.integers(0, 2**32 - 1))
    def run(seed):
        nonlocal steps
        if steps < STEPS_EACH:
            pair = Pair(seed, control, dispatch, migration)
            pair.play()
            steps += pair.legal_steps

    run()
    assert steps >= STEPS_EACH


@pytest.mark.parametrize("seed", range(30))
def test_lp_dispatch_reaches_the_least_maximum(seed):
    """Against the cut bound over all sets of GPUs, which is the optimum (max flow, min cut)."""
    rng = np.random.default_rng(seed)
    scenario = random_scenario(rng, "central", "lp", "synchronous")
    scenario = replace(scenario, gpus=4, slots=4 * -(-scenario.slots // 4), nodes=1)
    capacity = {"layers": scenario.layers, "experts": scenario.experts}
    simulator = ExpertPlacementSimulator(scenario, capacity, 1)
    simulator.reset([ExpertWorkload("random", 0, random_loads(rng, scenario))])
    state = simulator.state()
    for layer in range(scenario.layers):
        slots, load = state.plan[0, layer].tolist(), state.history[0, 0, layer].tolist()
        best = least_maximum(slots, load, 4)
        assert state.gpu_tokens[0, layer].max() == pytest.approx(best, rel=1e-6)
        equal = split(slots, load, 4, lp=False)
        per_gpu = scenario.slots_per_gpu
        fullest = max(sum(equal[g * per_gpu : (g + 1) * per_gpu]) for g in range(4))
        assert best <= fullest + 1e-9
