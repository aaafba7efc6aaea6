"""Planners and policies for VM rescheduling, each runnable by name."""

from fleetgym.baselines.policy import Baseline, RandomLegal

BASELINES: tuple[Baseline, ...] = (
    Baseline("random", "uniform over the legal actions", lambda seconds, seed: RandomLegal(seed)),
)
