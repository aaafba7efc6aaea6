"""Small random fleets with churn, of every shape the machine must carry."""

import numpy as np

from fleetgym.envs.vm_rescheduling.scenario import VMReschedulingScenario
from fleetgym.envs.vm_rescheduling.workloads import VMWorkload
from fleetgym.traces.schema import Fleet

SECOND = 10**9
NODE_SHAPES = (  # cores, MiB, milli-GPU of the two nodes of a machine
    ((16, 64, 0), (16, 64, 0)),
    ((12, 40, 2000), (12, 40, 0)),
    ((20, 100, 1000), (8, 30, 3000)),
    ((16, 48, 1000), (0, 0, 0)),  # one node
    ((0, 0, 0), (0, 0, 0)),  # a machine that takes nothing
)
VM_SHAPES = (  # cores, MiB, milli-GPU on each node
    (1, 4, 0),
    (2, 8, 0),
    (4, 8, 0),
    (4, 16, 500),
    (8, 24, 1000),
    (12, 32, 0),
    (0, 6, 0),
    (3, 20, 250),
)


def capacity_of(pms, vms, groups):
    """Upper sizes of the workloads that `random_workload` draws."""
    types = 2 * len(VM_SHAPES)
    classes = types * (groups + 1)
    sizes = {"pms": pms, "vms": vms, "types": types, "classes": classes}
    return sizes | {"groups": groups, "events": 2 * vms}


def random_workload(rng, pms, vms, groups, churn):
    """At most so many machines, VMs and groups; unplaced VMs arrive later where there is churn."""
    p, v = int(rng.integers(1, pms + 1)), int(rng.integers(0, vms + 1))
    shapes = np.array(NODE_SHAPES)[rng.choice(len(NODE_SHAPES), p, p=[0.5, 0.15, 0.15, 0.15, 0.05])]
    slots = shapes.reshape(2 * p, 3)
    needs = np.array(VM_SHAPES)[rng.integers(0, len(VM_SHAPES), v)].reshape(v, 3)
    double = rng.random(v) < 0.25
    group = rng.integers(-1, groups, v) if groups else np.full(v, -1)
    most = rng.integers(1, 3, groups)
    late = rng.random(v) < (0.4 if churn else 0.0)
    place = _place(rng, slots, needs, double, late)
    fleet = Fleet(
        name="random",
        slot_cores=slots[:, 0].astype(np.int32),
        slot_memory=slots[:, 1].astype(np.int32),
        slot_gpu=slots[:, 2].astype(np.int32),
        pm_rack=rng.integers(0, 3, p).astype(np.int32),
        vm_cores=needs[:, 0].astype(np.int32),
        vm_memory=needs[:, 1].astype(np.int32),
        vm_gpu=needs[:, 2].astype(np.int32),
        vm_double=double,
        vm_pm=np.where(place < 0, -1, place // 2).astype(np.int32),
        vm_numa=np.where(place < 0, 0, place % 2).astype(np.int32),
        vm_movable=rng.random(v) < 0.9,
        vm_group=group.astype(np.int32),
        group_max_per_pm=most.astype(np.int32),
    ).validate()
    return VMWorkload("random", 0, fleet, *_events(rng, np.flatnonzero(late), v, churn))


def _place(rng, slots, needs, double, late):
    """A random slot with room for each VM, or -1; groups may begin too full."""
    free, place = slots.copy(), np.full(len(needs), -1)
    for v in np.flatnonzero(~late):
        for slot in rng.permutation(len(free))[:4]:
            first = slot - slot % 2 if double[v] else slot
            nodes = slice(first, first + 1 + double[v])
            if (free[nodes] >= needs[v]).all():
                free[nodes] -= needs[v]
                place[v] = first
                break
    return place


def _events(rng, late, v, churn):
    """Arrivals of the late ones, and departures of some of all (of rejected ones too)."""
    rows = []
    if churn:
        arrival = dict.fromkeys(range(v), 0) | {
            int(vm): int(rng.integers(0, 60 * SECOND)) for vm in late
        }
        rows = [(arrival[int(vm)], 1, int(vm)) for vm in late]
        for vm in np.flatnonzero(rng.random(v) < 0.5):
            rows.append((arrival[int(vm)] + int(rng.integers(1, 60 * SECOND)), 0, int(vm)))
    rows.sort()
    time, arrives, vm = (np.array([row[i] for row in rows], np.int64) for i in range(3))
    return time, vm.astype(np.int32), arrives.astype(np.int8)


def random_scenario(rng, action, reward):
    """Weights on every term, odd chunks, and sometimes a horizon that cuts the episode."""
    weights = np.round(rng.random(6) * (rng.random(6) < 0.7), 3)
    weights[0] += 0.25
    names = ("fragment", "pair", "memory", "gpu", "active", "traffic")
    return VMReschedulingScenario(
        name="random",
        workload="random",
        action=action,
        reward=reward,
        mnl=int(rng.integers(1, 13)),
        fragment_cores=int(rng.choice([1, 3, 4, 8, 16])),
        pair_cores=int(rng.choice([2, 8, 16])),
        memory_chunk=int(rng.choice([8, 10, 32])),
        horizon_s=float(rng.choice([30.0, 90.0, 1000.0])),
        illegal_penalty=float(rng.choice([0.0, 0.25])),
        threshold_mib=4.0,
        bandwidth_mib_s=10.0,
        dirty_mib_s=float(rng.choice([0.0, 5.0, 15.0])),
        **{f"weight_{name}": float(w) for name, w in zip(names, weights, strict=True)},
    )
