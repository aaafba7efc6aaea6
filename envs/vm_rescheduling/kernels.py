"""A step of B worlds: decisions, and the outside world's events.

Only what changed is written again: the rows of changed machines and of the VM that moved, the
legality of classes whose number of targets is small, and one byte per entry of the mask.
"""

from collections.abc import Callable

import numpy as np

from fleetgym.envs.core.jit import inner, kernel
from fleetgym.envs.core.status import DONE, ILLEGAL, STALE
from fleetgym.envs.vm_rescheduling.dynamics import (
    arrive,
    attach,
    close_machine,
    depart,
    has_target,
    is_legal,
    migrate,
    objective,
    total,
)
from fleetgym.envs.vm_rescheduling.observe import (
    observe_choice,
    observe_pm,
    observe_vm,
    refresh_legal,
    reset_legal,
    write_mask,
    write_progress,
)
from fleetgym.envs.vm_rescheduling.types import (
    CHOSEN,
    CLASS_SLOTS,
    CLOCK,
    CURSOR,
    DOUBLE,
    ELAPSED,
    EVENT_ARRIVES,
    EVENT_TIME,
    EVENT_VM,
    MOVES_LEFT,
    NUMA,
    PM,
    STATUS,
    STEPS,
    SUM_DROPPED,
    SUM_FRAGMENT_CORES,
    SUM_ILLEGALS,
    SUM_TRAFFIC,
    TERMINATED,
    TERMS,
    TRUNCATED,
    TYPE,
    VM_NUMA,
    Bool,
    Float64,
    Int8,
    Int32,
    Int64,
    Rules,
    UInt64,
    World,
)

PolicyKernel = Callable[[World, int, UInt64], int]


@inner
def withdraw_choice(w: World, b: int) -> None:
    """Goes back to the first phase."""
    chosen = w.scalars[b, CHOSEN]
    w.scalars[b, CHOSEN] = -1
    observe_choice(w, b, chosen, False)


@inner
def migrate_and_observe(w: World, b: int, vm: int, slot: int, rules: Rules) -> None:
    """Makes a legal migration, hands out its reward by terms, and rewrites what it changed."""
    fragments = w.sums[b, SUM_FRAGMENT_CORES]
    before = objective(w, b, rules)
    source = w.vms[b, vm, PM]
    migrate(w, b, vm, slot, rules)
    after = objective(w, b, rules)
    if rules.vmr2l_reward:
        w.reward[b, 0] = (fragments - w.sums[b, SUM_FRAGMENT_CORES]) / 128.0
    else:
        for term in range(6):
            w.reward[b, term] = before[term] - after[term]
    observe_pm(w, b, source, rules)
    observe_pm(w, b, slot // 2, rules)
    w.obs_vms[b, vm, VM_NUMA] = w.vms[b, vm, NUMA]
    refresh_legal(w, b)
    if w.scalars[b, MOVES_LEFT] == 0:
        w.legal[b, :] = 0


@inner
def decide(w: World, b: int, first: int, second: int, rules: Rules) -> None:
    """Applies one decision of world b: legality is judged by the mask the policy saw."""
    num_vms, num_slots = w.vms.shape[1], w.slots.shape[2]
    mask = w.mask[b]
    vm, slot = first, second
    if rules.pair_action:
        known = 0 <= vm <= num_vms and 0 <= slot < num_slots
        seen = known and mask[vm] == 1 and (vm == num_vms or mask[num_vms + 1 + slot] == 1)
    else:
        seen = 0 <= first < mask.shape[0] and mask[first] == 1
        if seen and w.scalars[b, CHOSEN] >= 0:
            vm, slot = w.scalars[b, CHOSEN], first - num_vms - 1
        elif seen:
            slot = -1
    if seen and vm == num_vms:
        w.flags[b, TERMINATED] = 1
        return
    stale = seen and not (has_target(w, b, vm) if slot < 0 else is_legal(w, b, vm, slot))
    # A pair's mask is necessary only: with no time passed, a pair that is not legal never was.
    if not seen or (stale and rules.pair_action and w.scalars[b, ELAPSED] == 0):
        w.sums[b, SUM_ILLEGALS] += 1
        w.flags[b, STATUS] = ILLEGAL
        w.reward[b, 7] = -rules.illegal_penalty
        # A choice stands after an illegal action, unless time has left it without a target.
        if w.scalars[b, CHOSEN] >= 0 and not has_target(w, b, w.scalars[b, CHOSEN]):
            withdraw_choice(w, b)
        return
    if w.scalars[b, CHOSEN] >= 0:
        withdraw_choice(w, b)
    if stale:
        w.sums[b, SUM_DROPPED] += 1
        w.flags[b, STATUS] = STALE
    elif slot < 0:
        w.scalars[b, CHOSEN] = vm
        observe_choice(w, b, vm, True)
    else:
        migrate_and_observe(w, b, vm, slot, rules)
        w.flags[b, TERMINATED] = w.scalars[b, MOVES_LEFT] == 0


@inner
def step_world(w: World, b: int, first: int, second: int, rules: Rules) -> None:
    """Steps one world; ``second`` is read with pair actions only."""
    w.flags[b, STATUS] = DONE
    w.reward[b, :] = 0.0
    w.reward[b, 6] = w.outside[b]
    w.outside[b] = 0.0
    w.scalars[b, STEPS] += 1
    decide(w, b, first, second, rules)
    for term in range(len(TERMS)):
        w.reward[b, len(TERMS)] += w.reward[b, term]
    w.scalars[b, ELAPSED] = 0
    late = w.scalars[b, STEPS] >= rules.max_steps or w.scalars[b, CLOCK] >= rules.horizon
    w.flags[b, TRUNCATED] = late and not w.flags[b, TERMINATED]
    write_mask(w, b, rules)
    write_progress(w, b, rules)


@kernel
def step(w: World, actions: Int64, active: Bool, rules: Rules) -> None:
    """Steps the active worlds. ``actions``: (B, 2); the second column only with pair actions."""
    for b in range(actions.shape[0]):
        if active[b]:
            step_world(w, b, actions[b, 0], actions[b, 1], rules)


@kernel
def rollout(
    w: World, policy: PolicyKernel, random: UInt64, actions: Int64, counts: Int64, rules: Rules
) -> None:
    """Plays every world with a Numba policy, to its end or for so many steps.

    Args:
        w: the worlds.
        policy: ``policy(w, b, random)``: the flat action of world ``b``.
        random: ``(B,)`` states of SplitMix64, for the policy to advance.
        actions: ``(B, most steps)``, written.
        counts: ``(B,)`` steps made, written.
        rules: of the scenario; two-phase actions.
    """
    for b in range(actions.shape[0]):
        counts[b] = 0
        while (
            counts[b] < actions.shape[1]
            and not w.flags[b, TERMINATED]
            and not w.flags[b, TRUNCATED]
        ):
            action = policy(w, b, random)
            step_world(w, b, action, 0, rules)
            actions[b, counts[b]] = action
            counts[b] += 1


@kernel
def elapse(w: World, duration: Int64, rules: Rules) -> None:
    """Lets the outside world go on for ``duration`` (B,) ns; the mask the policy saw stands."""
    for b in range(duration.shape[0]):
        if duration[b] <= 0:
            continue
        w.scalars[b, CLOCK] += duration[b]
        w.scalars[b, ELAPSED] = 1
        fragments = w.sums[b, SUM_FRAGMENT_CORES]
        before = total(objective(w, b, rules))
        while (
            w.scalars[b, CURSOR] < w.events.shape[2]
            and w.events[b, EVENT_TIME, w.scalars[b, CURSOR]] <= w.scalars[b, CLOCK]
        ):
            vm = w.events[b, EVENT_VM, w.scalars[b, CURSOR]]
            if w.events[b, EVENT_ARRIVES, w.scalars[b, CURSOR]]:
                pm = arrive(w, b, vm, rules)
            else:
                pm = depart(w, b, vm, rules)
            if pm >= 0:
                observe_pm(w, b, pm, rules)
                observe_vm(w, b, vm, rules)
            w.scalars[b, CURSOR] += 1
        reset_legal(w, b)
        if rules.vmr2l_reward:
            w.outside[b] += (fragments - w.sums[b, SUM_FRAGMENT_CORES]) / 128.0
        else:
            w.outside[b] += before - total(objective(w, b, rules))
        if w.scalars[b, CHOSEN] >= 0:
            observe_choice(w, b, w.scalars[b, CHOSEN], True)
        write_progress(w, b, rules)


@kernel
def prepare(w: World, b: int, place: Int32, rules: Rules) -> None:
    """Puts every VM on its slot, ``place`` (V,) or -1, and computes all that is derived."""
    for vm in range(place.shape[0]):
        if place[vm] >= 0:
            attach(w, b, vm, place[vm])
    w.sums[b, :SUM_TRAFFIC] = 0
    w.classes[b, CLASS_SLOTS, :] = 0
    for pm in range(w.machines.shape[1]):
        close_machine(w, b, pm, rules)
        observe_pm(w, b, pm, rules)
    for vm in range(w.vms.shape[1]):
        observe_vm(w, b, vm, rules)
    reset_legal(w, b)
    write_mask(w, b, rules)
    write_progress(w, b, rules)


@kernel
def objectives(w: World, rules: Rules, out: Float64) -> None:
    """Writes the objective of every world, ``(B,)``."""
    for b in range(out.shape[0]):
        out[b] = total(objective(w, b, rules))


@kernel
def write_masks(w: World, rules: Rules) -> None:
    """Writes the mask of every world anew."""
    for b in range(w.mask.shape[0]):
        write_mask(w, b, rules)


@kernel
def legal_targets(w: World, b: int, vm: int, legal: Int8) -> None:
    """Marks the legal targets of a VM ``(S,)``; of a machine, its first slot for a double VM."""
    double = w.vms[b, vm, PM] >= 0 and w.types[b, DOUBLE, w.vms[b, vm, TYPE]] == 1
    for slot in range(0, legal.shape[0], 2 if double else 1):
        legal[slot] = is_legal(w, b, vm, slot)


@inner
def draw_legal(w: World, b: int, random: UInt64) -> int:
    """A uniformly random legal flat action of the world.

    Entries are drawn by SplitMix64 (Steele et al. 2014; ``random[b]`` is its state) until one is
    open, and a mask has one at least: a look at a few bytes.
    """
    size = np.uint64(w.mask.shape[1])
    while True:
        random[b] += np.uint64(0x9E3779B97F4A7C15)
        z = random[b]
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        index = int(np.int64((z ^ (z >> np.uint64(31))) % size))  # unsigned would make floats
        if w.mask[b, index]:
            return index


@kernel
def sample_legal(w: World, active: Bool, random: UInt64, actions: Int64) -> None:
    """Writes a random legal action of each active world into ``actions[:, 0]``, (B, 2)."""
    for b in range(actions.shape[0]):
        if active[b]:
            actions[b, 0] = draw_legal(w, b, random)
