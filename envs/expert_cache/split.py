"""The end of an event: its experts are split over GPU and CPU, as HybriMoE does it.

The experts form a queue: first those in GPU memory, the soonest there first, then the others; of
equals the one with more tokens first, then router order. The GPU takes from the head, what is not
in its memory by streaming it over PCIe without keeping it; the CPU takes from the tail. Of the two
candidates the one that ends earlier is carried out (the GPU's where both end alike), until the
queue is empty. The layer ends when both lanes are done.
"""

from fleetgym.envs.core.jit import folded, inner
from fleetgym.envs.expert_cache.dynamics import note_task, queue_copy
from fleetgym.envs.expert_cache.types import (
    ARRIVAL,
    ASKED,
    BEGAN,
    BUSY,
    CLOCK,
    CPU,
    GPU,
    LAYER,
    LENGTH,
    MISSED,
    PLACE,
    QUEUE,
    READY,
    STREAMED,
    SUM_CPU,
    SUM_GPU,
    SUM_MAKESPAN,
    SUM_STREAMS,
    SUM_TOKENS,
    TOKENS,
    Int16,
    Int64,
    Rules,
    World,
)

NOWHERE = 1 << 61  # ns: later than everything that comes


@inner
def note_queue(request: Int64, place: Int16, ready: Int64, start: int, length: int) -> None:
    """Writes when each expert can be in GPU memory, ``start`` at the soonest, and the queue."""
    arrival, tokens, queue = request[ARRIVAL], request[TOKENS], request[QUEUE]
    for k in range(length):
        slot = place[request[ASKED, k]]
        arrival[k] = max(start, ready[slot]) if slot >= 0 else NOWHERE
        at = k
        while at > 0:
            other = queue[at - 1]
            if arrival[other] < arrival[k]:
                break
            if arrival[other] == arrival[k] and tokens[other] >= tokens[k]:
                break
            queue[at] = other
            at -= 1
        queue[at] = k


@folded
def settle_event(w: World, b: int, rules: Rules) -> None:
    """Computes the event's experts and moves the clock to the end of its layer."""
    s, request, trail = w.scalars[b], w.request[b], w.trail[b]
    layer, length, start = s[LAYER], s[LENGTH], s[CLOCK]
    asked, tokens, missed = request[ASKED], request[TOKENS], request[MISSED]
    arrival, queue, head, tail = request[ARRIVAL], request[QUEUE], 0, length - 1
    base = layer * w.table.shape[3]
    note_queue(request, w.table[b, layer, PLACE], w.copies[b, layer, READY], start, length)
    gpu = cpu = start
    while head <= tail:
        first, last = queue[head], queue[tail]
        streams = arrival[first] == NOWHERE
        ready = max(s[BUSY], start) + rules.move if streams else arrival[first]
        begin = max(gpu, ready)
        gpu_time = max(rules.gpu_floor, rules.gpu_fixed + tokens[first] * rules.gpu_token)
        cpu_time = max(rules.cpu_floor, rules.cpu_fixed + tokens[last] * rules.cpu_token)
        if begin + gpu_time <= cpu + cpu_time:
            if streams:
                queue_copy(trail, s, start, rules.move, STREAMED, base + asked[first])
                s[SUM_STREAMS] += 1
            gpu = begin + gpu_time
            s[SUM_GPU] += gpu_time
            note_task(trail, s, begin, gpu, GPU, missed[first], base + asked[first])
            head += 1
        else:
            note_task(trail, s, cpu, cpu + cpu_time, CPU, missed[last], base + asked[last])
            cpu += cpu_time
            s[SUM_CPU] += cpu_time
            tail -= 1
    end = max(gpu, cpu)
    s[BEGAN] = start
    s[CLOCK] = end + rules.dense
    s[SUM_MAKESPAN] += end - start
    s[SUM_TOKENS] += layer == w.table.shape[1] - 1
