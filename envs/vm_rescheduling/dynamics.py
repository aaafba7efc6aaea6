"""The machine: placing, moving, arriving and leaving, on plain arrays.

Every function works on world ``b`` in place. ``State.sums`` holds the integers from which the
objective is computed, kept by taking a machine's share out before it changes and putting it back.
"""

import numpy as np

from fleetgym.envs.core.jit import inner
from fleetgym.envs.vm_rescheduling.types import (
    CLASS,
    CLASS_GROUP,
    CLASS_SLOTS,
    CLASS_TYPE,
    CORES,
    DOUBLE,
    FREE_CORES,
    FREE_GPU,
    FREE_MEMORY,
    GPU,
    GPU_CHUNK,
    MEMORY,
    MOVABLE,
    MOVES_LEFT,
    NEW_CLASS,
    NEW_MOVABLE,
    NEW_TYPE,
    NUM_PMS,
    NUMA,
    PM,
    SUM_ACTIVE_PMS,
    SUM_ARRIVALS,
    SUM_DEPARTURES,
    SUM_DOWNTIME,
    SUM_FRAGMENT_CORES,
    SUM_FRAGMENT_GPU,
    SUM_FRAGMENT_MEMORY,
    SUM_FREE_CORES,
    SUM_FREE_GPU,
    SUM_FREE_MEMORY,
    SUM_MIGRATIONS,
    SUM_MOVED,
    SUM_PAIR_FRAGMENT_CORES,
    SUM_REJECTED,
    SUM_TRAFFIC,
    TYPE,
    TYPE_DOWNTIME,
    TYPE_TRAFFIC,
    VM_MEMORY,
    VMS,
    Rules,
    Terms,
    World,
)


@inner
def room(w: World, b: int, vm_type: int, slot: int) -> bool:
    """Whether the NUMA node has room for a VM of the type (its share on one node)."""
    return bool(
        w.slots[b, FREE_CORES, slot] >= w.types[b, CORES, vm_type]
        and w.slots[b, FREE_MEMORY, slot] >= w.types[b, MEMORY, vm_type]
        and w.slots[b, FREE_GPU, slot] >= w.types[b, GPU, vm_type]
    )


@inner
def group_full(w: World, b: int, group: int, pm: int) -> bool:
    """Whether the machine holds as many VMs of the anti-affinity group as it may."""
    return bool(group >= 0 and w.group_count[b, group, pm] >= w.group_max[b, group])


@inner
def targets_on(w: World, b: int, vm_class: int, pm: int) -> int:
    """Number of targets the machine offers a newcomer of the class: 0, 1 or 2."""
    vm_type = w.classes[b, CLASS_TYPE, vm_class]
    if vm_type < 0 or group_full(w, b, w.classes[b, CLASS_GROUP, vm_class], pm):
        return 0
    first = 1 if room(w, b, vm_type, 2 * pm) else 0
    second = 1 if room(w, b, vm_type, 2 * pm + 1) else 0
    return first & second if w.types[b, DOUBLE, vm_type] else first + second


@inner
def is_legal(w: World, b: int, vm: int, slot: int) -> bool:
    """Whether the VM may migrate to the slot now (a double-NUMA VM: to its machine)."""
    here = w.vms[b, vm, PM]
    if here < 0 or not w.vms[b, vm, MOVABLE] or w.scalars[b, MOVES_LEFT] < 1:
        return False
    pm = slot // 2
    vm_type = w.vms[b, vm, TYPE]
    if pm != here and group_full(w, b, w.classes[b, CLASS_GROUP, w.vms[b, vm, CLASS]], pm):
        return False
    if w.types[b, DOUBLE, vm_type]:
        both = room(w, b, vm_type, 2 * pm) and room(w, b, vm_type, 2 * pm + 1)
        return bool(pm != here and both)
    return bool(slot != 2 * here + w.vms[b, vm, NUMA] and room(w, b, vm_type, slot))


@inner
def has_target(w: World, b: int, vm: int) -> bool:
    """Whether the VM has a legal target, from the class's count less its own place."""
    pm = w.vms[b, vm, PM]
    if pm < 0 or not w.vms[b, vm, MOVABLE] or w.scalars[b, MOVES_LEFT] < 1:
        return False
    vm_class = w.vms[b, vm, CLASS]
    count = w.classes[b, CLASS_SLOTS, vm_class]
    if count > 1:
        return True
    vm_type = w.vms[b, vm, TYPE]
    double = w.types[b, DOUBLE, vm_type]
    own = 2 * pm + w.vms[b, vm, NUMA]
    if group_full(w, b, w.classes[b, CLASS_GROUP, vm_class], pm):
        # The machine counts for nobody, but its member may still change NUMA node on it.
        return bool(count > 0 or (not double and room(w, b, vm_type, own ^ 1)))
    if double:
        return bool(count > targets_on(w, b, vm_class, pm))
    return bool(count > (1 if room(w, b, vm_type, own) else 0))


@inner
def share(w: World, b: int, pm: int, sign: int, rules: Rules) -> None:
    """Takes the machine's share out of the objective's sums (sign -1), or puts it back (+1)."""
    sums = w.sums[b]
    fragment = np.int64(0)
    for slot in range(2 * pm, 2 * pm + 2):
        cores = np.int64(w.slots[b, FREE_CORES, slot])
        memory = np.int64(w.slots[b, FREE_MEMORY, slot])
        gpu = np.int64(w.slots[b, FREE_GPU, slot])
        fragment += cores % rules.fragment_cores
        sums[SUM_FREE_CORES] += sign * cores
        sums[SUM_FRAGMENT_MEMORY] += sign * (memory % rules.memory_chunk)
        sums[SUM_FREE_MEMORY] += sign * memory
        sums[SUM_FRAGMENT_GPU] += sign * (gpu % GPU_CHUNK)
        sums[SUM_FREE_GPU] += sign * gpu
    sums[SUM_FRAGMENT_CORES] += sign * fragment
    first = np.int64(w.slots[b, FREE_CORES, 2 * pm])
    second = np.int64(w.slots[b, FREE_CORES, 2 * pm + 1])
    pairs = min(first // rules.pair_half, second // rules.pair_half)
    sums[SUM_PAIR_FRAGMENT_CORES] += sign * (first + second - 2 * rules.pair_half * pairs)
    if w.machines[b, pm, VMS] > 0:
        sums[SUM_ACTIVE_PMS] += sign


@inner
def count_targets(w: World, b: int, pm: int, sign: int) -> None:
    """Takes the machine's targets out of every class's count (sign -1), or puts them back (+1)."""
    for vm_class in range(w.classes.shape[2]):
        if w.classes[b, CLASS_TYPE, vm_class] < 0:
            break  # padding is at the end
        w.classes[b, CLASS_SLOTS, vm_class] += sign * targets_on(w, b, vm_class, pm)


@inner
def attach(w: World, b: int, vm: int, slot: int) -> None:
    """Puts an absent VM, whose type and class are set, on a slot that has room."""
    pm = slot // 2
    vm_type = w.vms[b, vm, TYPE]
    double = w.types[b, DOUBLE, vm_type]
    first = 2 * pm if double else slot
    for node in range(first, first + 1 + double):
        w.slots[b, FREE_CORES, node] -= w.types[b, CORES, vm_type]
        w.slots[b, FREE_MEMORY, node] -= w.types[b, MEMORY, vm_type]
        w.slots[b, FREE_GPU, node] -= w.types[b, GPU, vm_type]
    w.machines[b, pm, VMS] += 1
    w.vms[b, vm, PM] = pm
    w.vms[b, vm, NUMA] = first - 2 * pm
    group = w.classes[b, CLASS_GROUP, w.vms[b, vm, CLASS]]
    if group >= 0:
        w.group_count[b, group, pm] += 1


@inner
def detach(w: World, b: int, vm: int) -> None:
    """Takes a placed VM off its machine."""
    pm = w.vms[b, vm, PM]
    vm_type = w.vms[b, vm, TYPE]
    first = 2 * pm + w.vms[b, vm, NUMA]
    for node in range(first, first + 1 + w.types[b, DOUBLE, vm_type]):
        w.slots[b, FREE_CORES, node] += w.types[b, CORES, vm_type]
        w.slots[b, FREE_MEMORY, node] += w.types[b, MEMORY, vm_type]
        w.slots[b, FREE_GPU, node] += w.types[b, GPU, vm_type]
    w.machines[b, pm, VMS] -= 1
    w.vms[b, vm, PM] = -1
    w.vms[b, vm, NUMA] = 0
    group = w.classes[b, CLASS_GROUP, w.vms[b, vm, CLASS]]
    if group >= 0:
        w.group_count[b, group, pm] -= 1


@inner
def open_machine(w: World, b: int, pm: int, rules: Rules) -> None:
    """To be called before a machine changes."""
    share(w, b, pm, -1, rules)
    count_targets(w, b, pm, -1)


@inner
def close_machine(w: World, b: int, pm: int, rules: Rules) -> None:
    """To be called after a machine has changed."""
    share(w, b, pm, 1, rules)
    count_targets(w, b, pm, 1)


@inner
def migrate(w: World, b: int, vm: int, slot: int, rules: Rules) -> None:
    """Makes one legal migration and charges it."""
    source, target = w.vms[b, vm, PM], slot // 2
    vm_type = w.vms[b, vm, TYPE]
    open_machine(w, b, source, rules)
    if target != source:
        open_machine(w, b, target, rules)
    w.last_move[b, 0] = vm
    w.last_move[b, 1] = 2 * source + w.vms[b, vm, NUMA]
    w.last_move[b, 2] = 2 * target if w.types[b, DOUBLE, vm_type] else slot
    detach(w, b, vm)
    attach(w, b, vm, slot)
    close_machine(w, b, source, rules)
    if target != source:
        close_machine(w, b, target, rules)
    w.scalars[b, MOVES_LEFT] -= 1
    sums = w.sums[b]
    sums[SUM_MIGRATIONS] += 1
    sums[SUM_TRAFFIC] += w.types[b, TYPE_TRAFFIC, vm_type]
    sums[SUM_DOWNTIME] += w.types[b, TYPE_DOWNTIME, vm_type]
    sums[SUM_MOVED] += np.int64(w.types[b, MEMORY, vm_type]) * (1 + w.types[b, DOUBLE, vm_type])


@inner
def best_fit(w: World, b: int, vm_class: int) -> int:
    """The provider's placement of a newcomer, or -1 where it fits nowhere.

    Least free cores on the nodes it uses, then least free memory, then the lowest index.
    """
    vm_type = w.classes[b, CLASS_TYPE, vm_class]
    group = w.classes[b, CLASS_GROUP, vm_class]
    double = w.types[b, DOUBLE, vm_type]
    best, best_cores, best_memory = -1, np.int64(0), np.int64(0)
    for slot in range(0, w.slots.shape[2], 1 + double):
        if not room(w, b, vm_type, slot) or group_full(w, b, group, slot // 2):
            continue
        cores = np.int64(w.slots[b, FREE_CORES, slot])
        memory = np.int64(w.slots[b, FREE_MEMORY, slot])
        if double:
            if not room(w, b, vm_type, slot + 1):
                continue
            cores += w.slots[b, FREE_CORES, slot + 1]
            memory += w.slots[b, FREE_MEMORY, slot + 1]
        if best < 0 or cores < best_cores or (cores == best_cores and memory < best_memory):
            best, best_cores, best_memory = slot, cores, memory
    return best


@inner
def arrive(w: World, b: int, vm: int, rules: Rules) -> int:
    """A VM arrives and is placed by best fit. Returns its machine, or -1 where it is rejected."""
    slot = best_fit(w, b, w.newcomers[b, NEW_CLASS, vm])
    if slot < 0:
        w.sums[b, SUM_REJECTED] += 1
        return -1
    w.vms[b, vm, TYPE] = w.newcomers[b, NEW_TYPE, vm]
    w.vms[b, vm, CLASS] = w.newcomers[b, NEW_CLASS, vm]
    w.vms[b, vm, MOVABLE] = w.newcomers[b, NEW_MOVABLE, vm]
    open_machine(w, b, slot // 2, rules)
    attach(w, b, vm, slot)
    close_machine(w, b, slot // 2, rules)
    w.sums[b, SUM_ARRIVALS] += 1
    return slot // 2


@inner
def depart(w: World, b: int, vm: int, rules: Rules) -> int:
    """A VM leaves. Returns the machine it was on, or -1 where it was never placed."""
    pm = int(w.vms[b, vm, PM])
    if pm < 0:
        return -1
    open_machine(w, b, pm, rules)
    detach(w, b, vm)
    close_machine(w, b, pm, rules)
    w.sums[b, SUM_DEPARTURES] += 1
    return pm


@inner
def ratio(part: int, whole: int) -> float:
    """Part over whole, 0 where there is nothing."""
    return part / whole if whole > 0 else 0.0


@inner
def objective(w: World, b: int, rules: Rules) -> Terms:
    """The six weighted terms of the objective."""
    sums = w.sums[b]
    return (
        rules.weights[0] * ratio(sums[SUM_FRAGMENT_CORES], sums[SUM_FREE_CORES]),
        rules.weights[1] * ratio(sums[SUM_PAIR_FRAGMENT_CORES], sums[SUM_FREE_CORES]),
        rules.weights[2] * ratio(sums[SUM_FRAGMENT_MEMORY], sums[SUM_FREE_MEMORY]),
        rules.weights[3] * ratio(sums[SUM_FRAGMENT_GPU], sums[SUM_FREE_GPU]),
        rules.weights[4] * ratio(sums[SUM_ACTIVE_PMS], w.scalars[b, NUM_PMS]),
        rules.weights[5] * ratio(sums[SUM_TRAFFIC], w.scalars[b, VM_MEMORY]),
    )


@inner
def total(terms: Terms) -> float:
    """The objective."""
    return terms[0] + terms[1] + terms[2] + terms[3] + terms[4] + terms[5]
