"""Placing a layer's experts for given loads: how many replicas, and which GPU gets which.

Items are the R replicas of a layer: ``items[0]`` is the expert of each, ``weight`` its tokens under
the equal split. LPT (longest processing time first, Graham 1969) puts the heaviest item left onto
the GPU that has room and serves least; swaps of two items then lower the fullest GPU.
"""

from fleetgym.envs.core.jit import inner, kernel
from fleetgym.envs.expert_placement.types import Float64, Int32, Int64, Scratch

RUN = 16  # items that are sorted by insertion
ENOUGH = 1.0002  # of the mean: the fullest GPU need not serve less
SWAPS = 400  # of a layer at most; a hundred are seldom needed


@inner
def sort_runs(key: Float64, order: Int64, size: int) -> None:
    """Writes 0..size-1 into ``order``, runs of ``RUN`` sorted by descending key: by insertion."""
    for low in range(0, size, RUN):
        for i in range(low, min(low + RUN, size)):
            j, value = i, key[i]
            while j > low and key[order[j - 1]] < value:
                order[j] = order[j - 1]
                j -= 1
            order[j] = i


@inner
def sort_descending(key: Float64, order: Int64, spare: Int64, size: int) -> None:
    """Writes into ``order`` the indices 0..size-1 by descending key, equal ones by index.

    A merge sort from the bottom up: stable, and it allocates nothing.
    """
    sort_runs(key, order, size)
    width = RUN
    while width < size:
        for low in range(0, size, 2 * width):
            middle, high = min(low + width, size), min(low + 2 * width, size)
            i, j = low, middle
            for k in range(low, high):
                if i < middle and (j >= high or key[order[i]] >= key[order[j]]):
                    spare[k] = order[i]
                    i += 1
                else:
                    spare[k] = order[j]
                    j += 1
        for k in range(size):
            order[k] = spare[k]
        width *= 2


@inner
def replicate(load: Float64, s: Scratch, num_items: int) -> int:
    """Gives every expert a replica, then each further one to the largest share of a replica.

    Writes into ``key`` (E,) the shares, into ``items[1]`` (E,) how many there are of each, into
    ``items[0]`` (num_items,) the expert of each item: the first of every expert, in order, then
    the others as they were given; and into ``order[0]`` (E,) the experts, heaviest first. This
    greedy rule makes the largest share as small as it can be. Ties go to the lower index.

    Returns:
        How many experts of ``order[0]`` have more than one replica: the first ones.
    """
    share, replicas, items, order = s.key, s.items[1], s.items[0], s.order[0]
    experts = load.shape[0]
    sort_descending(load, order, s.order[1], experts)
    for expert in range(experts):
        share[expert] = load[expert]
        replicas[expert] = 1
        items[expert] = expert
    reached = 0  # experts that have been given more; those after them only come in order
    for item in range(experts, num_items):
        best = order[min(reached, experts - 1)]
        for i in range(reached):
            expert = order[i]
            if share[expert] > share[best] or (share[expert] == share[best] and expert < best):
                best = expert
        if reached < experts and best == order[reached]:
            reached += 1
        replicas[best] += 1
        share[best] = load[best] / replicas[best]
        items[item] = best
    return int(reached)


@inner
def sink(bins: Float64, heap: Int64, size: int) -> None:
    """Moves the top of a heap of bins down to its place: least weight first, then least index."""
    at = 0
    top = heap[0]
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        other = child + 1
        if other < size and lighter(bins, heap[other], heap[child]):
            child = other
        if not lighter(bins, heap[child], top):
            break
        heap[at] = heap[child]
        at = child
    heap[at] = top


@inner
def lighter(bins: Float64, one: int, other: int) -> bool:
    """Whether the one bin comes before the other."""
    return bool(bins[one] < bins[other] or (bins[one] == bins[other] and one < other))


@inner
def pack_sorted(weight: Float64, order: Int64, room: int, bins: Float64, s: Scratch) -> None:
    """LPT: items in ``order`` to the bin that holds least of those that have room.

    Writes into ``items[2]`` (n,) bin * room + rank in it, of each item.

    Args:
        weight: (n,) of the items.
        order: (n,) items, heaviest first.
        room: items of a bin.
        bins: (bins,) weight held, written.
        s: room to work in.
    """
    filled, place, heap = s.items[3], s.items[2], s.items[6]
    size = bins.shape[0]
    for b in range(size):
        bins[b] = 0.0
        filled[b] = 0
        heap[b] = b  # equal ones by index: a heap
    for i in range(order.shape[0]):
        item, best = order[i], heap[0]
        place[item] = best * room + filled[best]
        filled[best] += 1
        bins[best] += weight[item]
        if filled[best] == room:
            size -= 1
            heap[0] = heap[size]
        sink(bins, heap, size)


@inner
def closest_swap(held: Float64, first: int, second: int, per_gpu: int, half: float) -> int:
    """Of two GPUs the items whose weights differ most nearly by ``half``: i * per_gpu + j."""
    least, best = 1e300, 0
    for i in range(per_gpu):
        wanted = held[first * per_gpu + i] - half
        for j in range(per_gpu):
            miss = abs(wanted - held[second * per_gpu + j])
            if miss < least:
                least, best = miss, i * per_gpu + j
    return best


@inner
def best_swap(held: Float64, gpu: Float64, fullest: int) -> tuple[int, int]:
    """The swap of an item of the fullest GPU that leaves the larger of the two GPUs least.

    GPUs are tried from the emptiest on, as long as the two together might be any better.

    Args:
        held: (R,) weight in each slot.
        gpu: (G,) weight of each GPU.
        fullest: GPU.

    Returns:
        The two slots, or -1, -1 where no swap is any better.
    """
    gpus = gpu.shape[0]
    per_gpu = held.shape[0] // gpus
    least, source, target = gpu[fullest] * (1.0 - 1e-12), -1, -1
    emptiest = 0
    for g in range(gpus):
        if gpu[g] < gpu[emptiest]:
            emptiest = g
    for k in range(gpus):
        g = emptiest if k == 0 else k if k > emptiest else k - 1
        half = 0.5 * (gpu[fullest] - gpu[g])
        if gpu[fullest] - half >= least:
            continue
        pair = closest_swap(held, fullest, g, per_gpu, half)
        i, j = fullest * per_gpu + pair // per_gpu, g * per_gpu + pair % per_gpu
        after = gpu[fullest] - half + abs(half - held[i] + held[j])
        if after < least:
            least, source, target = after, i, j
    return source, target


@inner
def improve(plan: Int32, held: Float64, gpu: Float64, swaps: int) -> None:
    """Swaps items of the fullest GPU while that lowers it, ``swaps`` times at most."""
    per_gpu, mean = held.shape[0] // gpu.shape[0], 0.0
    for g in range(gpu.shape[0]):
        mean += gpu[g] / gpu.shape[0]
    for _ in range(swaps):
        fullest = 0
        for g in range(gpu.shape[0]):
            if gpu[g] > gpu[fullest]:
                fullest = g
        if gpu[fullest] <= mean * ENOUGH:
            break
        i, j = best_swap(held, gpu, fullest)
        if i < 0:
            break
        moved = held[i] - held[j]
        gpu[i // per_gpu] -= moved
        gpu[j // per_gpu] += moved
        held[i], held[j] = held[j], held[i]
        plan[i], plan[j] = plan[j], plan[i]


@inner
def sort_items(load: Float64, slots: int, s: Scratch) -> None:
    """Replicates; writes into ``items[0]`` the expert of each item, heaviest item first.

    Only what has more than one replica is out of the order of the experts: it is sorted by its
    share, and the two orders are merged.
    """
    several = replicate(load, s, slots)
    order, share, replicas = s.order[0], s.key, s.items[1]
    for i in range(1, several):
        j, expert = i, order[i]
        while j > 0 and share[order[j - 1]] < share[expert]:
            order[j] = order[j - 1]
            j -= 1
        order[j] = expert
    i, j, item = 0, several, 0
    while item < slots:
        if i < several and (j >= load.shape[0] or share[order[i]] >= share[order[j]]):
            expert = order[i]
            i += 1
        else:
            expert = order[j]
            j += 1
        for _ in range(replicas[expert]):
            s.items[0, item] = expert
            s.weight[item] = share[expert]
            s.order[1, item] = item
            item += 1


@inner
def pack_layer(load: Float64, plan: Int32, swaps: int, s: Scratch) -> None:
    """LPT and swaps for one layer: writes ``plan`` (R,), and ``gpu`` as it will serve."""
    slots, gpus = plan.shape[0], s.gpu.shape[0]
    sort_items(load, slots, s)
    pack_sorted(s.weight, s.order[1][:slots], slots // gpus, s.gpu, s)
    place = s.items[2]
    for item in range(slots):
        plan[place[item]] = s.items[0, item]
        s.flow[place[item]] = s.weight[item]
    improve(plan, s.flow, s.gpu, swaps)


@kernel
def pack(load: Float64, plan: Int32, swaps: int, s: Scratch) -> None:
    """LPT and swaps for every layer.

    Args:
        load: (L, E) tokens, 0 or more.
        plan: (L, R), written.
        swaps: most of a layer; 0 for LPT alone.
        s: room to work in.
    """
    for layer in range(plan.shape[0]):
        pack_layer(load[layer], plan[layer], swaps, s)
