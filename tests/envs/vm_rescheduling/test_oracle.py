"""The machine against its slow reference, step by step, on random small fleets."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.oracles.vm_instances import SECOND, capacity_of, random_scenario, random_workload
from tests.oracles.vm_rescheduling import OracleWorld

from fleetgym.envs.vm_rescheduling.simulator import AGENT, VMReschedulingSimulator

WORLDS = 24
STATUS = {"done": 0, "illegal": 1, "stale": 2}
LEGAL_STEPS_EACH = 25_000  # of each of the four runs: 10^5 in all


class Pair:
    """The simulator and its references, taken through the same episode."""

    def __init__(self, seed, action, reward, churn):
        self.rng = rng = np.random.default_rng(seed)
        pms, vms, groups = (int(rng.integers(1, top)) for top in (6, 15, 4))
        groups -= 1
        self.churn = churn
        self.scenario = random_scenario(rng, action, reward)
        self.simulator = VMReschedulingSimulator(
            self.scenario, capacity_of(pms, vms, groups), WORLDS
        )
        workloads = [random_workload(rng, pms, vms, groups, churn) for _ in range(WORLDS)]
        self.simulator.reset(workloads)
        self.space = self.simulator.roles[AGENT].observation_space
        self.worlds = [OracleWorld(w, self.scenario, pms, vms) for w in workloads]
        self.first = np.array([world.objective() for world in self.worlds])
        self.earned = np.zeros(WORLDS)
        self.active = np.ones(WORLDS, bool)
        self.legal_steps = 0
        self.check_state(range(WORLDS))

    def play(self):
        while self.active.any():
            if self.churn and self.rng.random() < 0.3:
                self.elapse()
            self.step()

    def elapse(self):
        duration = self.rng.integers(0, 20 * SECOND, WORLDS) * (self.rng.random(WORLDS) < 0.7)
        duration[~self.active] = 0
        mask = self.simulator.action_mask()[AGENT].copy()
        self.simulator.elapse(duration)
        for world, ns in zip(self.worlds, duration.tolist(), strict=True):
            world.elapse(ns)
        assert (self.simulator.action_mask()[AGENT] == mask).all(), "elapse rewrote the mask"
        self.check_tables([i for i in range(WORLDS) if self.active[i]])

    def step(self):
        playing = [i for i in range(WORLDS) if self.active[i]]
        given = np.array([self.choose(world) for world in self.worlds], np.int64)
        actions = given if self.scenario.action == "pair" else given[:, 0]
        result = self.simulator.step({AGENT: actions[:, None]}, self.active)
        terms = self.simulator.reward_terms()[:, 0]
        np.testing.assert_allclose(terms.sum(axis=1), result.reward[:, 0], atol=1e-12)
        for i in playing:
            expected, ended, cut, status = self.worlds[i].step(*given[i].tolist())
            np.testing.assert_allclose(terms[i], expected, atol=1e-12)
            assert bool(result.terminated[i]) == ended
            assert bool(result.truncated[i]) == cut
            assert result.status[i, 0] == STATUS[status]
            self.legal_steps += status == "done"
            self.earned[i] += sum(expected) - expected[7]
            self.active[i] = not (ended or cut)
        self.check_state(playing)

    def choose(self, world):
        """Mostly what the mask allows, seldom STOP, sometimes anything at all."""
        stop, slots = world.num_vms, 2 * world.num_pms
        if self.rng.random() < 0.06:
            return self.rng.integers(-1, stop + slots + 2), self.rng.integers(-1, slots + 1)
        if self.scenario.action == "pair":
            pairs = world.legal_pairs()
            if pairs and self.rng.random() > 0.03:
                return pairs[self.rng.integers(len(pairs))]
            return stop, 0
        legal = [a for a, allowed in enumerate(world.mask) if allowed and a != stop]
        if legal and (world.chosen is not None or self.rng.random() > 0.03):
            return legal[self.rng.integers(len(legal))], 0
        return stop, 0

    def check_state(self, worlds):
        """Everything that follows from where the VMs are."""
        self.check_masks(worlds)
        self.check_tables(worlds)
        self.check_conservation(worlds)
        metrics = self.simulator.metrics()
        for i in worlds:
            expected = self.worlds[i].metrics()
            assert set(expected) == set(metrics)
            for name, value in expected.items():
                assert metrics[name][i] == pytest.approx(value, abs=1e-12), name
            if self.scenario.reward == "objective":
                change = self.first[i] - expected["objective"]
                assert self.earned[i] == pytest.approx(change, abs=1e-9), "does not telescope"

    def check_masks(self, worlds):
        masks = self.simulator.action_mask()[AGENT][:, 0]
        for i in worlds:
            world, mask = self.worlds[i], masks[i].tolist()
            if self.scenario.action == "two-phase":
                assert mask == world.mask
                continue
            stop = world.num_vms
            assert mask[: stop + 1] == world.mask[: stop + 1]
            pairs = world.legal_pairs()
            assert all(mask[stop + 1 + slot] for _, slot in pairs), "the pair mask hides a target"
            world.mask = mask  # what the policy saw: the slots' part is only necessary
            for v in {v for v, _ in pairs}:
                assert self.simulator.legal_targets(i, v).tolist() == world.targets(v)

    def check_tables(self, worlds):
        seen = self.simulator.observation()[AGENT]
        rows = [self.worlds[i].observation() for i in worlds]
        for name in ("pms", "vms", "progress", "vm_host"):
            table = seen[name][list(worlds), 0]
            expected = np.array([row[name] for row in rows]).reshape(table.shape)
            np.testing.assert_allclose(table, expected, atol=2e-6, err_msg=name)
        one = worlds[0]
        assert self.space.contains({name: array[one, 0] for name, array in seen.items()})

    def check_conservation(self, worlds):
        state = self.simulator.state()
        for i in worlds:
            world = self.worlds[i]
            free = np.array(world.free).T
            for row, name in enumerate(("cores", "memory", "gpu")):
                left = getattr(state, f"free_{name}")[i]
                assert (left == free[row]).all()
                assert (left >= 0).all(), "overcommitted"
            assert state.pm_vms[i].tolist() == world.held
            assert (state.vm_pm[i] >= 0).sum() == sum(world.held)
            counts = state.group_count[i]
            assert counts.tolist() == world.group_count
            assert state.last_move[i].tolist() == list(world.last_move)
            assert state.moves_left[i] == world.moves_left
            assert state.clock[i] == world.clock
            assert state.chosen[i] == (-1 if world.chosen is None else world.chosen)
            numa = [vm.numa for vm in world.vms]
            assert state.vm_numa[i, : len(numa)].tolist() == numa


@pytest.mark.parametrize("churn", [False, True])
@pytest.mark.parametrize("action", ["two-phase", "pair"])
def test_machine_agrees_with_reference(action, churn):
    steps = 0

    @settings(
        max_examples=LEGAL_STEPS_EACH // 60,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(seed=st.integers(0, 2**32 - 1), reward=st.sampled_from(["objective", "vmr2l"]))
    def run(seed, reward):
        nonlocal steps
        if steps < LEGAL_STEPS_EACH:
            pair = Pair(seed, action, reward, churn)
            pair.play()
            steps += pair.legal_steps

    run()
    assert steps >= LEGAL_STEPS_EACH
