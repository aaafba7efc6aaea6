"""What clairvoyant caching would do: next uses, and hits of LRU and of MIN over a whole episode.

MIN (Belady 1966) keeps what is asked for again soonest. With bypass the experts of a layer after an
event are the C of (those before, those activated) with the nearest next uses; without, all that are
activated are among them. Between equals it does not matter: both are asked for in one event, where
one misses, and may be admitted then. Tests hold both against every possible choice.
"""

from fleetgym.envs.core.jit import inner, kernel
from fleetgym.envs.expert_cache.types import Int16

NEVER = 1 << 40  # an event after all


@inner
def next_use(experts: Int16, n: int, layers: int, expert: int, end: int) -> int:
    """The first event after n, of its layer and before ``end``, that activates the expert."""
    for m in range(n + layers, end, layers):
        for k in range(experts.shape[1]):
            if experts[m, k] == expert:
                return int(m)
            if experts[m, k] < 0:
                break
    return NEVER


@kernel
def lru_hits(experts: Int16, layers: int, first: int, end: int, pool: Int16, last: Int16) -> int:
    """Hits of LRU from event ``first`` on.

    Args:
        experts: ``(N, K)``.
        layers: L.
        first: event; those before are the warm-up.
        end: one past the last event.
        pool: ``(L, C)`` experts at first, overwritten.
        last: ``(L, E)`` step that used each last, overwritten.
    """
    hits = 0
    for n in range(first, end):
        layer, step = n % layers, n // layers
        for k in range(experts.shape[1]):
            if experts[n, k] >= 0:
                hits += holds(pool, layer, experts[n, k])
        for k in range(experts.shape[1]):
            expert = experts[n, k]
            if expert < 0:
                break
            last[layer, expert] = step
        for k in range(experts.shape[1]):
            expert = experts[n, k]
            if expert >= 0 and not holds(pool, layer, expert):
                oldest = 0
                for slot in range(1, pool.shape[1]):
                    if last[layer, pool[layer, slot]] < last[layer, pool[layer, oldest]]:
                        oldest = slot
                if last[layer, pool[layer, oldest]] < step:
                    pool[layer, oldest] = expert
    return hits


@inner
def holds(pool: Int16, layer: int, expert: int) -> bool:
    """Whether the expert is in the layer's pool."""
    found = False
    for slot in range(pool.shape[1]):
        found = found or pool[layer, slot] == expert
    return found


@kernel
def min_hits(experts: Int16, layers: int, first: int, end: int, pool: Int16) -> int:
    """Hits of MIN with bypass from event ``first`` on: no caching without prefetch has more.

    Args: as `lru_hits`.
    """
    hits = 0
    for n in range(first, end):
        layer = n % layers
        for k in range(experts.shape[1]):
            if experts[n, k] >= 0:
                hits += holds(pool, layer, experts[n, k])
        for k in range(experts.shape[1]):
            expert = experts[n, k]
            if expert < 0 or holds(pool, layer, expert):
                continue
            farthest, latest = -1, next_use(experts, n, layers, expert, end)
            for slot in range(pool.shape[1]):
                use = next_use(experts, n, layers, pool[layer, slot], end)
                if use > latest:
                    farthest, latest = slot, use
            if farthest >= 0:
                pool[layer, farthest] = expert
    return hits
