"""The worked examples of the papers, and small random problems."""

import numpy as np

from fleetgym.baselines.mec_offloading.problem import FORBIDDEN, make

# Topcuoglu, Hariri and Wu, TPDS 13(3), 2002, figure 1: tasks x processors, then edges.
_HEFT_TIMES = [
    [14, 16, 9], [13, 19, 18], [11, 13, 19], [13, 8, 17], [12, 13, 10],
    [13, 16, 9], [7, 15, 11], [5, 11, 14], [18, 12, 20], [21, 7, 16],
]  # fmt: skip
_HEFT_EDGES = {
    (1, 2): 18, (1, 3): 12, (1, 4): 9, (1, 5): 11, (1, 6): 14, (2, 8): 19, (2, 9): 16, (3, 7): 23,
    (4, 8): 27, (4, 9): 23, (5, 9): 13, (6, 8): 15, (7, 10): 17, (8, 10): 11, (9, 10): 13,
}  # fmt: skip
# Arabnejad and Barbosa, TPDS 25(3), 2014, figure 1.
_PEFT_TIMES = [
    [22, 21, 36], [22, 18, 18], [32, 27, 43], [7, 10, 4], [29, 27, 35],
    [26, 17, 24], [14, 25, 30], [29, 23, 36], [15, 21, 8], [13, 16, 33],
]  # fmt: skip
_PEFT_EDGES = {
    (1, 2): 17, (1, 3): 31, (1, 4): 29, (1, 5): 13, (1, 6): 7, (2, 8): 3, (2, 9): 30, (3, 7): 16,
    (4, 8): 11, (4, 9): 7, (5, 9): 57, (6, 8): 5, (7, 10): 9, (8, 10): 42, (9, 10): 7,
}  # fmt: skip


def heft_paper():
    return _paper(_HEFT_TIMES, _HEFT_EDGES)


def peft_paper():
    return _paper(_PEFT_TIMES, _PEFT_EDGES)


def _paper(times, edges):
    return make(times, np.array(list(edges)) - 1, np.array(list(edges.values())))


def random_problem(seed, tasks=6, places=3, cores=1, apps=1, rich=False):
    """A random graph; ``rich``: all that a problem may have, with some places forbidden."""
    rng = np.random.default_rng(seed)
    edges = [(i, j) for j in range(tasks) for i in range(j) if rng.random() < 2.0 / (j + 1)]
    app = np.sort(rng.integers(apps, size=tasks))
    edges = [(i, j) for i, j in edges if app[i] == app[j]]
    duration = rng.integers(1, 30, (tasks, places))
    transfer = rng.integers(0, 25, (len(edges), places, places))
    transfer *= 1 - np.eye(places, dtype=int)
    more = {"app": app, "weight": np.ones(apps), "cores": np.full(places, cores)}
    if rich:
        duration[:, 1:][rng.random((tasks, places - 1)) < 0.2] = FORBIDDEN
        more |= {
            "release": rng.integers(0, 20, (tasks, places)),
            "tail": rng.integers(0, 20, (tasks, places)),
            "price": rng.integers(0, 9, (tasks, places)),
            "free": rng.integers(0, 15, places * cores),
            "weight": rng.integers(1, 4, apps),
        }
    return make(duration, np.array(edges).reshape(-1, 2), transfer, **more)
