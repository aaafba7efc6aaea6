"""Planners and policies for expert placement, each runnable by name."""

from collections.abc import Callable

from fleetgym.baselines.expert_placement import forecasts, planners, robust
from fleetgym.baselines.expert_placement.planning import PlacementPolicy
from fleetgym.baselines.expert_placement.sampled import SampledPlanner
from fleetgym.baselines.policy import Baseline, Policy, RandomLegal

PUBLISHED = 10  # windows from one plan to the next of what is published: 1,000 iterations
FORECASTS = {
    "lpt": forecasts.last,
    "lpt-mean": forecasts.mean,
    "lpt-ema": forecasts.ema,
    "lpt-ar1": forecasts.ar1,
    "lpt-kalman": forecasts.kalman,
}
SUMMARIES = {
    "lpt": "LPT and swaps for the last window, groups on their nodes, relabelled (Hungarian)",
    "lpt-mean": "the same for the mean of the history",
    "lpt-ema": "the same for an exponential moving average",
    "lpt-ar1": "the same for log-loads that return to their mean",
    "lpt-kalman": "the same for a local-level Kalman filter of log-loads",
}


def _hold(seconds: float, seed: int) -> Policy:
    return PlacementPolicy("hold", planners.hold)


def _rule(
    name: str, planner: planners.Planner, every: int = 1, earns: bool = False
) -> Callable[[float, int], Policy]:
    return lambda seconds, seed: PlacementPolicy(name, planner, every=every, earns=earns)


def _forecast(name: str) -> Callable[[float, int], Policy]:
    planner = planners.lpt_for(FORECASTS[name])
    return lambda seconds, seed: PlacementPolicy(
        name, planner, earns=True, forecast=FORECASTS[name]
    )


def _robust(seconds: float, seed: int) -> Policy:
    return PlacementPolicy("robust", lambda situation: robust.plan(situation, seconds))


def _sampled(seconds: float, seed: int) -> Policy:
    return PlacementPolicy("sampled", SampledPlanner())


def _clairvoyant(seconds: float, seed: int) -> Policy:
    return PlacementPolicy("clairvoyant", planners.clairvoyant, information="clairvoyant")


def _foresight(seconds: float, seed: int) -> Policy:
    return PlacementPolicy(
        "foresight",
        lambda situation: robust.foresee(situation, seconds),
        information="clairvoyant",
    )


BASELINES: tuple[Baseline, ...] = (
    Baseline("random", "uniform over the legal actions", lambda seconds, seed: RandomLegal(seed)),
    Baseline("hold", "no edit: what doing nothing is worth", _hold),
    Baseline(
        "eplb",
        "EPLB, hierarchical where groups fit nodes (DeepSeek), every 10 windows",
        _rule("eplb", planners.eplb, PUBLISHED),
    ),
    Baseline(
        "eplb-global",
        "EPLB, global (DeepSeek), every 10 windows",
        _rule("eplb-global", planners.eplb_global, PUBLISHED),
    ),
    Baseline(
        "eplb-relabelled",
        "EPLB, its parts given to the GPUs that hold most of them, where that pays",
        _rule("eplb-relabelled", planners.eplb_relabelled, earns=True),
    ),
    Baseline(
        "lpt-global",
        "LPT and swaps over all GPUs for the last window, relabelled, where that pays",
        _rule("lpt-global", planners.lpt_global, earns=True),
    ),
    *(Baseline(name, SUMMARIES[name] + ", where that pays", _forecast(name)) for name in FORECASTS),
    Baseline(
        "incremental",
        "a few edits of each layer, each the best of its time",
        _rule("incremental", planners.incremental),
    ),
    Baseline(
        "transfers",
        "one exchange between each fuller and emptier GPU (in the style of SwiftBalancer)",
        _rule("transfers", planners.transfers, earns=True),
    ),
    Baseline(
        "robust",
        "local search for the last windows at once, copies included",
        _robust,
        0.4,
    ),
    Baseline(
        "sampled",
        "local search for samples of the next window, as few copies as pay: the bar to beat",
        _sampled,
    ),
    Baseline("clairvoyant", "LPT and swaps for the loads the window will have", _clairvoyant),
    Baseline(
        "foresight",
        "the robust search over the windows to come, copies included",
        _foresight,
        0.4,
    ),
)
