"""Offloading policies, each runnable by name."""

from fleetgym.baselines.mec_offloading.named import PLANNED
from fleetgym.baselines.mec_offloading.simple import AllEdge, AllLocal, GreedyEFT, Random
from fleetgym.baselines.policy import Baseline

BASELINES: tuple[Baseline, ...] = (
    Baseline("random", "uniform over the legal places", lambda seconds, seed: Random(seed)),
    Baseline("all-local", "everything on its device", lambda seconds, seed: AllLocal()),
    Baseline("all-edge", "the soonest server or cloud", lambda seconds, seed: AllEdge()),
    Baseline("greedy-eft", "the place that ends soonest", lambda seconds, seed: GreedyEFT()),
    *PLANNED,
)
