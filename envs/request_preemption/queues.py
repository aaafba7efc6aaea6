"""The lists of an instance: running, queue, aside, and spare slots."""

from fleetgym.envs.core.jit import inner
from fleetgym.envs.request_preemption.types import (
    ASIDE,
    ASIDE_N,
    CLIENT,
    FAIR,
    LAST_CLIENT,
    LISTS,
    QUEUE,
    QUEUED,
    QUEUED_N,
    RUNNING_N,
    Int64,
    World,
)


@inner
def append(slots: Int64, registers: Int64, which: int, s: int) -> None:
    """Puts a slot at the tail of a list; lengths are the registers of the lists' numbers."""
    slots[LISTS + which, registers[which]] = s
    registers[which] += 1


@inner
def prepend(slots: Int64, registers: Int64, which: int, s: int) -> None:
    """Puts a slot at the head of a list."""
    entries, count = slots[LISTS + which], registers[which]
    for n in range(count, 0, -1):
        entries[n] = entries[n - 1]
    entries[0] = s
    registers[which] += 1


@inner
def remove(slots: Int64, registers: Int64, which: int, s: int) -> None:
    """Takes a slot out of a list, the order of the others kept."""
    entries, count = slots[LISTS + which], registers[which]
    n = 0
    while entries[n] != s:
        n += 1
    for m in range(n, count - 1):
        entries[m] = entries[m + 1]
    registers[which] -= 1


@inner
def pop(slots: Int64, registers: Int64, which: int) -> int:
    """Takes the slot at the tail of a list."""
    registers[which] -= 1
    return int(slots[LISTS + which, registers[which]])


@inner
def join_queue(w: World, b: int, i: int, s: int, head: bool) -> None:
    """Queues a request, at the head where it was preempted.

    The fair counter of a client that had nothing queued is lifted when a new request of it comes
    (VTC, Sheng et al., OSDI 2024, algorithm 2).
    """
    slots, registers = w.slots[b, i], w.instances[b, i]
    client = slots[CLIENT, s]
    if w.clients[b, QUEUED, client] == 0 and not head:
        least, anybody = 0, False
        for other in range(w.clients.shape[2]):
            if w.clients[b, QUEUED, other] > 0:
                counter = w.clients[b, FAIR, other]
                least = counter if not anybody else min(least, counter)
                anybody = True
        if not anybody and w.scalars[b, LAST_CLIENT] >= 0:
            least = w.clients[b, FAIR, w.scalars[b, LAST_CLIENT]]
        w.clients[b, FAIR, client] = max(w.clients[b, FAIR, client], least)
    w.clients[b, QUEUED, client] += 1
    if head:
        prepend(slots, registers, QUEUE, s)
    else:
        append(slots, registers, QUEUE, s)


@inner
def leave_queue(w: World, b: int, i: int, s: int) -> None:
    """Takes a request out of the queue."""
    slots, registers = w.slots[b, i], w.instances[b, i]
    client = slots[CLIENT, s]
    w.clients[b, QUEUED, client] -= 1
    w.scalars[b, LAST_CLIENT] = client
    remove(slots, registers, QUEUE, s)


@inner
def service_gap(w: World, b: int) -> int:
    """The largest difference of fair counters between clients that have requests waiting."""
    least = most = 0
    anybody = False
    for client in range(w.clients.shape[2]):
        if w.clients[b, QUEUED, client] > 0:
            counter = w.clients[b, FAIR, client]
            least = counter if not anybody else min(least, counter)
            most = counter if not anybody else max(most, counter)
            anybody = True
    return most - least


@inner
def table_slot(slots: Int64, registers: Int64, position: int) -> int:
    """The slot at a position of the table, or -1 behind its end."""
    n = position
    for which in (0, QUEUE, ASIDE):
        if n < registers[which]:
            return int(slots[LISTS + which, n])
        n -= registers[which]
    return -1


@inner
def table_length(registers: Int64) -> int:
    """Requests on the instance."""
    return int(registers[RUNNING_N] + registers[QUEUED_N] + registers[ASIDE_N])
