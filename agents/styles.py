"""The styles in which a layer's placement may be changed: what the expert network chooses from."""

from fleetgym.baselines.expert_placement.sampled import BEST, Style

STYLES = (
    BEST,  # what a fresh network mostly does
    Style(fee=0.0, lasts=0.0, anew=0.0),  # as it is
    Style(fee=8.0, lasts=2.0, anew=0.0),
    Style(fee=4.0, lasts=2.0, anew=0.96),
    Style(fee=2.0, lasts=4.0, anew=0.0),
    Style(fee=2.0, lasts=6.0, anew=1.0),
)
