"""Flights of data: which way they go, and what their landing sets free.

A flight is stored whole at each node and sent on to the next. A wired link serves its flights one
at a time in the order in which they come. Data is never sent to where it is, or is flying to.
"""

import math

from fleetgym.envs.core.jit import folded, inner
from fleetgym.envs.mec_offloading.compute import enqueue_task, processor_of, start_tasks
from fleetgym.envs.mec_offloading.events import push
from fleetgym.envs.mec_offloading.radio import bits_of, enqueue
from fleetgym.envs.mec_offloading.types import (
    A_ARRIVAL,
    A_DEADLINE,
    A_DEVICE,
    A_FINISH,
    A_LEFT,
    APP,
    APPS_LEFT,
    ARRIVE,
    AT_APPS,
    AT_DATA,
    AT_DELAY,
    AT_DEVICES,
    AT_LINKS,
    AT_NEXT,
    AT_ROUTE,
    AT_TASKS,
    AT_USES,
    CLOCK,
    D_APP,
    D_BYTES,
    D_DEVICE,
    D_FIRST,
    D_FLYING,
    D_LAST,
    D_WHERE,
    DATUM,
    DEVICE,
    EVERYWHERE,
    FA_APPS,
    FA_DEVICES,
    FA_LINKS,
    FD,
    FD_RATE,
    FD_START,
    FD_TIME,
    FLIGHTS,
    HOME,
    N_DEVICES,
    N_SERVERS,
    NOBODY,
    PLACED,
    QUEUED,
    RESULT,
    RULE_PLANNED,
    T_MISSING,
    T_NODE,
    T_POWER,
    T_STATE,
    TASK,
    U_AT,
    U_BUSY,
    U_DATA,
    U_POWER,
    U_TARGET,
    U_TASK,
    USE,
    V_ACTIVE,
    V_COVER,
    V_MISSES,
    V_SERVING,
    Float64,
    Int64,
)

FULL_POWER = 256  # SHARES


@inner
def source_of(i: Int64, data: int, target: int) -> int:
    """From which node data is sent: the wired one with the shortest way, else the device."""
    n, row = i[N_SERVERS] + 1, i[AT_DATA] + data * DATUM
    wired = i[row + D_WHERE] >> 1
    if wired == 0:
        return HOME
    end = target
    if target == HOME:
        end = max(0, i[i[AT_DEVICES] + i[row + D_DEVICE] * DEVICE + V_SERVING])
    best, least = HOME, 0
    for node in range(n):
        if (wired >> node) & 1:
            way = i[i[AT_ROUTE] + node * n + end]
            if best == HOME or way < least:
                best, least = node, way
    return best


@inner
def send(i: Int64, f: Float64, use: int, target: int) -> None:
    """Sends a use's data to where it is needed.

    A task that a failing server gave back may be placed elsewhere while its data is still on the
    way to that server: what is under way is not called back, and goes on once it has landed.
    """
    at, tasks = i[AT_USES] + use * USE, i[AT_TASKS]
    data, task = i[at + U_DATA], i[at + U_TASK]
    if i[at + U_BUSY]:
        return
    i[at + U_BUSY] = 1
    i[i[AT_DATA] + data * DATUM + D_FLYING] |= 1 << (target + 1)
    i[at + U_TARGET] = target
    i[at + U_POWER] = FULL_POWER if task == RESULT else i[tasks + task * TASK + T_POWER]
    i[at + U_AT] = source_of(i, data, target)
    i[FLIGHTS] += 1
    forward(i, f, use)


@inner
def forward(i: Int64, f: Float64, use: int) -> None:
    """Sends a flight on from the node that it has reached."""
    at, n = i[AT_USES] + use * USE, i[N_DEVICES]
    here, target = i[at + U_AT], i[at + U_TARGET]
    u = i[i[AT_DATA] + i[at + U_DATA] * DATUM + D_DEVICE]
    if here == HOME:
        enqueue(i, f, u, use)
        return
    if target == HOME:
        device = i[AT_DEVICES] + u * DEVICE
        serving = i[device + V_SERVING]
        covers = here < i[N_SERVERS] and (i[device + V_COVER] >> here) & 1
        if covers or serving in (NOBODY, here):
            enqueue(i, f, n + u, use)
            return
        target = serving
    nodes = i[N_SERVERS] + 1
    following = i[i[AT_NEXT] + here * nodes + target]
    link = here * nodes + following
    taken = max(i[i[AT_LINKS] + link], i[CLOCK])
    taken += math.ceil(bits_of(i, use) / f[i[FA_LINKS] + link])
    i[i[AT_LINKS] + link] = taken
    i[at + U_AT] = following
    push(i, taken + i[i[AT_DELAY] + link], ARRIVE, use)


@folded
def arrive(i: Int64, f: Float64, use: int) -> None:
    """A flight has reached a node: it lands there, or goes on."""
    at = i[AT_USES] + use * USE
    if i[at + U_AT] == i[at + U_TARGET]:
        i[at + U_BUSY] = 0
        land(i, f, i[at + U_DATA], i[at + U_TARGET])
    else:
        forward(i, f, use)


@inner
def land(i: Int64, f: Float64, data: int, node: int) -> None:
    """Data is at a node, and whoever waits there for it has one input less to wait for."""
    row, bit = i[AT_DATA] + data * DATUM, 1 << (node + 1)
    i[row + D_WHERE] |= bit
    i[row + D_FLYING] &= ~bit
    for use in range(i[row + D_FIRST], i[row + D_LAST]):
        task = i[i[AT_USES] + use * USE + U_TASK]
        if task == RESULT:
            if node == HOME:
                progress(i, f, i[row + D_APP])
            continue
        at = i[AT_TASKS] + task * TASK
        if i[at + T_STATE] != PLACED:
            continue
        if i[at + T_NODE] == node:
            receive(i, f, task)
        elif ((i[row + D_WHERE] | i[row + D_FLYING]) >> (i[at + T_NODE] + 1)) & 1 == 0:
            send(i, f, use, i[at + T_NODE])


@folded
def receive(i: Int64, f: Float64, task: int) -> None:
    """A placed task has one more of its inputs."""
    i[i[AT_TASKS] + task * TASK + T_MISSING] -= 1
    if i[i[AT_TASKS] + task * TASK + T_MISSING] == 0:
        complete(i, f, task)


@folded
def complete(i: Int64, f: Float64, task: int) -> None:
    """A placed task has all its inputs: it queues for a core."""
    p = processor_of(i, task)
    i[i[AT_TASKS] + task * TASK + T_STATE] = QUEUED
    if not i[RULE_PLANNED]:
        enqueue_task(i, p, task)
    start_tasks(i, f, p)


@folded
def make(i: Int64, f: Float64, data: int, node: int) -> None:
    """Data comes into being at a node; data without bytes is everywhere at once."""
    row = i[AT_DATA] + data * DATUM
    i[row + D_WHERE] = EVERYWHERE if i[row + D_BYTES] == 0 else 1 << (node + 1)
    for use in range(i[row + D_FIRST], i[row + D_LAST]):
        task = i[i[AT_USES] + use * USE + U_TASK]
        target = HOME
        if task != RESULT:
            if i[i[AT_TASKS] + task * TASK + T_STATE] != PLACED:
                continue
            target = i[i[AT_TASKS] + task * TASK + T_NODE]
        if (i[row + D_WHERE] >> (target + 1)) & 1:
            if task == RESULT:
                progress(i, f, i[row + D_APP])
            else:
                receive(i, f, task)
        elif (i[row + D_FLYING] >> (target + 1)) & 1 == 0:
            send(i, f, use, target)


@folded
def progress(i: Int64, f: Float64, app: int) -> None:
    """An application needs one task, or one result, less; without any left it has finished."""
    at = i[AT_APPS] + app * APP
    i[at + A_LEFT] -= 1
    if i[at + A_LEFT] > 0:
        return
    u, weight = i[at + A_DEVICE], f[i[FA_APPS] + 2 * app]
    device, floats = i[AT_DEVICES] + u * DEVICE, i[FA_DEVICES] + u * FD
    i[at + A_FINISH] = i[CLOCK]
    i[device + V_ACTIVE] -= 1
    i[device + V_MISSES] += i[CLOCK] > i[at + A_DEADLINE]
    i[APPS_LEFT] -= 1
    f[floats + FD_TIME] += (i[CLOCK] - i[at + A_ARRIVAL]) * weight
    if i[device + V_ACTIVE] == 0:
        f[floats + FD_RATE] = 0.0
        f[floats + FD_START] = 0.0
    else:
        f[floats + FD_RATE] -= weight
        f[floats + FD_START] -= i[at + A_ARRIVAL] * weight
