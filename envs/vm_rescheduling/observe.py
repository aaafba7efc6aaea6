"""What a policy sees: rows of machines and VMs, the mask, and which VMs have a legal target."""

from fleetgym.envs.core.jit import inner
from fleetgym.envs.vm_rescheduling.dynamics import (
    group_full,
    has_target,
    objective,
    ratio,
    total,
)
from fleetgym.envs.vm_rescheduling.types import (
    ACTIVE,
    CHOSEN,
    CLASS,
    CLASS_END,
    CLASS_GROUP,
    CLASS_SEEN,
    CLASS_SLOTS,
    CLASS_START,
    CLASS_TYPE,
    CLOCK,
    CORES,
    DOUBLE,
    FREE_CORES,
    FREE_GPU,
    FREE_MEMORY,
    GPU,
    GROUP_FULL,
    MEMORY,
    MOVABLE,
    MOVES_LEFT,
    NODE_FEATURES,
    NUMA,
    PM,
    SLOT_CORES,
    SLOT_GPU,
    SLOT_MEMORY,
    SUM_FRAGMENT_CORES,
    SUM_FREE_CORES,
    TYPE,
    VM_CHOSEN,
    VM_NUMA,
    VMS,
    Int8,
    Rules,
    World,
)


@inner
def observe_pm(w: World, b: int, pm: int, rules: Rules) -> None:
    """Writes the machine's row of the observation."""
    row = w.obs_pms[b, pm]
    cores, memory, gpu = w.scale[b, 0], w.scale[b, 1], w.scale[b, 2]
    for node in range(2):
        slot, at = 2 * pm + node, NODE_FEATURES * node
        row[at] = w.slots[b, FREE_CORES, slot] / cores
        row[at + 1] = (w.slots[b, SLOT_CORES, slot] - w.slots[b, FREE_CORES, slot]) / cores
        row[at + 2] = w.slots[b, FREE_MEMORY, slot] / memory
        row[at + 3] = (w.slots[b, SLOT_MEMORY, slot] - w.slots[b, FREE_MEMORY, slot]) / memory
        row[at + 4] = w.slots[b, FREE_GPU, slot] / gpu
        row[at + 5] = (w.slots[b, SLOT_GPU, slot] - w.slots[b, FREE_GPU, slot]) / gpu
        row[at + 6] = (w.slots[b, FREE_CORES, slot] % rules.fragment_cores) / rules.fragment_cores
    row[ACTIVE] = 1.0 if w.machines[b, pm, VMS] > 0 else 0.0


@inner
def observe_vm(w: World, b: int, vm: int, rules: Rules) -> None:
    """Writes the VM's row of the observation: zeros while it is not placed."""
    row = w.obs_vms[b, vm]
    pm = w.vms[b, vm, PM]
    if pm < 0:
        row[:] = 0.0
        return
    vm_type = w.vms[b, vm, TYPE]
    row[0] = w.types[b, CORES, vm_type] / w.scale[b, 0]
    row[1] = w.types[b, MEMORY, vm_type] / w.scale[b, 1]
    row[2] = w.types[b, GPU, vm_type] / w.scale[b, 2]
    row[3] = w.types[b, DOUBLE, vm_type]
    row[VM_NUMA] = w.vms[b, vm, NUMA]
    row[5] = 1.0
    row[6] = w.vms[b, vm, MOVABLE]
    row[7] = (w.types[b, CORES, vm_type] % rules.fragment_cores) / rules.fragment_cores
    row[VM_CHOSEN] = 1.0 if w.scalars[b, CHOSEN] == vm else 0.0


@inner
def observe_choice(w: World, b: int, vm: int, chosen: bool) -> None:
    """Marks the VM as chosen or no longer so, and the machines its group has filled."""
    w.obs_vms[b, vm, VM_CHOSEN] = 1.0 if chosen and w.vms[b, vm, PM] >= 0 else 0.0
    vm_class = w.vms[b, vm, CLASS]
    group = w.classes[b, CLASS_GROUP, vm_class] if vm_class >= 0 else -1
    if group >= 0:
        for pm in range(w.machines.shape[1]):
            full = chosen and group_full(w, b, group, pm)
            w.obs_pms[b, pm, GROUP_FULL] = 1.0 if full else 0.0


@inner
def refresh_legal(w: World, b: int) -> None:
    """Brings ``legal`` up to date after machines have changed.

    A class of two targets or more has one for each of its VMs, and one of none (and no group) has
    none: only where the count comes from, goes to or is between these does a VM's own place matter.
    """
    for vm_class in range(w.classes.shape[2]):
        if w.classes[b, CLASS_TYPE, vm_class] < 0:
            break  # padding is at the end
        now, seen = w.classes[b, CLASS_SLOTS, vm_class], w.classes[b, CLASS_SEEN, vm_class]
        grouped = w.classes[b, CLASS_GROUP, vm_class] >= 0
        if (now < 2 or seen < 2) and (now != seen or now == 1 or grouped):
            for i in range(w.classes[b, CLASS_START, vm_class], w.classes[b, CLASS_END, vm_class]):
                vm = w.members[b, i]
                w.legal[b, vm] = has_target(w, b, vm)
        w.classes[b, CLASS_SEEN, vm_class] = now


@inner
def reset_legal(w: World, b: int) -> None:
    """Writes the legality of every VM anew."""
    for vm in range(w.vms.shape[1]):
        w.legal[b, vm] = has_target(w, b, vm)
    for vm_class in range(w.classes.shape[2]):
        w.classes[b, CLASS_SEEN, vm_class] = w.classes[b, CLASS_SLOTS, vm_class]


@inner
def write_mask(w: World, b: int, rules: Rules) -> None:
    """Writes the mask: V VMs, STOP, S slots (two-phase: the block not asked for is closed)."""
    mask = w.mask[b]
    num_vms, num_slots = w.vms.shape[1], w.slots.shape[2]
    targets = mask[num_vms + 1 :]
    legal = w.legal[b]
    vm = w.scalars[b, CHOSEN]
    if vm < 0:
        for i in range(num_vms):
            mask[i] = legal[i]
        mask[num_vms] = 1
        for i in range(num_slots):
            targets[i] = 0
        if rules.pair_action and w.scalars[b, MOVES_LEFT] > 0:
            any_target(w, b, targets)
        return
    for i in range(num_vms + 1):
        mask[i] = 0
    vm_type = w.vms[b, vm, TYPE]
    cores = w.types[b, CORES, vm_type]
    memory = w.types[b, MEMORY, vm_type]
    gpu = w.types[b, GPU, vm_type]
    free_cores, free_memory, free_gpu = (
        w.slots[b, FREE_CORES],
        w.slots[b, FREE_MEMORY],
        w.slots[b, FREE_GPU],
    )
    for slot in range(num_slots):
        targets[slot] = (
            (free_cores[slot] >= cores) & (free_memory[slot] >= memory) & (free_gpu[slot] >= gpu)
        )
    if w.types[b, DOUBLE, vm_type]:
        for pm in range(num_slots // 2):
            targets[2 * pm] &= targets[2 * pm + 1]
            targets[2 * pm + 1] = 0
    here = w.vms[b, vm, PM]
    targets[2 * here + w.vms[b, vm, NUMA]] = 0
    group = w.classes[b, CLASS_GROUP, w.vms[b, vm, CLASS]]
    if group >= 0:
        for pm in range(num_slots // 2):
            if pm != here and group_full(w, b, group, pm):
                targets[2 * pm] = 0
                targets[2 * pm + 1] = 0


@inner
def any_target(w: World, b: int, targets: Int8) -> None:
    """Marks the slots that some type of VM fits: necessary for a pair to be legal."""
    for vm_type in range(w.types.shape[2]):
        cores = w.types[b, CORES, vm_type]
        memory = w.types[b, MEMORY, vm_type]
        gpu = w.types[b, GPU, vm_type]
        for slot in range(targets.shape[0]):
            targets[slot] |= (
                (w.slots[b, FREE_CORES, slot] >= cores)
                & (w.slots[b, FREE_MEMORY, slot] >= memory)
                & (w.slots[b, FREE_GPU, slot] >= gpu)
            )


@inner
def write_progress(w: World, b: int, rules: Rules) -> None:
    """Writes the observation's progress row."""
    row = w.progress[b]
    row[0] = w.scalars[b, MOVES_LEFT] / rules.mnl
    row[1] = min(1.0, w.scalars[b, CLOCK] / rules.horizon)
    row[2] = 1.0 if w.scalars[b, CHOSEN] >= 0 else 0.0
    row[3] = ratio(w.sums[b, SUM_FRAGMENT_CORES], w.sums[b, SUM_FREE_CORES])
    value = total(objective(w, b, rules))
    row[4] = min(1.0, value / max(1e-9, rules.weights.sum()))
