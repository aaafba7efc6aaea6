"""Small random fleets, and the best plan for one by trying every sequence of moves."""

import numpy as np

from fleetgym.baselines.vm_rescheduling.problem import Problem
from fleetgym.envs.vm_rescheduling.objective import Objective


def tiny(seed, *, pms=2, vms=6, moves=3, groups=0, gpu=False, scarce=False, fixed=0.1, **weights):
    """A random problem: nodes of 6 to 10 cores, X = 4, VMs of 1 to 4 cores."""
    rng = np.random.default_rng(seed)
    free = np.stack([
        rng.integers(6, 11, 2 * pms),
        rng.integers(8, 14, 2 * pms) if scarce else np.full(2 * pms, 100),
        np.where(rng.random(2 * pms) < 0.5, 2000, 0) if gpu else np.zeros(2 * pms, int),
    ], axis=1)  # fmt: skip
    most = rng.integers(1, 3, groups)
    load = np.zeros((groups, pms), int)
    rows = []
    for _ in range(vms):
        double = rng.random() < 0.2
        need = np.array([
            rng.choice([1, 2, 3, 4]), rng.integers(1, 4), 500 if gpu and rng.random() < 0.4 else 0
        ])  # fmt: skip
        group = int(rng.integers(-1, groups)) if groups else -1
        slots = np.arange(0, 2 * pms, 2) if double else np.arange(2 * pms)
        for slot in rng.permutation(slots):
            nodes = slice(slot, slot + 1 + double)
            if (free[nodes] < need).any():
                continue
            if group >= 0 and load[group, slot // 2] >= most[group]:
                continue
            free[nodes] -= need
            if group >= 0:
                load[group, slot // 2] += 1
            rows.append((slot, *need, double, rng.random() >= fixed, group))
            break
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    slot, cores, memory, gpus, double, movable, group = columns
    return Problem(
        *(column.astype(np.int32) for column in free.T),
        *(column.astype(np.int32) for column in (slot, cores, memory, gpus)),
        double.astype(bool), movable.astype(bool), group.astype(np.int32), most.astype(np.int32),
        moves, Objective(**{"fragment_cores": 4, "pair_cores": 8, "memory_chunk": 4, **weights}),
    )  # fmt: skip


def objective(problem):
    """The weighted objective without traffic, term by term as it is defined."""
    goal, cores = problem.objective, problem.free_cores.astype(int)
    half = goal.pair_cores // 2
    pairs = sum(min(a // half, b // half) for a, b in cores.reshape(-1, 2))
    hosts = len({int(slot) // 2 for slot in problem.vm_slot})
    memory, gpu = problem.free_memory.astype(int), problem.free_gpu.astype(int)
    return (
        goal.weight_fragment * sum(cores % goal.fragment_cores) / max(sum(cores), 1)
        + goal.weight_pair * (sum(cores) - 2 * half * pairs) / max(sum(cores), 1)
        + goal.weight_memory * sum(memory % goal.memory_chunk) / max(sum(memory), 1)
        + goal.weight_gpu * sum(gpu % 1000) / max(sum(gpu), 1)
        + goal.weight_active * hosts / problem.num_pms
    )


def best_objective(problem):
    """The least objective that any sequence of legal moves reaches (traffic must weigh nothing)."""
    seen = {problem.vm_slot.tobytes()}
    level, best = [problem], objective(problem)
    for _ in range(problem.moves_left):
        after = []
        for state in level:
            for vm in range(len(state.vm_slot)):
                for slot in state.legal_targets(vm):
                    place = state.vm_slot.copy()
                    place[vm] = slot
                    if place.tobytes() not in seen:
                        seen.add(place.tobytes())
                        after.append(state.moved(vm, int(slot)))
        best = min([best, *(objective(state) for state in after)])
        level = after
    return best


def play(problem, moves):
    """The problem after a plan, move by move by the rules of `Problem`."""
    for vm, slot in moves:
        problem = problem.moved(int(vm), int(slot))
    return problem
