"""A window: the experts are copied, its tokens are served, and then everybody has seen its loads.

Synchronous migration: serving waits until the GPU with most to copy has it,
stall = max over GPUs of (experts in, over all layers) x copy_ns. Overlapped: layers are copied one
after the other while the window is served; until its copy is there a layer is served as before,
serving is slower by ``interference`` while copies are under way, and what is not there by the end
of the window is waited for.
"""

from fleetgym.envs.core.jit import inner
from fleetgym.envs.expert_placement.observe import incoming, observe_world
from fleetgym.envs.expert_placement.serving import balanced_ns, count_replicas, layer_ns
from fleetgym.envs.expert_placement.types import (
    BALANCED,
    CLAIRVOYANT,
    CLOCK,
    EDITS_LEFT,
    FIG_BALANCEDNESS,
    FIG_INTER,
    FIG_MAX,
    FIG_MEAN,
    FIG_SERVED,
    FIG_TOKENS,
    FRESH,
    HELD,
    LAYER,
    PASSED,
    SLOT,
    SUM_BALANCED,
    SUM_CLAIRVOYANT,
    SUM_COPIES,
    SUM_HELD,
    SUM_SERVING,
    SUM_STALL,
    SUM_THINKING,
    SUM_WINDOW_EDITS,
    TERMINATED,
    THOUGHT,
    WINDOW,
    Rules,
    Scratch,
    World,
)


@inner
def note_balance(w: World, b: int, inter: float, s: Scratch) -> None:
    """Adds a layer's balance, as ``gpu`` has it, to the figures."""
    tokens, fullest = 0.0, 0.0
    for g in range(s.gpu.shape[0]):
        tokens += s.gpu[g]
        fullest = max(fullest, s.gpu[g])
    mean = tokens / s.gpu.shape[0]
    figures = w.figures[b]
    figures[FIG_MEAN] += mean
    figures[FIG_MAX] += fullest
    figures[FIG_BALANCEDNESS] += mean / fullest if fullest > 0.0 else 1.0
    figures[FIG_TOKENS] += tokens
    figures[FIG_INTER] += inter
    figures[FIG_SERVED] += 1.0


@inner
def time_layers(w: World, b: int, rules: Rules, s: Scratch) -> None:
    """Writes what every layer takes in this window, before and after its copies, and these."""
    load = w.future[b, w.scalars[b, WINDOW]]
    per_gpu = w.plan.shape[2] // rules.gpus
    for layer in range(w.plan.shape[1]):
        copies = 0
        for g in range(rules.gpus):
            s.incoming[layer, g] = incoming(w, b, layer, g, per_gpu)
            copies += s.incoming[layer, g]
        w.sums[b, SUM_COPIES] += copies
        s.old_ns[layer] = -1
        if rules.overlapped and copies > 0:
            count_replicas(w.begun[b, layer], s.counts)
            s.old_ns[layer], _ = layer_ns(w.begun[b, layer], s.counts, load[layer], rules, s)
        time, inter = layer_ns(w.plan[b, layer], w.replicas[b, layer], load[layer], rules, s)
        s.new_ns[layer] = time
        note_balance(w, b, inter, s)


@inner
def synchronous_ns(rules: Rules, s: Scratch) -> tuple[int, int]:
    """Serving and stall, ns, where serving waits for the copies."""
    serving, most = 0, 0
    for layer in range(s.new_ns.shape[0]):
        serving += s.new_ns[layer]
    for g in range(rules.gpus):
        experts = 0
        for layer in range(s.new_ns.shape[0]):
            experts += s.incoming[layer, g]
        most = max(most, experts)
    return serving, most * rules.copy_ns


@inner
def overlapped_ns(rules: Rules, s: Scratch) -> tuple[int, int]:
    """Serving and stall, ns, where layers are copied one after the other while serving."""
    fastest, copied, late = 0, 0, 0.0
    for layer in range(s.new_ns.shape[0]):
        fastest += s.new_ns[layer]
    for layer in range(s.new_ns.shape[0]):
        most = 0
        for g in range(rules.gpus):
            most = max(most, s.incoming[layer, g])
        copied += most * rules.copy_ns
        if s.old_ns[layer] >= 0:
            before = min(1.0, copied / fastest)
            late += before * (s.old_ns[layer] - s.new_ns[layer])
    stall = int(rules.interference * min(copied, fastest)) + max(0, copied - fastest)
    return fastest + int(late), stall


@inner
def serve_window(w: World, b: int, declared: int, rules: Rules, s: Scratch) -> None:
    """Serves the next window and charges it.

    Args:
        w: the worlds.
        b: which one.
        declared: ns of thinking that the plan is charged.
        rules: of the scenario.
        s: room to work in.
    """
    window = w.scalars[b, WINDOW]
    time_layers(w, b, rules, s)
    serving, stall = overlapped_ns(rules, s) if rules.overlapped else synchronous_ns(rules, s)
    thinking = declared + w.scalars[b, THOUGHT]
    sums, balanced = w.sums[b], w.references[b, BALANCED, window]
    sums[SUM_SERVING] += serving
    sums[SUM_STALL] += stall
    sums[SUM_THINKING] += thinking
    sums[SUM_BALANCED] += balanced
    sums[SUM_HELD] += w.references[b, HELD, window]
    sums[SUM_CLAIRVOYANT] += w.references[b, CLAIRVOYANT, window]
    for agent in range(w.reward.shape[1]):
        w.reward[b, agent, 0] = -serving / balanced
        w.reward[b, agent, 1] = -stall / balanced
        w.reward[b, agent, 2] = -thinking / balanced
    total = serving + stall
    w.progress[b, 2] = min(1.0, balanced / total)
    w.progress[b, 3] = stall / total
    # What passed while the policy thought is on the clock already.
    w.scalars[b, CLOCK] += total + declared
    w.scalars[b, THOUGHT] = 0
    w.scalars[b, WINDOW] = window + 1
    w.flags[b, TERMINATED] = window + 1 == w.future.shape[1]
    remember(w, b, window)
    begin_window(w, b, rules, s)


@inner
def remember(w: World, b: int, window: int) -> None:
    """The window's loads become the last ones of the history."""
    history = w.history[b]
    for i in range(history.shape[0] - 1, -1, -1):
        source = history[i - 1] if i > 0 else w.future[b, window]
        target = history[i]
        for layer in range(target.shape[0]):
            for expert in range(target.shape[1]):
                target[layer, expert] = source[layer, expert]


@inner
def begin_window(w: World, b: int, rules: Rules, s: Scratch) -> None:
    """Nothing is edited yet, and everything is seen anew."""
    plan, begun = w.plan[b], w.begun[b]
    for layer in range(plan.shape[0]):
        for slot in range(plan.shape[1]):
            begun[layer, slot] = plan[layer, slot]
        own = w.layers[b, layer]
        own[EDITS_LEFT], own[SLOT], own[PASSED] = rules.edits, -1, 0
    w.scalars[b, LAYER], w.scalars[b, FRESH] = -1, 1
    w.sums[b, SUM_WINDOW_EDITS] = 0
    observe_world(w, b, rules, s)


@inner
def refer_window(w: World, b: int, window: int, rules: Rules, s: Scratch) -> None:
    """Writes what the window takes perfectly balanced, and by the placement as it stands."""
    balanced, held = 0, 0
    for layer in range(w.plan.shape[1]):
        load = w.future[b, window, layer]
        balanced += balanced_ns(load, rules)
        held += layer_ns(w.plan[b, layer], w.replicas[b, layer], load, rules, s)[0]
    w.references[b, BALANCED, window] = max(1, balanced)
    w.references[b, HELD, window] = held
