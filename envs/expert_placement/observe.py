"""What a policy sees: tables of experts, GPUs and layers, and the mask.

Every row is written by one function from the state alone, after an edit as after a window.
"""

from fleetgym.envs.core.jit import inner
from fleetgym.envs.expert_placement.edits import any_edit, mark_slots, mark_targets
from fleetgym.envs.expert_placement.serving import dispatch
from fleetgym.envs.expert_placement.types import (
    BALANCEDNESS,
    CHOOSING_SLOT,
    CHOOSING_TARGET,
    EDITS_LEFT,
    LAYER,
    LEFT_SHARE,
    OPEN,
    OPEN_SEEN,
    PASSED,
    PASSED_SEEN,
    SLOT,
    SUM_WINDOW_EDITS,
    TOKENS,
    WINDOW,
    Int8,
    Rules,
    Scratch,
    World,
)


@inner
def relative(tokens: float, mean: float) -> float:
    """Tokens / (tokens + mean): in [0, 1), 0 for none."""
    return tokens / (tokens + mean) if tokens > 0.0 else 0.0


@inner
def observe_loads(w: World, b: int, layer: int, s: Scratch) -> None:
    """Writes the loads of the layer's experts."""
    windows, experts = w.history.shape[1], w.history.shape[3]
    last, before = w.history[b, 0, layer], w.history[b, min(1, windows - 1), layer]
    total = s.load
    for expert in range(experts):
        total[expert] = 0.0
    for i in range(windows):
        row = w.history[b, i, layer]
        for expert in range(experts):
            total[expert] += row[expert]
    last_mean, before_mean, all_mean = 0.0, 0.0, 0.0
    w.layers[b, layer, TOKENS] = 0
    for expert in range(experts):
        w.layers[b, layer, TOKENS] += last[expert]
        last_mean += last[expert]
        before_mean += before[expert]
        all_mean += total[expert]
    last_mean /= experts
    before_mean /= experts
    all_mean /= experts
    for expert in range(experts):
        seen = w.obs_experts[b, layer, expert]
        seen[0] = relative(last[expert], last_mean)
        seen[1] = relative(before[expert], before_mean)
        seen[2] = relative(total[expert], all_mean)


@inner
def incoming(w: World, b: int, layer: int, gpu: int, per_gpu: int) -> int:
    """Experts that the GPU lacked when the window began and has to have now."""
    first, count = gpu * per_gpu, 0
    plan, begun = w.plan[b, layer], w.begun[b, layer]
    for slot in range(first, first + per_gpu):
        expert = plan[slot]
        if expert == begun[slot]:
            continue
        new = True
        for other in range(first, first + per_gpu):
            if begun[other] == expert or (other < slot and plan[other] == expert):
                new = False
                break
        count += new
    return count


@inner
def observe_replicas(w: World, b: int, layer: int, expert: int) -> None:
    """Writes how many replicas the expert has."""
    most = w.plan.shape[2] - w.replicas.shape[2] + 1
    w.obs_experts[b, layer, expert, 3] = w.replicas[b, layer, expert] / most


@inner
def observe_incoming(w: World, b: int, layer: int, gpu: int, per_gpu: int) -> None:
    """Writes how much the GPU has to copy."""
    w.obs_gpus[b, layer, gpu, 1] = incoming(w, b, layer, gpu, per_gpu) / per_gpu


@inner
def observe_gpu(w: World, b: int, layer: int, gpu: int, tokens: float, gpus: int) -> None:
    """Writes what the GPU would have served of the last window."""
    w.gpu_tokens[b, layer, gpu] = tokens
    w.obs_gpus[b, layer, gpu, 0] = relative(tokens, w.layers[b, layer, TOKENS] / gpus)


@inner
def observe_share(w: World, b: int, layer: int, gpu: int, rules: Rules, s: Scratch) -> None:
    """As `observe_gpu`, under equal dispatch: the sum of its slots, in their order."""
    plan, replicas, load = w.plan[b, layer], w.replicas[b, layer], w.history[b, 0, layer]
    per_gpu, tokens = plan.shape[0] // rules.gpus, 0.0
    for slot in range(gpu * per_gpu, (gpu + 1) * per_gpu):
        tokens += load[plan[slot]] * s.inverse[replicas[plan[slot]]]
    observe_gpu(w, b, layer, gpu, tokens, rules.gpus)


@inner
def observe_holders(
    w: World, b: int, layer: int, one: int, other: int, rules: Rules, s: Scratch
) -> None:
    """Writes what the GPUs that hold either expert would have served, under equal dispatch."""
    plan, last = w.plan[b, layer], -1
    per_gpu = plan.shape[0] // rules.gpus
    for slot in range(plan.shape[0]):
        if (plan[slot] == one) | (plan[slot] == other):
            gpu = slot // per_gpu
            if gpu != last:
                observe_share(w, b, layer, gpu, rules, s)
                last = gpu


@inner
def observe_balance(w: World, b: int, layer: int, rules: Rules) -> None:
    """Writes how balanced the GPUs would have been, and whether edits are left."""
    fullest = 0.0
    for g in range(rules.gpus):
        fullest = max(fullest, w.gpu_tokens[b, layer, g])
    mean = w.layers[b, layer, TOKENS] / rules.gpus
    w.obs_layers[b, layer, BALANCEDNESS] = min(1.0, mean / fullest) if fullest > 0.0 else 1.0
    w.layers[b, layer, OPEN] = any_edit(w, b, layer, w.plan.shape[2] // rules.gpus)


@inner
def observe_tokens(w: World, b: int, layer: int, rules: Rules, s: Scratch) -> None:
    """Writes what every GPU would have served of the last window."""
    dispatch(w.plan[b, layer], w.replicas[b, layer], w.history[b, 0, layer], rules, s)
    for g in range(rules.gpus):
        observe_gpu(w, b, layer, g, s.gpu[g], rules.gpus)
    observe_balance(w, b, layer, rules)


@inner
def observe_layer(w: World, b: int, layer: int, rules: Rules, s: Scratch) -> None:
    """Writes all that follows from the layer's placement and its last loads."""
    per_gpu = w.plan.shape[2] // rules.gpus
    observe_tokens(w, b, layer, rules, s)
    for g in range(rules.gpus):
        observe_incoming(w, b, layer, g, per_gpu)
        w.obs_gpus[b, layer, g, 2] = (g // (rules.gpus // rules.nodes)) / max(1, rules.nodes - 1)
    for expert in range(w.replicas.shape[2]):
        observe_replicas(w, b, layer, expert)


@inner
def observe_stage(w: World, b: int, layer: int, rules: Rules) -> None:
    """Writes where the layer's decision stands."""
    row, own = w.obs_layers[b, layer], w.layers[b, layer]
    asked = w.scalars[b, LAYER] == layer or (rules.distributed and own[PASSED] == 0)
    row[LEFT_SHARE] = own[EDITS_LEFT] / rules.edits
    row[OPEN_SEEN] = own[OPEN]
    row[CHOOSING_SLOT] = 1.0 if asked and own[SLOT] < 0 else 0.0
    row[CHOOSING_TARGET] = 1.0 if own[SLOT] >= 0 else 0.0
    row[PASSED_SEEN] = own[PASSED]


@inner
def observe_progress(w: World, b: int, rules: Rules) -> None:
    """Writes how far the episode and the window's plan are."""
    w.progress[b, 0] = w.scalars[b, WINDOW] / w.future.shape[1]
    w.progress[b, 1] = w.sums[b, SUM_WINDOW_EDITS] / (rules.edits * w.plan.shape[1])
    layer = w.scalars[b, LAYER]
    w.chosen[b, 0] = layer
    w.chosen[b, 1] = w.layers[b, layer, SLOT] if layer >= 0 else -1


@inner
def clear(mask: Int8) -> None:
    """Closes every entry."""
    for i in range(mask.shape[0]):
        mask[i] = 0


@inner
def mask_central(w: World, b: int, rules: Rules) -> None:
    """Writes the planner's mask: layers and done, or slots, or targets."""
    mask, layers = w.mask[b, 0], w.plan.shape[1]
    per_gpu = w.plan.shape[2] // rules.gpus
    clear(mask)
    layer = w.scalars[b, LAYER]
    if layer < 0:
        for i in range(layers):
            mask[i] = w.layers[b, i, OPEN]
        mask[layers] = 1
    elif w.layers[b, layer, SLOT] < 0:
        mark_slots(w, b, layer, mask, per_gpu)
    else:
        mark_targets(w, b, layer, w.layers[b, layer, SLOT], mask, per_gpu)


@inner
def mask_agent(w: World, b: int, layer: int, rules: Rules) -> None:
    """Writes a layer's mask: slots and pass, or targets."""
    mask, slots = w.mask[b, layer], w.plan.shape[2]
    per_gpu = slots // rules.gpus
    clear(mask)
    own = w.layers[b, layer]
    if own[SLOT] >= 0:
        mark_targets(w, b, layer, own[SLOT], mask, per_gpu)
        return
    mask[slots] = 1
    if not own[PASSED] and own[OPEN]:
        mark_slots(w, b, layer, mask, per_gpu)


@inner
def write_mask(w: World, b: int, rules: Rules) -> None:
    """Writes the masks of all agents; without edits everything is always open."""
    if not rules.edit:
        w.mask[b, 0, :] = 1
    elif rules.distributed:
        for layer in range(w.plan.shape[1]):
            mask_agent(w, b, layer, rules)
    else:
        mask_central(w, b, rules)


@inner
def observe_world(w: World, b: int, rules: Rules, s: Scratch) -> None:
    """Writes everything anew, as a window begins."""
    for layer in range(w.plan.shape[1]):
        observe_loads(w, b, layer, s)
        observe_layer(w, b, layer, rules, s)
        observe_stage(w, b, layer, rules)
    observe_progress(w, b, rules)
    write_mask(w, b, rules)
