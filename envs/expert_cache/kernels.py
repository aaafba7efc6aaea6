"""A step of B worlds: a decision about one miss or prefetch, then on to the next one.

event n = (step, layer): route, judge hits; decide the misses in router order; settle (split
over GPU and CPU, clock to the end of the layer); decide prefetches for event n + 1.
"""

from collections.abc import Callable
from typing import Any

from fleetgym.envs.core.jit import folded, kernel
from fleetgym.envs.core.status import DONE, ILLEGAL
from fleetgym.envs.expert_cache.dynamics import begin_event, note_routing, overwrite, remember
from fleetgym.envs.expert_cache.observe import is_legal, shown_layer, write_view
from fleetgym.envs.expert_cache.split import settle_event
from fleetgym.envs.expert_cache.types import (
    ASKED,
    AT,
    BEGAN,
    CHOSEN,
    CLOCK,
    EVENT,
    FIRST,
    LAST_EVENT,
    LAYER,
    LEFT,
    LENGTH,
    MISS,
    MISSED,
    OVER,
    PLACE,
    PREFETCH,
    SLOT,
    STAGE,
    STATUS,
    STEP,
    STEPS,
    SUM_ILLEGALS,
    SUM_MAKESPAN,
    SUM_WAITED,
    TERMINATED,
    TERMS,
    TRUNCATED,
    WAITED,
    WRITTEN,
    Bool,
    Int64,
    Rules,
    UInt64,
    World,
)

PolicyKernel = Callable[[Any, int, Any, UInt64], int]


@folded
def run(w: World, b: int, rules: Rules) -> None:
    """Goes on until something is to be decided, or the episode's events are over."""
    s = w.scalars[b]
    while True:
        while s[AT] < s[LENGTH] and not w.request[b, MISSED, s[AT]]:
            s[AT] += 1
        if s[AT] < s[LENGTH]:
            s[STAGE] = MISS
            return
        settle_event(w, b, rules)
        if rules.prefetch > 0 and s[EVENT] + 1 < s[LAST_EVENT]:
            s[STAGE], s[LEFT] = PREFETCH, rules.prefetch
            return
        if not next_event(w, b):
            return


@folded
def next_event(w: World, b: int) -> bool:
    """Begins the next event; False where there is none."""
    s = w.scalars[b]
    s[EVENT] += 1
    if s[EVENT] >= s[LAST_EVENT]:
        s[STAGE] = OVER
        return False
    s[LAYER] += 1
    if s[LAYER] == w.table.shape[1]:
        s[LAYER] = 0
        s[STEP] += 1
    s[AT] = 0
    begin_event(w, b)
    return True


@folded
def apply(w: World, b: int, action: int, rules: Rules) -> None:
    """Carries out a legal action, and runs on to the next decision."""
    s = w.scalars[b]
    slots, stage = w.copies.shape[3], s[STAGE]
    if stage == MISS:
        if action > 0:
            expert = w.request[b, ASKED, s[AT]]
            overwrite(w, b, s[LAYER], action - 1, expert, s[CLOCK], False, rules)
        s[AT] += 1
        run(w, b, rules)
    elif stage == PREFETCH and action > 0:
        s[CHOSEN], s[STAGE] = action - 1 - slots, SLOT
    elif stage == SLOT:
        # In the shadow of the layer just settled: the copy may begin as early as that did.
        overwrite(
            w, b, shown_layer(s, w.table.shape[1]), action - 1, s[CHOSEN], s[BEGAN], True, rules
        )
        s[CHOSEN], s[STAGE] = -1, PREFETCH
        s[LEFT] -= 1
    done = (stage == PREFETCH and action == 0) or (stage == SLOT and s[LEFT] == 0)
    if done and next_event(w, b):
        run(w, b, rules)


@folded
def step_world(w: World, b: int, action: int, rules: Rules) -> None:
    """Steps one world; its observation and mask are not written."""
    s, reward = w.scalars[b], w.reward[b]
    reward[:] = 0.0
    w.flags[b, STATUS] = DONE
    s[STEPS] += 1
    before, missing = s[SUM_MAKESPAN], s[STAGE] == MISS
    layer = shown_layer(s, w.table.shape[1])
    if is_legal(s, w.copies[b, layer, WRITTEN], w.table[b, layer, PLACE], action):
        apply(w, b, action, rules)
        if rules.miss_reward:
            reward[2] = -1.0 if missing else 0.0
        else:
            reward[0] = -(s[SUM_MAKESPAN] - before) / 1e6
            reward[1] = -s[WAITED] / 1e6
        s[WAITED] = 0
    else:
        s[SUM_ILLEGALS] += 1
        w.flags[b, STATUS] = ILLEGAL
        reward[3] = -rules.illegal_penalty
    reward[len(TERMS)] = reward[0] + reward[1] + reward[2] + reward[3]
    w.flags[b, TERMINATED] = s[STAGE] == OVER
    w.flags[b, TRUNCATED] = s[STEPS] >= rules.max_steps and s[STAGE] != OVER


@kernel
def step(w: World, actions: Int64, active: Bool, rules: Rules) -> None:
    """Steps the active worlds. ``actions``: (B,)."""
    for b in range(actions.shape[0]):
        if active[b]:
            step_world(w, b, actions[b], rules)
            if w.flags[b, STATUS] == DONE:
                write_view(w, b, rules)


@kernel
def rollout(
    w: World,
    policy: PolicyKernel,
    seen: Any,
    parameters: Any,
    random: UInt64,
    actions: Int64,
    counts: Int64,
    rules: Rules,
) -> None:
    """Plays every world with a Numba policy, to its end or for so many steps.

    Args:
        w: the worlds.
        policy: ``policy(seen, b, parameters, random)``: the action of world ``b``.
        seen: what the policy sees, a `State` or a tuple with one.
        parameters: of the policy.
        random: ``(B,)`` states of SplitMix64, for the policy to advance.
        actions: ``(B, most steps)``, written.
        counts: ``(B,)`` steps made, written.
        rules: of the scenario.
    """
    for b in range(actions.shape[0]):
        counts[b] = 0
        while (
            counts[b] < actions.shape[1]
            and not w.flags[b, TERMINATED]
            and not w.flags[b, TRUNCATED]
        ):
            action = policy(seen, b, parameters, random)
            step_world(w, b, action, rules)
            actions[b, counts[b]] = action
            counts[b] += 1
        write_view(w, b, rules)


@kernel
def elapse(w: World, duration: Int64, rules: Rules) -> None:
    """The GPU and the CPU wait for the decision; PCIe goes on."""
    for b in range(duration.shape[0]):
        if duration[b] > 0:
            w.scalars[b, CLOCK] += duration[b]
            w.scalars[b, BEGAN] += duration[b]
            w.scalars[b, WAITED] += duration[b]
            w.scalars[b, SUM_WAITED] += duration[b]
            write_view(w, b, rules)


@kernel
def warm_up(w: World, b: int) -> None:
    """Takes the events before the first into the statistics."""
    layers, k_max = w.table.shape[1], w.request.shape[2]
    for n in range(w.scalars[b, FIRST]):
        note_routing(w.routes[b, n], w.table[b, n % layers], k_max, n // layers)
        remember(w.routes[b, n], w.history[b, n])


@kernel
def start(w: World, b: int, rules: Rules) -> None:
    """Begins the first event and runs on to the first decision."""
    s = w.scalars[b]
    s[EVENT] = s[FIRST] - 1
    s[LAYER] = w.table.shape[1] - 1
    s[STEP] = s[FIRST] // w.table.shape[1] - 1
    if next_event(w, b):
        run(w, b, rules)
    write_view(w, b, rules)


@kernel
def write_views(w: World, rules: Rules) -> None:
    """Writes observation and mask of every world anew."""
    for b in range(w.mask.shape[0]):
        write_view(w, b, rules)
