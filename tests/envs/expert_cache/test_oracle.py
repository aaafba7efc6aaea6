"""The machine against its slow reference, step by step, on random small models."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.oracles.expert_cache import OracleWorld

from fleetgym.envs.core.registration import family_of
from fleetgym.envs.expert_cache import types as t
from fleetgym.envs.expert_cache.costs import PRESETS
from fleetgym.envs.expert_cache.simulator import AGENT, ExpertCacheSimulator
from fleetgym.envs.expert_cache.workloads import RoutingWorkload
from fleetgym.traces.schema_routing import Routing

WORLDS = 6
STATUS = {"done": 0, "illegal": 1}
LANES = {t.GPU: "gpu", t.CPU: "cpu", t.PCIE: "pcie"}
LEGAL_STEPS = 6_000  # of each run


def random_workload(rng, steps, layers, experts, active, scored):
    """Lists of different lengths, counts of one token or several, scores that fit or none."""
    lists = np.full((steps, layers, active), -1, np.int16)
    counts = np.zeros((steps, layers, active), np.int16)
    scores = rng.integers(0, 65_536 // experts, (steps, layers, experts)).astype(np.uint16)
    for t_, layer in np.ndindex(steps, layers):
        size = int(rng.integers(1, active + 1))
        chosen = rng.permutation(min(experts, active + 2))[:size]
        lists[t_, layer, :size] = chosen
        counts[t_, layer, :size] = rng.integers(1, 4, size)
    scores = scores if scored else np.zeros((0, 0, 0), np.uint16)
    routing = Routing("random", experts, lists, counts, scores).validate()
    return RoutingWorkload("random", int(rng.integers(1000)), routing, int(rng.integers(1, 3)), 1)


class Pair:
    """The simulator and its references, taken through the same episode."""

    def __init__(self, seed, prefetch, reward, cost):
        self.rng = rng = np.random.default_rng(seed)
        layers, experts = int(rng.integers(1, 4)), int(rng.integers(3, 9))
        active, steps = int(rng.integers(1, min(experts, 5))), int(rng.integers(4, 9))
        capacity = {"steps": steps, "layers": layers, "experts": experts}
        capacity |= {"active": active, "top": min(experts, 2 * active)}
        fields = {"capacity": float(rng.uniform(0.2, 0.8)), "num_experts": experts, "top_k": 1}
        fields |= {"reward": reward, "cost": cost, "dense_ms": float(rng.choice([0.0, 0.3]))}
        scenario = family_of("expert-cache").scenario("small", fields)
        most = min(prefetch, scenario.slots(experts))
        self.scenario = scenario = scenario.override({"prefetch": most})
        self.simulator = ExpertCacheSimulator(scenario, capacity, WORLDS)
        workloads = [
            random_workload(rng, steps, layers, experts, active, i % 2 == 0) for i in range(WORLDS)
        ]
        self.simulator.reset(workloads)
        self.space = self.simulator.roles[AGENT].observation_space
        top = capacity["top"]
        self.worlds = [OracleWorld(w, scenario, top, active) for w in workloads]
        self.active, self.legal_steps = np.ones(WORLDS, bool), 0
        self.check(range(WORLDS))

    def play(self):
        while self.active.any():
            if self.rng.random() < 0.15:
                duration = self.rng.integers(0, 2_000_000, WORLDS) * self.active
                mask = self.simulator.action_mask()[AGENT].copy()
                self.simulator.elapse(duration)
                assert (self.simulator.action_mask()[AGENT] == mask).all()
                for world, ns in zip(self.worlds, duration.tolist(), strict=True):
                    world.elapse(ns)
            self.step()

    def step(self):
        playing = np.flatnonzero(self.active)
        actions = np.array([self.choose(world) for world in self.worlds])
        result = self.simulator.step({AGENT: actions[:, None]}, self.active)
        terms = self.simulator.reward_terms()[:, 0]
        np.testing.assert_allclose(terms.sum(axis=1), result.reward[:, 0], atol=1e-12)
        for i in playing:
            expected, ended, status = self.worlds[i].step(int(actions[i]))
            np.testing.assert_allclose(terms[i], expected, atol=1e-12)
            assert (bool(result.terminated[i]), bool(result.truncated[i])) == (ended, False)
            assert result.status[i, 0] == STATUS[status]
            self.legal_steps += status == "done"
            self.active[i] = not ended
        self.check(playing)

    def choose(self, world):
        mask = world.mask()
        if self.rng.random() < 0.05:
            return int(self.rng.integers(-2, len(mask) + 3))
        return int(self.rng.choice(np.flatnonzero(mask)))

    def check(self, worlds):
        state, seen = self.simulator.state(), self.simulator.observation()[AGENT]
        for i in worlds:
            world = self.worlds[i]
            assert seen["action_mask"][i, 0].tolist() == world.mask()
            for name, table in world.observation().items():
                np.testing.assert_allclose(seen[name][i, 0], table, atol=2e-6, err_msg=name)
            self.check_world(world, state, i)
        one = {name: array[worlds[0], 0] for name, array in seen.items()}
        assert self.space.contains(one)

    def check_world(self, world, state, i):
        tenants = [[slot.expert for slot in pool] for pool in world.pool]
        assert state.tenants[i, :, t.EXPERT].tolist() == tenants
        ready = [[slot.ready for slot in pool] for pool in world.pool]
        assert state.copies[i, :, t.READY].tolist() == ready
        sums = dict(zip(t.SUMS, state.scalars[i].tolist(), strict=False))
        assert sums == world.sums
        assert sums["hits"] + sums["misses"] == sums["requests"]
        assert state.scalars[i, t.CLOCK] == world.clock
        assert state.scalars[i, t.BUSY] == world.pcie
        rows = [[(e.count, e.aged, e.last) for e in layer] for layer in world.seen]
        assert np.moveaxis(state.table[i, :, t.COUNT :], 1, 2).tolist() == [
            [list(row) for row in layer] for layer in rows
        ]
        for layer in range(world.L):
            assert len(set(tenants[layer])) == world.C
        due = [(x.lane, x.start, x.end, x.layer, x.expert) for x in world.tasks[-t.TRAIL :]]
        assert self.tasks(i) == due

    def tasks(self, i):
        """What the trail holds, oldest first."""
        trail, head = self.simulator.world.trail[i], int(self.simulator.world.scalars[i, t.HEAD])
        found = []
        for at in range(max(0, head - t.TRAIL), head):
            row = trail[at % t.TRAIL].tolist()
            who, lane = divmod(row[t.WHO], t.LANES)
            layer, expert = divmod(who, self.simulator.sizes.experts)
            found.append((LANES[lane], row[t.START], row[t.END], layer, expert))
        return found


@pytest.mark.parametrize("prefetch", [0, 2])
def test_machine_agrees_with_reference(prefetch):
    steps = 0

    @settings(
        max_examples=400,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(
        seed=st.integers(0, 2**32 - 1),
        reward=st.sampled_from(["makespan", "misses"]),
        cost=st.sampled_from([*PRESETS, "roofline"]),
    )
    def run(seed, reward, cost):
        nonlocal steps
        if steps < LEGAL_STEPS:
            pair = Pair(seed, prefetch, reward, cost)
            pair.play()
            steps += pair.legal_steps
            for world in pair.worlds:
                check_tasks(world)

    run()
    assert steps >= LEGAL_STEPS


def check_tasks(world):
    """Lanes do one thing at a time, and every request is computed exactly once."""
    for lane in ("gpu", "cpu", "pcie"):
        mine = [task for task in world.tasks if task.lane == lane]
        assert all(a.end <= b.start for a, b in pairwise(mine))
    computed = [task for task in world.tasks if task.lane != "pcie"]
    assert len(computed) == world.sums["requests"]
    copies = sum(world.sums[name] for name in ("loads", "prefetches", "streams"))
    assert len(world.tasks) == len(computed) + copies
    assert world.clock == world.sums["makespan"] + world.sums["waited"] + round(
        world.scenario.dense_ms * 1e6
    ) * (world.end - world.first)


def test_rewards_add_up_to_the_time_of_the_layers():
    pair = Pair(5, 0, "makespan", "hybrimoe")
    before = np.array([world.sums["makespan"] for world in pair.worlds])
    earned = np.zeros(WORLDS)
    while pair.active.any():
        actions = np.array([world.mask().index(1) for world in pair.worlds])
        playing = pair.active.copy()
        result = pair.simulator.step({AGENT: actions[:, None]}, playing)
        earned += result.reward[:, 0] * playing
        for i in np.flatnonzero(playing):
            pair.worlds[i].step(int(actions[i]))
        pair.active &= ~result.terminated
    spent = pair.simulator.metrics()["makespan_s"] * 1e3 - before / 1e6
    np.testing.assert_allclose(-earned, spent, rtol=1e-12)
