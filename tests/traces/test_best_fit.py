from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetgym.traces.generators.best_fit import Need, Packing, best_fit
from fleetgym.traces.generators.population import Population, needs_of
from fleetgym.traces.generators.vm_fleet import churned, empty

NEEDS = st.builds(
    Need,
    cores=st.integers(0, 12),
    memory=st.integers(1, 12),
    gpu=st.sampled_from([0, 0, 500]),
    double=st.booleans(),
    group=st.sampled_from([-1, -1, 0, 1]),
)


def machines(pms, cores=16, memory=16):
    fleet = empty(pms, 1, cores, memory)
    gpu = np.tile(np.array([1000, 0], np.int32), pms)
    return replace(fleet, slot_gpu=gpu, group_max_per_pm=np.array([1, 2], np.int32))


def slow_best_fit(fleet, need):
    """The rule, read off its statement."""
    free = np.stack(fleet.free(), axis=1).tolist()
    best = None
    for pm in range(fleet.num_pms):
        members = sum(
            group == need.group and host == pm
            for group, host in zip(fleet.vm_group, fleet.vm_pm, strict=True)
        )
        if need.group >= 0 and members >= fleet.group_max_per_pm[need.group]:
            continue
        for numa in [0] if need.double else [0, 1]:
            slots = [2 * pm, 2 * pm + 1] if need.double else [2 * pm + numa]
            if all(
                free[s][0] >= need.cores and free[s][1] >= need.memory and free[s][2] >= need.gpu
                for s in slots
            ):
                key = (sum(free[s][0] for s in slots), sum(free[s][1] for s in slots), slots[0])
                best = key if best is None else min(best, key)
    return -1 if best is None else best[2]


@settings(max_examples=60, deadline=None)
@given(pms=st.integers(1, 4), needs=st.lists(NEEDS, max_size=25), seed=st.integers(0, 99))
def test_agrees_with_the_rule_and_conserves(pms, needs, seed):
    fleet = machines(pms)
    population = Population(fleet, np.random.default_rng(seed))
    for i, need in enumerate(needs):
        now = population.fleet("now").validate()
        expected = slow_best_fit(now, need)
        assert best_fit(now, need) == expected
        assert population.packing.best_fit(need) == expected
        assert population.arrive(need) == (expected >= 0)
        if i % 3 == 2:
            population.leave()
    after = population.fleet("after").validate()
    for kept, recomputed in zip(
        (
            population.packing.free_cores,
            population.packing.free_memory,
            population.packing.free_gpu,
        ),
        after.free(),
        strict=True,
    ):
        assert kept.tolist() == recomputed.tolist()
    for group, most in enumerate(after.group_max_per_pm):
        on_pm = np.bincount(after.vm_pm[after.vm_group == group], minlength=pms)
        assert on_pm.max() <= most


def test_fewest_cores_then_least_memory_then_lowest_index():
    packing = Packing(machines(3))
    packing.take(2, Need(4, 1, 0, False))
    packing.take(3, Need(4, 2, 0, False))
    packing.take(4, Need(4, 2, 0, False))
    assert packing.best_fit(Need(4, 4, 0, False)) == 3  # 12 cores like 2 and 4, memory like 4
    assert packing.best_fit(Need(4, 15, 0, False)) == 2  # 3 and 4 lack memory
    assert packing.best_fit(Need(13, 1, 0, False)) == 0
    assert packing.best_fit(Need(12, 14, 0, True)) == 2  # machine 1: 24 free cores
    assert packing.best_fit(Need(13, 1, 0, True)) == 0
    assert packing.best_fit(Need(17, 1, 0, True)) == -1


def test_large_sizes_do_not_overflow():
    most = 2**30 - 1
    packing = Packing(machines(2, most, most))
    assert packing.best_fit(Need(most, most, 0, True)) == 0
    packing.take(0, Need(most, 0, 0, True))
    assert packing.best_fit(Need(1, most, 0, True)) == 2
    assert packing.best_fit(Need(1, most, 0, False)) == 2
    assert packing.best_fit(Need(0, most, 0, False)) == 0


def test_no_machines():
    assert best_fit(empty(0, 1), Need(1, 1, 0, False)) == -1


@settings(max_examples=40, deadline=None)
@given(
    needs=st.lists(NEEDS, min_size=1, max_size=25),
    departures=st.integers(0, 40),
    utilisation=st.floats(0, 1),
    seed=st.integers(0, 2**63),
)
def test_churn_conserves(needs, departures, utilisation, seed):
    population = Population(machines(4), np.random.default_rng(0))
    population.arrive(Need(1, 1, 0, False))
    for need in needs:
        population.arrive(need)
    before = population.fleet("before")
    after = churned(before, departures=departures, utilisation=utilisation, seed=seed).validate()
    assert set(needs_of(after)) <= set(needs_of(before))
    assert len(set(after.vm_ids)) == after.num_vms
    used = 1 - after.free()[0].sum() / after.slot_cores.sum()
    assert used <= utilisation + 1e-9
    place = dict(zip(before.vm_ids, zip(before.vm_pm, before.vm_numa, strict=True), strict=True))
    for vm, *now in zip(after.vm_ids, after.vm_pm, after.vm_numa, strict=True):
        assert place.get(vm, tuple(now)) == tuple(now)  # nobody migrates
    for group, most in enumerate(after.group_max_per_pm):
        assert np.bincount(after.vm_pm[after.vm_group == group], minlength=4).max() <= most


def test_immovable_vms_stay():
    population = Population(machines(4), np.random.default_rng(0))
    for _ in range(6):
        population.arrive(Need(4, 2, 0, False))
    fleet = population.fleet("f")
    pinned = replace(fleet, vm_movable=np.arange(6) == 5)
    after = churned(pinned, departures=50, utilisation=0.3, seed=1)
    assert after.vm_ids[:5] == fleet.vm_ids[:5]
    assert after.vm_pm[:5].tolist() == fleet.vm_pm[:5].tolist()
    assert not after.vm_movable[:5].any()
    assert after.vm_movable[5:].all()
    assert "arrival-5" not in after.vm_ids
