"""Processors: queues in the order of readiness, cores, and servers that share theirs."""

import math

from fleetgym.envs.core.jit import folded, inner
from fleetgym.envs.mec_offloading.events import drop, push
from fleetgym.envs.mec_offloading.types import (
    AT_PROCESSORS,
    AT_TASKS,
    CLOCK,
    FA_RATE,
    FA_REMAIN,
    FA_SPEED,
    FINISH,
    N_DEVICES,
    N_SERVERS,
    N_TASKS,
    NOBODY,
    P_CORES,
    P_DIRTY,
    P_DOWN,
    P_FREE,
    P_HEAD,
    P_MEMORY,
    P_RUNNING,
    P_SINCE,
    P_TAIL,
    PROCESSOR,
    QUEUED,
    RULE_PLANNED,
    RULE_SHARED,
    RUNNING,
    T_CYCLES,
    T_DEVICE,
    T_END,
    T_EXEC,
    T_MEMORY,
    T_NEXT,
    T_NODE,
    T_START,
    T_STATE,
    TASK,
    Float64,
    Int64,
)


@folded
def processor_of(i: Int64, task: int) -> int:
    """The processor where a task is placed."""
    at = i[AT_TASKS] + task * TASK
    node = i[at + T_NODE]
    return int(i[at + T_DEVICE] if node < 0 else i[N_DEVICES] + node)


@folded
def enqueue_task(i: Int64, p: int, task: int) -> None:
    """Puts a task last in a processor's queue."""
    at, tasks = i[AT_PROCESSORS] + p * PROCESSOR, i[AT_TASKS]
    i[tasks + task * TASK + T_NEXT] = NOBODY
    if i[at + P_HEAD] == NOBODY:
        i[at + P_HEAD] = task
    else:
        i[tasks + i[at + P_TAIL] * TASK + T_NEXT] = task
    i[at + P_TAIL] = task


@inner
def unqueue_task(i: Int64, p: int, task: int) -> None:
    """Takes a task out of a processor's queue, wherever in it."""
    at, tasks = i[AT_PROCESSORS] + p * PROCESSOR, i[AT_TASKS]
    before, here = NOBODY, i[at + P_HEAD]
    while here != task:
        before, here = here, i[tasks + here * TASK + T_NEXT]
    after = i[tasks + task * TASK + T_NEXT]
    if before == NOBODY:
        i[at + P_HEAD] = after
    else:
        i[tasks + before * TASK + T_NEXT] = after
    if after == NOBODY:
        i[at + P_TAIL] = before


@folded
def start_tasks(i: Int64, f: Float64, p: int) -> None:
    """Starts tasks from the head of a queue while there are cores.

    In planned mode the queue holds what was planned, in that order: the head may lack inputs or
    memory, and then all wait for it.
    """
    at, tasks = i[AT_PROCESSORS] + p * PROCESSOR, i[AT_TASKS]
    while i[at + P_HEAD] != NOBODY and i[at + P_FREE] > 0 and i[at + P_DOWN] == 0:
        task = i[at + P_HEAD]
        row = tasks + task * TASK
        if i[row + T_STATE] != QUEUED:
            return
        if i[RULE_PLANNED]:
            if i[at + P_MEMORY] < i[row + T_MEMORY]:
                return
            i[at + P_MEMORY] -= i[row + T_MEMORY]
        i[at + P_HEAD] = i[row + T_NEXT]
        i[row + T_STATE] = RUNNING
        i[row + T_START] = i[CLOCK]
        i[at + P_FREE] -= 1
        i[at + P_RUNNING] += 1
        if i[RULE_SHARED] and p >= i[N_DEVICES]:
            f[i[FA_REMAIN] + task] = i[row + T_CYCLES]
            i[at + P_DIRTY] = 1
        else:
            i[row + T_END] = i[CLOCK] + i[row + T_EXEC]
            push(i, i[row + T_END], FINISH, task)


@inner
def share_cores(i: Int64, f: Float64) -> None:
    """Where tasks came or went, computes anew what part of the cores each has, and its end."""
    first = i[N_DEVICES]
    for p in range(first, first + i[N_SERVERS] + 1):
        at, rate = i[AT_PROCESSORS] + p * PROCESSOR, i[FA_RATE] + p
        if i[at + P_DIRTY] == 0:
            continue
        spent = i[CLOCK] - i[at + P_SINCE]
        before, running = f[rate], i[at + P_RUNNING]
        f[rate] = f[i[FA_SPEED] + p] * 1e-9
        if running > i[at + P_CORES]:
            f[rate] *= i[at + P_CORES] / running
        for task in range(i[N_TASKS]):
            row = i[AT_TASKS] + task * TASK
            if i[row + T_STATE] != RUNNING or i[row + T_NODE] != p - first:
                continue
            left = i[FA_REMAIN] + task
            if i[row + T_START] < i[CLOCK]:
                f[left] -= before * spent
            drop(i, FINISH, task)
            i[row + T_END] = i[CLOCK] + math.ceil(max(f[left], 0.0) / f[rate])
            push(i, i[row + T_END], FINISH, task)
        i[at + P_SINCE] = i[CLOCK]
        i[at + P_DIRTY] = 0


@inner
def work_done(i: Int64, f: Float64, p: int, task: int) -> int:
    """Nanoseconds of a core that a running task of a server has had."""
    row = i[AT_TASKS] + task * TASK
    if not i[RULE_SHARED]:
        return int(i[CLOCK] - i[row + T_START])
    since = i[CLOCK] - i[i[AT_PROCESSORS] + p * PROCESSOR + P_SINCE]
    left = f[i[FA_REMAIN] + task] - f[i[FA_RATE] + p] * since
    return int((i[row + T_CYCLES] - left) * 1e9 / f[i[FA_SPEED] + p])
