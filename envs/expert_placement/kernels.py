"""A step of B worlds: edits in stages, a named planner, or predicted loads; then the window."""

from fleetgym.envs.core.jit import inner, kernel
from fleetgym.envs.core.status import DONE, ILLEGAL
from fleetgym.envs.expert_placement.edits import apply_edit
from fleetgym.envs.expert_placement.eplb import eplb_layer
from fleetgym.envs.expert_placement.observe import (
    mask_agent,
    mask_central,
    observe_balance,
    observe_holders,
    observe_incoming,
    observe_progress,
    observe_replicas,
    observe_share,
    observe_stage,
    observe_tokens,
    write_mask,
)
from fleetgym.envs.expert_placement.packing import SWAPS, pack_layer
from fleetgym.envs.expert_placement.planners import LPT, hierarchical, plan_layer, plan_window
from fleetgym.envs.expert_placement.serving import count_replicas, layer_ns
from fleetgym.envs.expert_placement.types import (
    CLAIRVOYANT,
    CLOCK,
    EDITS_LEFT,
    FRESH,
    LAYER,
    PASSED,
    SLOT,
    STEPS,
    SUM_EDITS,
    SUM_ILLEGALS,
    SUM_WINDOW_EDITS,
    TERMINATED,
    TERMS,
    THOUGHT,
    TRUNCATED,
    WINDOW,
    Bool,
    Int64,
    Rules,
    Scratch,
    World,
)
from fleetgym.envs.expert_placement.window import begin_window, refer_window, serve_window


@inner
def begin_step(w: World, b: int) -> None:
    """No reward yet, and nothing illegal."""
    w.reward[b, :, :] = 0.0
    w.status[b, :] = DONE
    w.scalars[b, STEPS] += 1


@inner
def end_step(w: World, b: int, rules: Rules) -> None:
    """Adds the terms up, and ends an episode that goes on for too long."""
    for agent in range(w.reward.shape[1]):
        row = w.reward[b, agent]
        for term in range(len(TERMS)):
            row[len(TERMS)] += row[term]
    late = w.scalars[b, STEPS] >= rules.max_steps
    w.flags[b, TRUNCATED] = late and not w.flags[b, TERMINATED]


@inner
def refuse(w: World, b: int, agent: int, rules: Rules) -> None:
    """An action that the mask forbids."""
    w.status[b, agent] = ILLEGAL
    w.reward[b, agent, len(TERMS) - 1] = -rules.illegal_penalty
    w.sums[b, SUM_ILLEGALS] += 1


@inner
def allowed(w: World, b: int, agent: int, action: int) -> bool:
    """Whether the mask the policy saw is open there; nothing that passes meanwhile closes it."""
    return bool(0 <= action < w.mask.shape[2] and w.mask[b, agent, action] == 1)


@inner
def make_edit(w: World, b: int, layer: int, target: int, rules: Rules, s: Scratch) -> None:
    """Makes the edit whose slot has been chosen, and rewrites what it changed."""
    slot, experts = w.layers[b, layer, SLOT], w.replicas.shape[2]
    per_gpu, before = w.plan.shape[2] // rules.gpus, w.plan[b, layer, slot]
    gpu, other = slot // per_gpu, (target - experts) // per_gpu
    apply_edit(w, b, layer, slot, target)
    w.layers[b, layer, SLOT] = -1
    w.sums[b, SUM_EDITS] += 1
    w.sums[b, SUM_WINDOW_EDITS] += 1
    observe_incoming(w, b, layer, gpu, per_gpu)
    if target < experts:
        observe_replicas(w, b, layer, before)
        observe_replicas(w, b, layer, target)
    else:
        observe_incoming(w, b, layer, other, per_gpu)
    if rules.lp_dispatch:
        observe_tokens(w, b, layer, rules, s)
        return
    if target < experts:
        observe_holders(w, b, layer, before, target, rules, s)  # the slot's own GPU is one
    else:
        observe_share(w, b, layer, gpu, rules, s)
        observe_share(w, b, layer, other, rules, s)
    observe_balance(w, b, layer, rules)


@inner
def step_central(w: World, b: int, action: int, rules: Rules, s: Scratch) -> None:
    """One stage of the planner: a layer or done, a slot, a target."""
    if not allowed(w, b, 0, action):
        refuse(w, b, 0, rules)
        return
    layer = w.scalars[b, LAYER]
    if layer < 0 and action == w.plan.shape[1]:
        serve_window(w, b, w.sums[b, SUM_WINDOW_EDITS] * rules.edit_ns, rules, s)
        return
    w.scalars[b, FRESH] = 0
    if layer < 0:
        layer = action
        w.scalars[b, LAYER] = layer
    elif w.layers[b, layer, SLOT] < 0:
        w.layers[b, layer, SLOT] = action
    else:
        make_edit(w, b, layer, action, rules, s)
        w.scalars[b, LAYER] = -1
    observe_stage(w, b, layer, rules)
    observe_progress(w, b, rules)
    mask_central(w, b, rules)


@inner
def step_agent(w: World, b: int, layer: int, action: int, rules: Rules, s: Scratch) -> None:
    """One stage of a layer's agent: a slot or pass, a target."""
    if not allowed(w, b, layer, action):
        refuse(w, b, layer, rules)
        return
    w.scalars[b, FRESH] = 0
    if w.layers[b, layer, SLOT] >= 0:
        make_edit(w, b, layer, action, rules, s)
    elif action == w.plan.shape[2]:
        w.layers[b, layer, PASSED] = 1
    else:
        w.layers[b, layer, SLOT] = action
    observe_stage(w, b, layer, rules)
    mask_agent(w, b, layer, rules)


@inner
def step_agents(w: World, b: int, actions: Int64, rules: Rules, s: Scratch) -> None:
    """One stage of every layer's agent; the window is served once all have passed.

    Agents think side by side: the most edits of a layer are charged.
    """
    layers = w.plan.shape[1]
    passed, left = 0, rules.edits
    for layer in range(layers):
        step_agent(w, b, layer, actions[layer], rules, s)
        passed += w.layers[b, layer, PASSED]
        left = min(left, w.layers[b, layer, EDITS_LEFT])
    observe_progress(w, b, rules)
    if passed == layers:
        serve_window(w, b, (rules.edits - left) * rules.edit_ns, rules, s)


@kernel
def step_edit(w: World, actions: Int64, active: Bool, rules: Rules, s: Scratch) -> None:
    """Steps the active worlds by edits. ``actions``: (B, A)."""
    for b in range(actions.shape[0]):
        if not active[b]:
            continue
        begin_step(w, b)
        if rules.distributed:
            step_agents(w, b, actions[b], rules, s)
        else:
            step_central(w, b, actions[b, 0], rules, s)
        end_step(w, b, rules)


@kernel
def step_select(w: World, actions: Int64, active: Bool, rules: Rules, s: Scratch) -> None:
    """Serves a window of each active world as a named planner has it. ``actions``: (B, 1)."""
    for b in range(actions.shape[0]):
        if not active[b]:
            continue
        begin_step(w, b)
        planner = actions[b, 0]
        if allowed(w, b, 0, planner):
            plan_window(w, b, planner, rules, s)
            serve_window(w, b, rules.planner_ns[planner], rules, s)
        else:
            refuse(w, b, 0, rules)
        end_step(w, b, rules)


@inner
def predicted(loads: Int64, layer: int, s: Scratch) -> int:
    """Writes a layer's predicted loads into ``forecast``.

    Returns:
        1 where something can be planned for, 0 where every load is 0, -1 where one is negative.
    """
    some = 0
    for expert in range(loads.shape[1]):
        if loads[layer, expert] < 0:
            return -1
        some = 1 if loads[layer, expert] > 0 else some
        s.forecast[expert] = loads[layer, expert]
    return some


@kernel
def step_forecast(w: World, actions: Int64, active: Bool, rules: Rules, s: Scratch) -> None:
    """Serves a window of each active world packed for predicted loads. ``actions``: (B, L, E).

    A layer of zeros stays as it is; a negative load is illegal.
    """
    for b in range(actions.shape[0]):
        if not active[b]:
            continue
        begin_step(w, b)
        legal = True
        for layer in range(w.plan.shape[1]):
            legal = legal and predicted(actions[b], layer, s) >= 0
        if legal:
            for layer in range(w.plan.shape[1]):
                if predicted(actions[b], layer, s) > 0:
                    plan_layer(w, b, layer, LPT, rules, s)
            serve_window(w, b, rules.plan_ns, rules, s)
        else:
            refuse(w, b, 0, rules)
        end_step(w, b, rules)


@kernel
def elapse(w: World, duration: Int64) -> None:
    """Lets time pass while a policy thinks, ``duration`` (B,) ns: the next window is charged it."""
    for b in range(duration.shape[0]):
        if duration[b] > 0:
            w.scalars[b, CLOCK] += duration[b]
            w.scalars[b, THOUGHT] += duration[b]


@kernel
def prepare(w: World, b: int, rules: Rules, s: Scratch) -> None:
    """Computes all that follows from the placement, the history and the future."""
    for layer in range(w.plan.shape[1]):
        count_replicas(w.plan[b, layer], w.replicas[b, layer])
    for window in range(w.future.shape[1]):
        refer_window(w, b, window, rules, s)
    begin_window(w, b, rules, s)


@kernel
def refer_clairvoyant(w: World, b: int, window: int, rules: Rules, s: Scratch) -> None:
    """Writes what the window takes by the better, for its very loads, of LPT and EPLB."""
    time = 0
    for layer in range(w.plan.shape[1]):
        load = w.future[b, window, layer]
        for expert in range(load.shape[0]):
            s.forecast[expert] = load[expert]
        pack_layer(s.forecast, s.spare, SWAPS, s)
        count_replicas(s.spare, s.counts)
        best = layer_ns(s.spare, s.counts, load, rules, s)[0]
        if hierarchical(rules) and rules.nodes > 1:
            eplb_layer(s.forecast, rules.groups, rules.nodes, s.spare, s.rank, s)
            count_replicas(s.spare, s.counts)
            best = min(best, layer_ns(s.spare, s.counts, load, rules, s)[0])
        time += best
    w.references[b, CLAIRVOYANT, window] = time


@kernel
def refer_again(w: World, b: int, rules: Rules, s: Scratch) -> None:
    """Writes the references of the windows to come, all of which are like the next one."""
    first = w.scalars[b, WINDOW]
    if first == w.future.shape[1]:
        return
    refer_window(w, b, first, rules, s)
    refer_clairvoyant(w, b, first, rules, s)
    for window in range(first + 1, w.future.shape[1]):
        for reference in range(w.references.shape[1]):
            w.references[b, reference, window] = w.references[b, reference, first]


@kernel
def write_masks(w: World, rules: Rules) -> None:
    """Writes the masks of every world anew."""
    for b in range(w.mask.shape[0]):
        write_mask(w, b, rules)
