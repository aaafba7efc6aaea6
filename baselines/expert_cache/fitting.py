"""Fits the weights of the learned rule: ``python -m fleetgym.baselines.expert_cache.fitting``.

Least squares on generated routing of all localities: for every expert, layer and step the target is
1 / (steps until its next use), from the numbers that `predictor` gives at that step.
"""

import numpy as np
from numpy.typing import NDArray

from fleetgym.baselines.expert_cache.predictor import PREDICTORS, predictor
from fleetgym.envs.core.jit import kernel
from fleetgym.envs.expert_cache.clairvoyant import next_use
from fleetgym.envs.expert_cache.dynamics import note_routing
from fleetgym.envs.expert_cache.layout import routes_of
from fleetgym.envs.expert_cache.types import LAST, PLACE, ROWS, Int16
from fleetgym.traces.generators.expert_routing import localities, locality, routing

Float64 = NDArray[np.float64]

LAYERS, EXPERTS, ACTIVE, STEPS, WARMUP = 26, 64, 6, 216, 16  # of DeepSeek-V2-Lite
SEEDS = range(0, 12, 2)  # even ones: those of the split "train"


@kernel
def add_moments(
    routes: Int16, tables: Int16, k_max: int, first: int, row: Float64, moments: Float64
) -> None:
    """Adds the products of predictors and target over a routing.

    Args:
        routes: ``(N, ...)`` as in `World.routes`.
        tables: ``(L, ROWS, E)`` empty, overwritten.
        k_max: K.
        first: event from which on they are added.
        row: ``(PREDICTORS + 1,)`` overwritten.
        moments: ``(PREDICTORS + 1, PREDICTORS + 1)`` added to; the last one is the target.
    """
    layers, experts = tables.shape[0], tables.shape[2]
    for n in range(len(routes)):
        table, step = tables[n % layers], n // layers
        note_routing(routes[n], table, k_max, step)
        for expert in range(experts if n >= first else 0):
            use = next_use(routes[:, :k_max], n, layers, expert, len(routes))
            for i in range(PREDICTORS):
                row[i] = predictor(table, expert, step, i)
            row[PREDICTORS] = layers / (use - n)
            for i in range(PREDICTORS + 1):
                for j in range(PREDICTORS + 1):
                    moments[i, j] += row[i] * row[j]


def fit() -> Float64:
    """The weights, ``(PREDICTORS,)``."""
    moments, row = np.zeros((PREDICTORS + 1, PREDICTORS + 1)), np.zeros(PREDICTORS + 1)
    for name in localities():
        for seed in SEEDS:
            drawn = routing(
                tokens=STEPS,
                layers=LAYERS,
                num_experts=EXPERTS,
                top_k=ACTIVE,
                locality=locality(name, EXPERTS, ACTIVE),
                seed=seed,
            )
            tables = np.zeros((LAYERS, ROWS, EXPERTS), np.int16)
            tables[:, [PLACE, LAST]] = -1
            routes = routes_of(drawn, ACTIVE, 2 * ACTIVE)
            add_moments(routes, tables, ACTIVE, WARMUP * LAYERS, row, moments)
    return np.linalg.solve(moments[:-1, :-1], moments[:-1, -1]).astype(np.float64)


if __name__ == "__main__":
    print(np.round(fit(), 4).tolist())
