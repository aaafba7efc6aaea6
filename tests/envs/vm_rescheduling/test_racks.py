"""Distributed control: racks against their slow reference, and the rules one by one."""

from dataclasses import replace

import numpy as np
import pytest
from tests.oracles.vm_instances import SECOND, capacity_of, random_scenario, random_workload
from tests.oracles.vm_racks import RackOracle

import fleetgym
from fleetgym.baselines.policy import RandomLegal
from fleetgym.envs.core.errors import ScenarioError, WorkloadError
from fleetgym.envs.core.registration import family_of
from fleetgym.envs.core.status import DONE, ILLEGAL, STALE
from fleetgym.envs.core.view import View
from fleetgym.envs.vm_rescheduling.racks import ROLE, RackSimulator
from fleetgym.envs.vm_rescheduling.scenario import VMReschedulingScenario
from fleetgym.envs.vm_rescheduling.simulator import VMReschedulingSimulator
from fleetgym.envs.vm_rescheduling.workloads import VMWorkload
from fleetgym.traces.schema import Fleet

ID = "VMRescheduling-v0"
STATUS = {"done": DONE, "illegal": ILLEGAL, "stale": STALE}
EVENTS = (*STATUS, "moved", "offers", "terminated", "truncated")
WORLDS = 4


def fleet_of(cores, racks, vms, group_max=()):
    """Machines of two nodes of some cores each; VMs as (cores, pm, numa) and sometimes a group."""
    n = len(vms)
    return Fleet(
        name="small",
        slot_cores=np.repeat(np.array(cores, np.int32), 2),
        slot_memory=np.full(2 * len(cores), 100, np.int32),
        slot_gpu=np.zeros(2 * len(cores), np.int32),
        pm_rack=np.array(racks, np.int32),
        vm_cores=np.array([vm[0] for vm in vms], np.int32),
        vm_memory=np.ones(n, np.int32),
        vm_gpu=np.zeros(n, np.int32),
        vm_double=np.zeros(n, np.bool_),
        vm_pm=np.array([vm[1] for vm in vms], np.int32),
        vm_numa=np.array([vm[2] for vm in vms], np.int32),
        vm_movable=np.ones(n, np.bool_),
        vm_group=np.array([vm[3] if len(vm) > 3 else -1 for vm in vms], np.int32),
        group_max_per_pm=np.array(group_max, np.int32),
    ).validate()


def begin(fleet, *, events=(), racks=None, **fields):
    """A simulator of one world with the fleet; events as (ns, vm, arrives)."""
    time, vm, arrives = (np.array([event[i] for event in events], np.int64) for i in range(3))
    workload = VMWorkload("small", 0, fleet, time, vm.astype(np.int32), arrives.astype(np.int8))
    n = fleet.num_vms
    capacity = {"pms": fleet.num_pms, "vms": n, "types": n, "classes": n, "events": 2 * n}
    capacity |= {"groups": len(fleet.group_max_per_pm)}
    capacity["racks"] = int(fleet.pm_rack.max()) + 1 if racks is None else racks
    fields = {"mnl": 5, "fragment_cores": 8} | fields
    scenario = VMReschedulingScenario(
        name="small", workload="small", control="distributed", **fields
    )
    simulator = RackSimulator(scenario, capacity, 1)
    simulator.reset([workload])
    return simulator


def act(simulator, *actions):
    """One step of one world; the status of each rack."""
    result = simulator.step({ROLE: np.array([actions])})
    return result.status[0].tolist()


def open_entries(simulator, rack):
    return np.flatnonzero(simulator.action_mask()[ROLE][0, rack]).tolist()


def codes(simulator):
    """PASS, the first slot, OFFER."""
    v, p = simulator.capacity["vms"], simulator.capacity["pms"]
    return v, v + 1, v + 1 + 2 * p


# Two racks of one machine each: rack 0 has two VMs, rack 1 is empty; 8 cores a node.
TWO = fleet_of([8, 8], [0, 1], [(4, 0, 0), (4, 0, 0)])
# Three racks of one machine each; the first one's only VM can be taken by both others.
THREE = fleet_of([8, 8, 8], [0, 1, 2], [(4, 0, 0)])


class Run:
    """The simulator and its references, taken through the same episodes."""

    def __init__(self, seed, churn):
        self.rng = rng = np.random.default_rng(seed)
        pms, vms, groups = int(rng.integers(1, 6)), int(rng.integers(1, 12)), int(rng.integers(3))
        reward = ("objective", "vmr2l")[seed % 2]
        racks = 3 if rng.random() < 0.8 else 4  # the last rack may have no machine
        self.scenario = replace(random_scenario(rng, "two-phase", reward), control="distributed")
        capacity = capacity_of(pms, vms, groups) | {"racks": racks}
        self.simulator = RackSimulator(self.scenario, capacity, WORLDS)
        workloads = [random_workload(rng, pms, vms, groups, churn) for _ in range(WORLDS)]
        self.simulator.reset(workloads)
        self.worlds = [RackOracle(w, self.scenario, pms, vms, racks) for w in workloads]
        self.first = [world.central.objective() for world in self.worlds]
        self.earned = np.zeros(WORLDS)
        self.churn, self.racks = churn, racks
        self.active = np.ones(WORLDS, np.bool_)
        self.counts = dict.fromkeys(EVENTS, 0)
        self.check()

    def play(self):
        while self.active.any():
            if self.churn and self.rng.random() < 0.4:
                duration = self.rng.integers(0, 20 * SECOND, WORLDS) * self.active
                self.simulator.elapse(duration)
                for world, ns in zip(self.worlds, duration.tolist(), strict=True):
                    world.elapse(ns)
            actions = np.array([[self.choose(mask) for mask in w.masks] for w in self.worlds])
            result = self.simulator.step({ROLE: actions}, self.active)
            terms = self.simulator.reward_terms()
            for i in np.flatnonzero(self.active):
                self.compare(i, self.worlds[i].step(actions[i].tolist()), result, terms[i])
            self.active &= ~self.simulator.over()
            self.check()
        for world in self.worlds:
            self.counts["moved"] += world.central.counts["migrations"]
            self.counts["offers"] += world.offers

    def choose(self, mask):
        if self.rng.random() < 0.05:
            return int(self.rng.integers(-1, len(mask) + 1))
        allowed = np.flatnonzero(mask)
        wanted = allowed[allowed != len(self.worlds[0].vms)] if self.rng.random() < 0.8 else allowed
        return int(self.rng.choice(wanted if len(wanted) else allowed))

    def compare(self, i, expected, result, terms):
        team, status, ended, cut = expected
        assert result.status[i].tolist() == [STATUS[name] for name in status]
        assert (bool(result.terminated[i]), bool(result.truncated[i])) == (ended, cut)
        for rack, name in enumerate(status):
            own = -self.scenario.illegal_penalty if name == "illegal" else 0.0
            np.testing.assert_allclose(terms[rack], [*team[:7], own], atol=1e-12)
            assert result.reward[i, rack] == pytest.approx(terms[rack].sum(), abs=1e-12)
            self.counts[name] += 1
        self.counts["terminated"] += ended
        self.counts["truncated"] += cut
        self.earned[i] += sum(team)

    def check(self):
        seen = self.simulator.observation()[ROLE]
        space = self.simulator.roles[ROLE].observation_space
        metrics = self.simulator.metrics()
        for i, world in enumerate(self.worlds):
            if not self.active[i]:
                continue
            assert seen["action_mask"][i].tolist() == world.masks
            assert all(any(mask) for mask in world.masks)
            chosen = [[-1 if v is None else v] for v in world.chosen]
            assert seen["chosen"][i].tolist() == chosen
            offered = [int(v in world.offered) for v in range(world.num_vms)]
            central = world.central.observation()
            for rack in range(self.racks):
                assert seen["offered"][i, rack].tolist() == offered
                own = [pm for pm, r in enumerate(world.rack_of) if r == rack]
                assert np.flatnonzero(seen["rack"][i, rack]).tolist() == own
                for name, table in central.items():
                    expected = np.array(table).reshape(seen[name][i, rack].shape)
                    np.testing.assert_allclose(seen[name][i, rack], expected, atol=2e-6)
                assert space.contains({n: table[i, rack] for n, table in seen.items()})
            self.check_conservation(i, world)
            expected = world.central.metrics() | {
                "illegal_actions": world.illegal,
                "dropped_migrations": world.dropped,
                "offers": world.offers,
            }
            assert metrics.keys() == expected.keys()
            for name, value in expected.items():
                assert metrics[name][i] == pytest.approx(value, abs=1e-12), name
            if self.scenario.reward == "objective":
                change = self.first[i] - world.central.objective()
                assert self.earned[i] == pytest.approx(change, abs=1e-9), "does not telescope"

    def check_conservation(self, i, world):
        state = self.simulator.state()
        free = np.array(world.central.free).T
        for row, name in enumerate(("cores", "memory", "gpu")):
            left = getattr(state, f"free_{name}")[i]
            assert (left == free[row]).all()
            assert (left >= 0).all()
        assert (state.vm_pm[i] >= 0).sum() == state.pm_vms[i].sum() == sum(world.central.held)


@pytest.mark.parametrize("churn", [False, True])
def test_racks_agree_with_reference(churn):
    counts = dict.fromkeys(EVENTS, 0)
    for seed in range(100):
        run = Run(seed, churn)
        run.play()
        for name, count in run.counts.items():
            counts[name] += count
    if not churn:
        del counts["truncated"]  # by the horizon, which needs time to pass
    assert min(counts.values()) > 20, f"something never happened: {counts}"


def test_offer_is_taken_by_the_other_rack():
    simulator = begin(TWO)
    stop, slot, offer = codes(simulator)
    assert open_entries(simulator, 0) == [0, 1, stop]
    assert open_entries(simulator, 1) == [stop]
    act(simulator, 0, stop)
    assert open_entries(simulator, 0) == [slot + 1, offer], "its node is full"
    act(simulator, offer, stop)
    assert open_entries(simulator, 0) == [0, 1, stop], "an offer can be taken back by a move"
    assert open_entries(simulator, 1) == [0, stop]
    act(simulator, stop, 0)
    assert open_entries(simulator, 1) == [slot + 2, slot + 3], "no offer of another rack's VM"
    assert act(simulator, stop, slot + 2) == [DONE, DONE]
    assert simulator.state().vm_pm[0].tolist() == [1, 0]
    assert simulator.observation()[ROLE]["offered"].sum() == 0
    assert simulator.metrics()["offers"][0] == simulator.metrics()["migrations"][0] == 1
    assert open_entries(simulator, 1) == [0, stop], "now its own"


def test_taken_back_while_another_had_chosen_it():
    simulator = begin(TWO)
    stop, slot, offer = codes(simulator)
    act(simulator, 0, stop)
    act(simulator, offer, stop)
    act(simulator, 0, 0)
    assert open_entries(simulator, 0) == [slot + 1], "already on offer"
    assert act(simulator, slot + 1, slot + 2) == [DONE, STALE]
    assert simulator.metrics()["dropped_migrations"][0] == 1
    assert simulator.state().vm_pm[0].tolist() == [0, 0]
    assert simulator.observation()[ROLE]["chosen"].max() == -1


def on_offer(fleet, *, events=()):
    simulator = begin(fleet, events=events)
    stop, _, offer = codes(simulator)
    act(simulator, 0, stop, stop)
    act(simulator, offer, stop, stop)
    return simulator


def test_two_racks_take_the_same_offer():
    simulator = on_offer(THREE)
    stop, slot, _ = codes(simulator)
    assert act(simulator, stop, 0, 0) == [DONE, DONE, DONE]
    assert act(simulator, stop, slot + 2, slot + 4) == [DONE, DONE, STALE]
    assert simulator.state().vm_pm[0].tolist() == [1]
    assert not simulator.over()[0]
    assert open_entries(simulator, 2) == [stop]


def test_a_choice_made_after_the_offer_is_gone_is_stale():
    simulator = on_offer(THREE)
    stop, slot, _ = codes(simulator)
    act(simulator, stop, 0, stop)
    assert act(simulator, stop, slot + 3, 0) == [DONE, DONE, STALE]
    assert simulator.observation()[ROLE]["chosen"][0].tolist() == [[-1]] * 3


def test_a_choice_whose_offer_goes_later_is_withdrawn_silently():
    simulator = on_offer(THREE)
    stop, slot, _ = codes(simulator)
    act(simulator, stop, stop, 0)
    assert act(simulator, stop, 0, slot + 4) == [DONE, DONE, DONE]
    assert open_entries(simulator, 1) == [stop]
    assert simulator.metrics()["dropped_migrations"][0] == 0


def test_departure_ends_an_offer_and_makes_its_taking_stale():
    simulator = on_offer(THREE, events=[(SECOND, 0, 0)])
    stop, _, _ = codes(simulator)
    mask = simulator.action_mask()[ROLE].copy()
    simulator.elapse(np.array([2 * SECOND]))
    assert simulator.observation()[ROLE]["offered"].sum() == 0
    assert (simulator.action_mask()[ROLE] == mask).all(), "the mask the racks saw stands"
    assert act(simulator, stop, 0, 0) == [DONE, STALE, STALE]
    assert simulator.reward_terms()[0, :, simulator.term_names.index("outside")].any()


def test_limit_is_shared():
    simulator = begin(fleet_of([8, 8], [0, 1], [(4, 0, 0), (4, 1, 0)]), mnl=1)
    stop, slot, _ = codes(simulator)
    act(simulator, 0, 1)
    assert act(simulator, slot + 1, slot + 3) == [DONE, STALE]
    assert simulator.over()[0]
    assert simulator._result.terminated[0]
    assert open_entries(simulator, 0) == open_entries(simulator, 1) == [stop]


def test_ends_when_all_pass_with_nothing_chosen():
    simulator = begin(TWO)
    stop, slot, _ = codes(simulator)
    act(simulator, 0, stop)
    assert not simulator.over()[0], "one rack still decides"
    assert act(simulator, stop, stop) == [ILLEGAL, DONE], "a choice must be carried out"
    assert not simulator.over()[0]
    act(simulator, slot + 1, stop)
    assert not simulator.over()[0]
    act(simulator, stop, stop)
    assert simulator._result.terminated[0]
    assert not simulator._result.truncated[0]


def test_truncated_after_as_many_steps_as_the_central_machine():
    simulator = begin(TWO, mnl=2)
    for step in range(1, 4 * 2 + 16 + 1):
        act(simulator, -1, -1)
        assert simulator.over()[0] == (step == 4 * 2 + 16)
    assert simulator._result.truncated[0]
    late = begin(TWO, horizon_s=1.0)
    late.elapse(np.array([SECOND]))
    act(late, 0, 2)
    assert late._result.truncated[0]


def test_illegal_costs_only_its_own_rack():
    simulator = begin(TWO, illegal_penalty=0.5)
    stop, _, offer = codes(simulator)
    assert act(simulator, offer, stop) == [ILLEGAL, DONE]
    assert simulator._result.reward[0].tolist() == [-0.5, 0.0]
    assert simulator.metrics()["illegal_actions"][0] == 1


def test_one_rack_offers_nothing():
    simulator = begin(fleet_of([8], [0], [(4, 0, 0)]))
    stop, slot, _ = codes(simulator)
    assert open_entries(simulator, 0) == [0, stop]
    act(simulator, 0)
    assert open_entries(simulator, 0) == [slot + 1]


def test_group_holds_across_racks():
    fleet = fleet_of([8, 8], [0, 1], [(2, 0, 0, 0), (2, 1, 0, 0)], group_max=[1])
    simulator = begin(fleet)
    stop, _, offer = codes(simulator)
    act(simulator, 0, stop)
    act(simulator, offer, stop)
    assert open_entries(simulator, 1) == [1, stop], "its machine is full for the group"


def test_capacity_of_racks():
    with pytest.raises(WorkloadError, match=r"2 racks.*allows 1: raise the capacity"):
        begin(TWO, racks=1)
    capacity = {"pms": 2, "vms": 2, "types": 2, "classes": 2, "groups": 0, "events": 0}
    scenario = VMReschedulingScenario(name="s", workload="s", control="distributed")
    with pytest.raises(WorkloadError, match="lacks 'racks'"):
        RackSimulator(scenario, capacity, 1)
    assert VMReschedulingSimulator(replace(scenario, control="central"), capacity, 1)


def test_family_picks_the_machine():
    family = family_of(ID)
    for control, kind in (("central", VMReschedulingSimulator), ("distributed", RackSimulator)):
        scenario = family.scenario("small", {"control": control})
        assert type(family.simulate(scenario, family.workloads(scenario), 2)) is kind
    with pytest.raises(ScenarioError, match=r"action is 'pair'.*two-phase"):
        family.scenario("small", {"control": "distributed", "action": "pair"})


CHURN = {"control": "distributed", "churn_per_min": 0.5, "mnl": 6}


@pytest.mark.parametrize("num_worlds", [1, 3])
def test_evaluate_and_replay(num_worlds, tmp_path):
    records = fleetgym.evaluate(
        RandomLegal(0), ID, "small", range(4), num_worlds=num_worlds,
        decision_latency="fixed:5", **CHURN,
    )  # fmt: skip
    assert sum(record.metrics["migrations"] for record in records) > 10
    for record in records:
        assert record.actions[ROLE].shape == (len(record.latency_ns), 4)
        path = record.write(tmp_path / "record.npz")
        assert fleetgym.replay(fleetgym.EpisodeRecord.read(path)) == record.metrics


def played(simulator, worlds, steps=12, seed=0):
    """Digests of each world under play that depends on its own mask only."""
    family = family_of(ID)
    source = family.workloads(simulator.scenario)
    simulator.reset([source.draw(seed) for seed in worlds])
    rngs = [np.random.default_rng([seed, world]) for world in worlds]
    digests = [simulator.digest()]
    for _ in range(steps):
        masks = simulator.action_mask()[ROLE]
        actions = [
            [rng.choice(np.flatnonzero(mask)) for mask in masks[i]] for i, rng in enumerate(rngs)
        ]
        simulator.elapse(np.full(len(worlds), SECOND) * simulator.decision_starts())
        simulator.step({ROLE: np.array(actions)}, ~simulator.over())
        digests.append(simulator.digest())
    return np.array(digests)


def simulator_of_small(num_worlds):
    family = family_of(ID)
    scenario = family.scenario("small", CHURN)
    return family.simulate(scenario, family.workloads(scenario), num_worlds)


def test_digests_do_not_depend_on_batch_or_position():
    batch = played(simulator_of_small(4), [7, 3, 9, 3])
    assert (batch[:, 1] == batch[:, 3]).all()
    for i, seed in enumerate([7, 3, 9]):
        alone = played(simulator_of_small(1), [seed])[:, 0]
        assert (alone == batch[:, i]).all()
        assert len(set(alone.tolist())) == len(alone), "a step left no trace"


def test_save_restore_fork_and_forget():
    simulator = simulator_of_small(2)
    played(simulator, [1, 2], steps=5)
    saved = simulator.save(0)
    twin = simulator.like(1)
    twin.restore(0, saved)
    forked = simulator.fork(0, 3)
    assert twin.digest()[0] == simulator.digest()[0] == forked.digest()[2]
    actions = np.argmax(simulator.action_mask()[ROLE], axis=-1)
    for other in (twin, forked):
        repeated = np.repeat(actions[:1], other.num_worlds, axis=0)
        other.step({ROLE: repeated})
    simulator.step({ROLE: actions})
    assert (forked.digest() == simulator.digest()[0]).all()
    assert twin.digest()[0] == simulator.digest()[0]
    assert (twin.observation()[ROLE]["vms"] == simulator.observation()[ROLE]["vms"][:1]).all()
    imagined = View(simulator).imagine(0, 1)
    arrivals = imagined.metrics()["arrivals"][0]
    imagined.elapse(np.array([600 * SECOND]))
    assert imagined.metrics()["arrivals"][0] == arrivals


def test_tables_are_views_without_copies():
    simulator = simulator_of_small(1)
    seen = simulator.observation()[ROLE]
    for name in ("pms", "vms", "vm_host", "progress", "offered"):
        assert np.shares_memory(seen[name][0, 0], seen[name][0, 3])
    assert not any(table.flags.writeable for table in seen.values())
