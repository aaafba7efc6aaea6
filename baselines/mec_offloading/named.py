"""The planners and searches as baselines, by name."""

from functools import partial

from fleetgym.baselines.mec_offloading.exact_play import ExactPolicy
from fleetgym.baselines.mec_offloading.lookahead import RolloutPolicy
from fleetgym.baselines.mec_offloading.planned import PLANNERS, SUMMARIES, PlannedPolicy
from fleetgym.baselines.policy import Baseline

AGAIN = ("heft", "peft", "seeded-genetic")  # planners that also plan anew at each task
FULL = ("heft", "seeded-genetic")  # that also do so with a full view


def _planned(
    planner: str, name: str, full: bool, again: bool, seconds: float, seed: int
) -> PlannedPolicy:
    return PlannedPolicy(name, PLANNERS[planner], seed, full=full, again=again)


def _baseline(planner: str, suffix: str, what: str, *, full: bool, again: bool) -> Baseline:
    name = planner + suffix
    make = partial(_planned, planner, name, full, again)
    return Baseline(name, SUMMARIES[planner] + what, make)


PLANNED: tuple[Baseline, ...] = (
    *(_baseline(name, "", "", full=False, again=False) for name in PLANNERS),
    *(
        _baseline(name, "-replanned", "; anew at each task", full=False, again=True)
        for name in AGAIN
    ),
    *(
        _baseline(name, "-full-view", "; anew at each task, full view", full=True, again=True)
        for name in FULL
    ),
    Baseline(
        "rollout",
        "full view: each place tried, greedy EFT to the end (Bertsekas 1997)",
        lambda seconds, seed: RolloutPolicy("rollout", parallel=False),
    ),
    Baseline(
        "parallel-rollout",
        "full view: the same, several rules to the end (Chang, Givan and Chong 2000)",
        lambda seconds, seed: RolloutPolicy("parallel-rollout", parallel=True),
    ),
    Baseline(
        "exact",
        "clairvoyant: branch and bound over the machine, at most 8 tasks",
        lambda seconds, seed: ExactPolicy(),
    ),
)
