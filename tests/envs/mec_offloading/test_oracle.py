"""The machine against the slow one in ``tests/oracles/mec_machine.py``, decision by decision."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.envs.mec_offloading.worlds import FAMILY, random_workload, simulator_of
from tests.oracles.mec_machine import Machine

from fleetgym.envs.mec_offloading import types as t

STATES = {
    "absent": t.ABSENT,
    "blocked": t.BLOCKED,
    "ready": t.READY,
    "placed": t.PLACED,
    "queued": t.QUEUED,
    "running": t.RUNNING,
    "done": t.DONE,
    "refused": t.REFUSED,
}
CASES = {
    "plain": {"fading": False},
    "fading": {"block_ms": 20.0},
    "walking": {"speed_m_s": 1.0, "move_ms": 60.0, "block_ms": 50.0},
    "failing": {"failures": 1.0},
    "sharing": {"discipline": "ps"},
    "sharing-failing": {"discipline": "ps", "failures": 1.0, "view_delay_ms": 7.0},
    "late": {"view_delay_ms": 15.0, "failures": 1.0, "speed_m_s": 1.0, "move_ms": 60.0},
    "planned": {"planned": True},
    "planned-sharing": {"planned": True, "discipline": "ps"},
    "dvfs": {"dvfs": (0.25, 0.5, 1.0)},
    "continuous": {"action": "continuous"},
    "agents": {"control": "distributed"},
    "agents-late": {
        "control": "distributed",
        "view_delay_ms": 20.0,
        "speed_m_s": 1.0,
        "move_ms": 90.0,
        "failures": 1.0,
    },
    "talking": {"control": "distributed", "symbols": 3, "view_delay_ms": 5.0},
    "agents-scores": {"control": "distributed", "action": "continuous", "reward": "mixed"},
    "short": {"horizon_s": 0.25, "view_delay_ms": 3.0},
    "peft-planned": {"planned": True, "priority": "peft"},
    "ahp-planned": {"planned": True, "priority": "ahp"},
    "thinking": {"speed_m_s": 1.0, "move_ms": 60.0, "failures": 1.0},
    "agents-thinking": {"control": "distributed", "speed_m_s": 1.0, "move_ms": 60.0,
                        "view_delay_ms": 9.0, "symbols": 2},
}  # fmt: skip
SLOWEST = 30_000_000  # ns of a thought, in the cases of that name


def scenario_of(case):
    return FAMILY.scenario("small", {"radio_ms": 0.5, **CASES[case]})


class Pair:
    """The machine and the oracle on one workload."""

    def __init__(self, scenario, seed):
        self.scenario = scenario
        self.workload = random_workload(scenario, seed)
        self.simulator = simulator_of(self.workload, scenario)
        keys = self.simulator.world.h["tasks"][0, :, t.T_KEY].tolist()
        self.oracle = Machine(self.workload, scenario, keys)
        self.oracle.run()
        self.role = next(iter(self.simulator.roles))
        self.paid = [self.oracle.cost(u) for u in range(self.oracle.n)]

    def place(self, task, chosen, action):
        """What a place's number means to the oracle."""
        if self.scenario.action == "continuous":
            share, power = int(action[-2]) + 1, int(action[-1]) + 1
            return self.oracle.place(task, chosen - 1, share if chosen == 0 else 256, power)
        levels = len(self.scenario.dvfs)
        if chosen < levels:
            return self.oracle.place(task, -1, round(self.scenario.dvfs[chosen] * 256))
        return self.oracle.place(task, chosen - levels)

    def act(self, rng, think=0):
        """One random legal step of both, so many ns after the question."""
        asked = self.oracle.asked
        if think:
            self.simulator.elapse(np.array([think]))
            self.oracle.elapse(think)
        mask = self.simulator.action_mask()[self.role][0].copy()
        shape = self.simulator.roles[self.role].action_space.shape or (1,)
        actions = np.zeros((len(mask), *shape), np.int64)
        symbols = self.scenario.symbols
        distributed = self.scenario.control == "distributed"
        for agent in range(len(mask)):
            if self.scenario.action == "continuous":
                actions[agent] = rng.integers(0, 256, shape)
                scores = np.where(mask[agent] == 1, actions[agent, :-2], -1)
                chosen = int(np.argmax(scores))
            else:
                legal = np.flatnonzero(mask[agent, : mask.shape[1] - symbols])
                actions[agent, 0] = rng.choice(legal)
                chosen = int(actions[agent, 0]) - distributed
            if symbols:
                actions[agent, 1] = rng.integers(0, symbols)
                self.oracle.speak(agent, int(actions[agent, 1]))
            if agent in asked:
                self.place(asked[agent], chosen, actions[agent])
        result = self.simulator.step({self.role: actions[None]})
        self.oracle.run()
        return result

    def check(self):
        """Equal clocks, tasks, data, energy, masks and questions."""
        simulator, oracle = self.simulator, self.oracle
        state = simulator.state()
        assert state.clock[0] == oracle.clock
        for task in oracle.tasks:
            row = state.tasks[0, task.number]
            assert row[t.T_STATE] == STATES[task.state], task.number
            if task.state in ("placed", "queued", "running", "done"):
                assert row[t.T_NODE] == task.node
            if task.state in ("running", "done"):
                assert row[t.T_START] == task.start
                assert row[t.T_END] == task.end
        for data in oracle.data:
            row = state.data[0, data.number]
            for node in range(-1, oracle.m + 1):
                assert bool(row[t.D_WHERE] >> (node + 1) & 1) == data.at(node)
                assert bool(row[t.D_FLYING] >> (node + 1) & 1) == (node in data.flying)
        floats = state.device_floats[0]
        assert (floats[:, t.FD_LOCAL] + floats[:, t.FD_SENT]).tolist() == pytest.approx(
            oracle.energy, rel=1e-12
        )
        processors = state.processors[0]
        for p, mine in zip(processors, [*oracle.devices, *oracle.nodes], strict=True):
            assert p[t.P_MEMORY] == mine.free
            assert p[t.P_RUNNING] == len(mine.running)
        assert state.cells[0].tolist() == [
            [oracle.users(way, k) for k in range(oracle.m)] for way in (0, 1)
        ]
        assert state.devices[0, :, t.V_HEARD].tolist() == oracle.heard
        metrics = simulator.metrics()
        assert metrics["stale_actions"][0] == oracle.stales
        assert metrics["returned_tasks"][0] == oracle.returned
        assert metrics["restarted_transfers"][0] == oracle.restarts
        assert metrics["transfers"][0] == oracle.flights
        assert state.devices[0, :, t.V_MISSES].tolist() == oracle.misses
        self.check_questions()

    def check_questions(self):
        asked = self.oracle.asked
        mask = self.simulator.action_mask()[self.role][0]
        distributed = self.scenario.control == "distributed"
        continuous = self.scenario.action == "continuous"
        levels = 1 if continuous else len(self.scenario.dvfs)
        nodes = [-1] * levels + list(range(self.oracle.m + 1))
        for agent, seen in enumerate(self.simulator.state().asked[0].tolist()):
            task = asked.get(agent)
            assert seen == (-1 if task is None else task.number)
            legal = mask[agent, : len(mask[agent]) - self.scenario.symbols]
            first = distributed and not continuous
            if task is None:
                assert legal.tolist() == [1] + [0] * (len(legal) - 1)
            else:
                opened = [self.oracle.legal(task, node) for node in nodes]
                assert legal.tolist() == [0] * first + opened

    def check_reward(self, result):
        """The costs since the last decision, shared as the scenario says."""
        n, scenario = self.oracle.n, self.scenario
        now = [self.oracle.cost(u) for u in range(n)]
        weights = (scenario.weight_time, scenario.weight_energy, scenario.weight_miss)
        due = [
            -sum(w * (b - a) for w, a, b in zip(weights, paid, costs, strict=True))
            for paid, costs in zip(self.paid, now, strict=True)
        ]
        self.paid = now
        if scenario.control == "central":
            expected = [sum(due)]
        else:
            own = {"team": 0.0, "mixed": 0.5, "own": 1.0}[scenario.reward]
            expected = [own * one + (1 - own) * sum(due) / n for one in due]
        assert result.reward[0].tolist() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("case", CASES)
@settings(max_examples=12, deadline=None, derandomize=True, database=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_as_the_oracle(case, seed):
    pair = Pair(scenario_of(case), seed)
    rng = np.random.default_rng(seed)
    pair.check()
    for _ in range(400):
        if pair.oracle.over:
            break
        result = pair.act(rng, int(rng.integers(SLOWEST)) if "thinking" in case else 0)
        pair.check()
        pair.check_reward(result)
        assert result.terminated[0] == (pair.oracle.over == "terminated")
        assert result.truncated[0] == (pair.oracle.over == "truncated")
    assert pair.oracle.over
