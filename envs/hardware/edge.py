"""Edge networks: the routes between servers, and what a server draws."""

from heapq import heappop, heappush

import numpy as np
from numpy.typing import NDArray

from fleetgym.traces.schema_mec import EdgeNetwork

Int64 = NDArray[np.int64]
Float64 = NDArray[np.float64]

TYPICAL_BITS = 8e6  # a route is the best for so much data


def routes(network: EdgeNetwork) -> tuple[Int64, Int64]:
    """The best paths of an edge network, by latency plus the time of TYPICAL_BITS at each link.

    Returns:
        ``(M + 1, M + 1)`` the next node from a node to a node (itself where they are the same), and
        the ns of that path.
    """
    n = network.num_servers + 1
    rate = network.link_rate
    cost = np.full((n, n), -1, np.int64)
    linked = rate > 0
    cost[linked] = np.rint(TYPICAL_BITS / rate[linked] * 1e9).astype(np.int64)
    cost[linked] += network.link_latency[linked]
    following = np.zeros((n, n), np.int64)
    total = np.zeros((n, n), np.int64)
    for target in range(n):
        following[:, target], total[:, target] = _towards(target, cost)
    return following, total


def _towards(target: int, cost: Int64) -> tuple[Int64, Int64]:
    """Dijkstra from the target backwards; of equal paths the one whose next node is lower."""
    n = len(cost)
    best = np.full(n, np.iinfo(np.int64).max, np.int64)
    following = np.full(n, target, np.int64)
    best[target] = 0
    waiting = [(0, target)]
    while waiting:
        spent, node = heappop(waiting)
        if spent > best[node]:
            continue
        for source in np.flatnonzero(cost[:, node] >= 0).tolist():
            through = spent + int(cost[source, node])
            nearer = through == best[source] and node < following[source]
            if through < best[source] or nearer:
                following[source] = node
                if through < best[source]:
                    best[source] = through
                    heappush(waiting, (through, source))
    return following, best


def server_energy_j(idle_w: Float64, max_w: Float64, busy: Float64, seconds: Float64) -> Float64:
    """P_idle + (P_max - P_idle) u over a time (std).

    Args:
        idle_w: of each server without work.
        max_w: with all cores at work.
        busy: core-seconds of work over the number of cores.
        seconds: that have passed.
    """
    return idle_w * seconds + (max_w - idle_w) * busy
