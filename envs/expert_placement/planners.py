"""The planners that ``action="select"`` offers by name, each for one layer from the loads seen."""

from fleetgym.envs.core.jit import inner
from fleetgym.envs.expert_placement.eplb import eplb_layer
from fleetgym.envs.expert_placement.incremental import edit_layer
from fleetgym.envs.expert_placement.packing import SWAPS, pack_layer
from fleetgym.envs.expert_placement.relabel import relabel_layer
from fleetgym.envs.expert_placement.serving import count_replicas
from fleetgym.envs.expert_placement.types import Rules, Scratch, World

SELECTABLE = ("hold", "eplb", "eplb-global", "lpt", "lpt-mean", "incremental")
HOLD, EPLB, EPLB_GLOBAL, LPT, LPT_MEAN, INCREMENTAL = range(len(SELECTABLE))
SOME = 8  # edits of a layer that "incremental" makes at most


@inner
def hierarchical(rules: Rules) -> bool:
    """Whether EPLB packs groups onto nodes; else it plans globally, as the published code does."""
    return bool(rules.groups % rules.nodes == 0)


@inner
def expect(w: World, b: int, layer: int, planner: int, s: Scratch) -> None:
    """Writes into ``forecast`` what the planner expects: the last window, or the history's mean."""
    windows = w.history.shape[1] if planner == LPT_MEAN else 1
    for expert in range(s.forecast.shape[0]):
        total = 0.0
        for i in range(windows):
            total += w.history[b, i, layer, expert]
        s.forecast[expert] = total / windows


@inner
def plan_layer(w: World, b: int, layer: int, planner: int, rules: Rules, s: Scratch) -> None:
    """Plans the layer anew for ``forecast``: writes ``plan`` and ``replicas``."""
    plan = w.plan[b, layer]
    if planner == INCREMENTAL:
        edits = min(SOME, rules.edits)
        edit_layer(plan, w.replicas[b, layer], s.forecast, edits, s)
        return
    if planner == EPLB and hierarchical(rules):
        eplb_layer(s.forecast, rules.groups, rules.nodes, plan, s.rank, s)
    elif planner in (EPLB, EPLB_GLOBAL):
        eplb_layer(s.forecast, 1, 1, plan, s.rank, s)
    else:
        pack_layer(s.forecast, plan, SWAPS, s)
        relabel_layer(plan, w.begun[b, layer], 1, s)
    count_replicas(plan, w.replicas[b, layer])


@inner
def plan_window(w: World, b: int, planner: int, rules: Rules, s: Scratch) -> None:
    """Plans every layer by the named planner."""
    if planner == HOLD:
        return
    for layer in range(w.plan.shape[1]):
        expect(w, b, layer, planner, s)
        plan_layer(w, b, layer, planner, rules, s)
