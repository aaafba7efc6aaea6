"""How well loads can be balanced at all."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def largest_share(load: NDArray[np.float64], slots: int) -> float:
    """The least, over numbers of replicas, of the largest share of a replica.

    Giving replicas one by one to the largest share is optimal: no share below it can be reached
    with so few slots.
    """
    replicas = np.ones(len(load))
    for _ in range(slots - len(load)):
        replicas[np.argmax(load / replicas)] += 1
    return float((load / replicas).max())


def balancedness_bound(loads: ArrayLike, slots: int, gpus: int) -> float:
    """Upper bound of the balancedness of any placement under equal dispatch.

    Sum over layers of the mean / sum of max(mean, largest replica): a GPU serves at least one
    whole share of the largest.

    Args:
        loads: ``(L, E)`` tokens.
        slots: R.
        gpus: G.
    """
    table = np.asarray(loads, np.float64)
    means = table.sum(axis=1) / gpus
    most = [max(mean, largest_share(row, slots)) for mean, row in zip(means, table, strict=True)]
    return float(means.sum() / np.sum(most))
