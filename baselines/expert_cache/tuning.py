"""Tunes the rules: ``python -m fleetgym.baselines.expert_cache.tuning``.

Every rule that ranks experts by a number is played with bypass and several margins, the blend of
moving average and mean also with several rates and shares, on training workloads of
DeepSeek-V2-Lite's shape with room for 25% of the experts. For each locality and measure the best
of each kind is printed; those of all kinds stand in `online.TUNED`.
"""

from collections.abc import Iterator
from itertools import product

import numpy as np

from fleetgym.baselines.expert_cache.online import RULES
from fleetgym.baselines.expert_cache.rules import BLEND, Rule, decide
from fleetgym.envs.core.registration import family_of
from fleetgym.envs.expert_cache.types import UNIT
from fleetgym.traces.generators.expert_routing import localities

SCENARIO, SEEDS = "dsv2-lite", range(1_000_000, 1_000_024)
MEASURES = ("hit_rate", "tokens_per_s")
RATES = (0.06, 0.09, 0.125, 0.18, 0.25, 0.35, 0.5, 0.7, 0.85)
SHARES = (0.25, 0.5, 0.75, 1.0)
MARGINS = (0.0, 0.01, 0.02, 0.04, 0.06, 0.08, 0.12)  # of BLEND
UNITS = {  # of a kind's margins, so that they matter alike
    "lfu": 20.0,
    "lfu-ageing": 20.0,
    "ema-frequency": float(UNIT),
    "ema-score": float(UNIT),
    "mrs": float(UNIT),
    "learned": 1.0,
}


def candidates() -> Iterator[tuple[str, Rule]]:
    """Every rule that is tried, with the name of its kind."""
    for name, margin in product(UNITS, MARGINS):
        yield name, RULES[name]._replace(bypass=True, margin=margin * UNITS[name])
    plain = RULES["ema-score"]
    for rate, share, margin in product(RATES, SHARES, MARGINS):
        yield "blend", plain._replace(row=BLEND, rate=rate, share=share, margin=margin)


def main() -> None:
    """Prints the best of each kind."""
    family = family_of("expert-cache")
    for locality in localities():
        source = family.workloads(family.scenario(SCENARIO, {"locality": locality}))
        simulator = family.simulate(
            family.scenario(SCENARIO, {"locality": locality}), source, len(SEEDS)
        )
        workloads = [source.draw(seed) for seed in SEEDS]
        best: dict[tuple[str, str], tuple[float, Rule]] = {}
        for kind, rule in candidates():
            simulator.reset(workloads)
            simulator.rollout(decide, rule, 100_000)  # type: ignore[attr-defined]
            for measure in MEASURES:
                value = float(np.mean(simulator.metrics()[measure]))
                if value > best.get((measure, kind), (-np.inf,))[0]:
                    best[measure, kind] = value, rule
        for (measure, kind), (value, rule) in sorted(best.items(), key=lambda b: -b[1][0]):
            text = f"margin {rule.margin:g}, rate {rule.rate:g}, share {rule.share:g}"
            print(f"{locality:8s} {measure:14s} {kind:14s} {value:9.4f}  {text}", flush=True)


if __name__ == "__main__":
    main()
