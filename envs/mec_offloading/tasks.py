"""The life of a task: it appears, is ready, is placed, finishes, and its device learns of it."""

from fleetgym.envs.core.jit import folded, inner
from fleetgym.envs.core.status import DONE as CARRIED_OUT
from fleetgym.envs.core.status import STALE
from fleetgym.envs.hardware.cpu import dynamic_energy_j, execution_ns
from fleetgym.envs.mec_offloading.compute import (
    enqueue_task,
    processor_of,
    start_tasks,
    unqueue_task,
    work_done,
)
from fleetgym.envs.mec_offloading.events import drop, push
from fleetgym.envs.mec_offloading.transfers import complete, make, progress, send
from fleetgym.envs.mec_offloading.types import (
    A_ARRIVAL,
    A_DATA,
    A_DATA_END,
    A_DEVICE,
    A_TASKS,
    A_TASKS_END,
    APP,
    AT_APPS,
    AT_DATA,
    AT_DEVICES,
    AT_INPUTS,
    AT_PROCESSORS,
    AT_READY,
    AT_TASKS,
    AT_TOUCHED,
    AT_USES,
    BLOCKED,
    CLOCK,
    D_BYTES,
    D_FIRST,
    D_FLYING,
    D_LAST,
    D_PRODUCER,
    D_WHERE,
    DATUM,
    DECISIONS,
    DEVICE,
    DONE,
    EVERYWHERE,
    FA_APPS,
    FA_DEVICES,
    FA_SPEED,
    FD,
    FD_KAPPA,
    FD_LOCAL,
    FD_RATE,
    FD_SCALE,
    FD_SHARE,
    FD_START,
    FINISH,
    HG_APPS,
    HOME,
    HT_APPS,
    HT_DATA,
    HT_INPUTS,
    HT_TASKS,
    HT_USES,
    N_DEVICES,
    N_TASKS,
    NOBODY,
    NOTICE,
    P_BACKLOG,
    P_BUSY,
    P_DIRTY,
    P_DOWN,
    P_FREE,
    P_MEMORY,
    P_RUNNING,
    PLACED,
    PROCESSOR,
    QUEUED,
    READY,
    READY_COUNT,
    REFUSED,
    RESULT,
    RETRY,
    RETURNED,
    RULE_DELAY,
    RULE_PLANNED,
    RUNNING,
    STALES,
    T_APP,
    T_CYCLES,
    T_DEVICE,
    T_EXEC,
    T_FREQUENCY,
    T_IN,
    T_IN_END,
    T_KEY,
    T_KNOWN,
    T_MEMORY,
    T_MISSING,
    T_NODE,
    T_OUT,
    T_OUT_END,
    T_POWER,
    T_STATE,
    T_TOUCHED,
    T_WAITING,
    TASK,
    TOUCHED_COUNT,
    U_DATA,
    U_TASK,
    USE,
    V_ACTIVE,
    V_READY,
    V_SERVING,
    Float64,
    Int64,
)


@folded
def touch(i: Int64, task: int) -> None:
    """Notes that the task's row of the observation has changed."""
    at = i[AT_TASKS] + task * TASK + T_TOUCHED
    if i[at] == 0:
        i[at] = 1
        i[i[AT_TOUCHED] + i[TOUCHED_COUNT]] = task
        i[TOUCHED_COUNT] += 1


@folded
def make_ready(i: Int64, task: int) -> None:
    """Enters a task among those to be decided; the list is sorted, the next one last."""
    row = i[AT_TASKS] + task * TASK
    i[row + T_STATE] = READY
    touch(i, task)
    k = i[AT_READY] + i[READY_COUNT]
    while k > i[AT_READY] and i[i[AT_TASKS] + i[k - 1] * TASK + T_KEY] < i[row + T_KEY]:
        i[k] = i[k - 1]
        k -= 1
    i[k] = task
    i[READY_COUNT] += 1
    i[i[AT_DEVICES] + i[row + T_DEVICE] * DEVICE + V_READY] += 1


@folded
def unready(i: Int64, task: int) -> None:
    """Takes a task out of the list of those to be decided."""
    k = i[AT_READY] + i[READY_COUNT] - 1
    i[READY_COUNT] -= 1
    i[i[AT_DEVICES] + i[i[AT_TASKS] + task * TASK + T_DEVICE] * DEVICE + V_READY] -= 1
    moved = i[k]
    while moved != task:
        k -= 1
        i[k], moved = moved, i[k]


@inner
def appear(i: Int64, f: Float64, h: Int64, g: Float64, app: int) -> None:
    """An application arrives: its rows are copied from what was hidden, and its roots are ready."""
    _copy(i, i[AT_APPS], h, h[HT_APPS], app * APP, (app + 1) * APP)
    at = i[AT_APPS] + app * APP
    tasks, tasks_end = i[at + A_TASKS], i[at + A_TASKS_END]
    data, data_end = i[at + A_DATA], i[at + A_DATA_END]
    _copy(i, i[AT_TASKS], h, h[HT_TASKS], tasks * TASK, tasks_end * TASK)
    _copy(i, i[AT_DATA], h, h[HT_DATA], data * DATUM, data_end * DATUM)
    if data_end > data:
        first = i[i[AT_DATA] + data * DATUM + D_FIRST]
        last = i[i[AT_DATA] + (data_end - 1) * DATUM + D_LAST]
        _copy(i, i[AT_USES], h, h[HT_USES], first * USE, last * USE)
    first = i[i[AT_TASKS] + tasks * TASK + T_IN]
    last = i[i[AT_TASKS] + (tasks_end - 1) * TASK + T_IN_END]
    _copy(i, i[AT_INPUTS], h, h[HT_INPUTS], first, last)
    weight, scale = g[h[HG_APPS] + 2 * app], g[h[HG_APPS] + 2 * app + 1]
    f[i[FA_APPS] + 2 * app], f[i[FA_APPS] + 2 * app + 1] = weight, scale
    u = i[at + A_DEVICE]
    device, floats = i[AT_DEVICES] + u * DEVICE, i[FA_DEVICES] + u * FD
    i[device + V_ACTIVE] += 1
    f[floats + FD_RATE] += weight
    f[floats + FD_START] += i[at + A_ARRIVAL] * weight
    f[floats + FD_SCALE] = scale
    for d in range(data, data_end):
        row = i[AT_DATA] + d * DATUM
        if i[row + D_PRODUCER] == NOBODY:
            i[row + D_WHERE] = EVERYWHERE if i[row + D_BYTES] == 0 else 1 << (HOME + 1)
    for task in range(tasks, tasks_end):
        touch(i, task)
        i[i[AT_TASKS] + task * TASK + T_TOUCHED] = 2
        if i[RULE_PLANNED] or i[i[AT_TASKS] + task * TASK + T_WAITING] == 0:
            make_ready(i, task)


@inner
def _copy(i: Int64, to: int, h: Int64, source: int, first: int, end: int) -> None:
    for k in range(first, end):
        i[to + k] = h[source + k]


@inner
def place(i: Int64, f: Float64, task: int, node: int, frequency: int, power: int) -> int:
    """Carries out a decision: reserves memory, sends for the inputs, queues when all are there.

    Returns:
        DONE, or STALE where the device has lost all cells since it was asked, or the server has
        failed or is full, which the device could not see.
    """
    row, devices = i[AT_TASKS] + task * TASK, i[N_DEVICES]
    device = i[AT_DEVICES] + i[row + T_DEVICE] * DEVICE
    if node != HOME and i[device + V_SERVING] == NOBODY:
        i[STALES] += 1
        return STALE
    p = i[row + T_DEVICE] if node == HOME else devices + node
    at, need = i[AT_PROCESSORS] + p * PROCESSOR, i[row + T_MEMORY]
    if node != HOME and not i[RULE_PLANNED] and (i[at + P_DOWN] or i[at + P_MEMORY] < need):
        i[STALES] += 1
        if i[RULE_DELAY] > 0:
            unready(i, task)
            i[row + T_STATE] = REFUSED
            i[row + T_NODE] = node
            touch(i, task)
            push(i, i[CLOCK] + i[RULE_DELAY], RETRY, task)
        return STALE
    unready(i, task)
    i[DECISIONS] += 1
    i[row + T_STATE] = PLACED
    i[row + T_NODE] = node
    i[row + T_FREQUENCY] = frequency
    i[row + T_POWER] = power
    i[row + T_EXEC] = execution_ns(i[row + T_CYCLES], f[i[FA_SPEED] + p], frequency)
    i[at + P_BACKLOG] += i[row + T_EXEC]
    touch(i, task)
    if i[RULE_PLANNED]:
        enqueue_task(i, p, task)
    else:
        i[at + P_MEMORY] -= need
    i[row + T_MISSING] = 0
    for k in range(i[row + T_IN], i[row + T_IN_END]):
        use = i[i[AT_INPUTS] + k]
        data = i[AT_DATA] + i[i[AT_USES] + use * USE + U_DATA] * DATUM
        there = i[data + D_WHERE]
        if (there >> (node + 1)) & 1:
            continue
        i[row + T_MISSING] += 1
        if there != 0 and (i[data + D_FLYING] >> (node + 1)) & 1 == 0:
            send(i, f, use, node)
    if i[row + T_MISSING] == 0:
        complete(i, f, task)
    return CARRIED_OUT


@inner
def finish(i: Int64, f: Float64, task: int) -> None:
    """A task ends: its core and memory are free, its data is there, its results go home."""
    row, p = i[AT_TASKS] + task * TASK, processor_of(i, task)
    at = i[AT_PROCESSORS] + p * PROCESSOR
    i[row + T_STATE] = DONE
    i[at + P_FREE] += 1
    i[at + P_RUNNING] -= 1
    i[at + P_DIRTY] = 1
    i[at + P_MEMORY] += i[row + T_MEMORY]
    i[at + P_BACKLOG] -= i[row + T_EXEC]
    i[at + P_BUSY] += i[row + T_EXEC]
    if i[row + T_NODE] == HOME:
        floats = i[FA_DEVICES] + p * FD
        joules = dynamic_energy_j(
            i[row + T_CYCLES], f[i[FA_SPEED] + p], i[row + T_FREQUENCY], f[floats + FD_KAPPA]
        )
        f[floats + FD_LOCAL] += joules
        f[floats + FD_SHARE] += joules * f[i[FA_APPS] + 2 * i[row + T_APP] + 1]
    for data in range(i[row + T_OUT], i[row + T_OUT_END]):
        make(i, f, data, i[row + T_NODE])
    progress(i, f, i[row + T_APP])
    if i[row + T_NODE] == HOME or i[RULE_DELAY] == 0:
        know(i, task)
    else:
        push(i, i[CLOCK] + i[RULE_DELAY], NOTICE, task)
    start_tasks(i, f, p)


@folded
def know(i: Int64, task: int) -> None:
    """The device learns that a task has finished: children without other parents are ready."""
    row = i[AT_TASKS] + task * TASK
    i[row + T_KNOWN] = 1
    touch(i, task)
    for data in range(i[row + T_OUT], i[row + T_OUT_END]):
        at = i[AT_DATA] + data * DATUM
        for use in range(i[at + D_FIRST], i[at + D_LAST]):
            child = i[i[AT_USES] + use * USE + U_TASK]
            if child == RESULT:
                continue
            i[i[AT_TASKS] + child * TASK + T_WAITING] -= 1
            if i[i[AT_TASKS] + child * TASK + T_WAITING] == 0:
                if i[i[AT_TASKS] + child * TASK + T_STATE] == BLOCKED:
                    make_ready(i, child)
                touch(i, child)


@inner
def fail(i: Int64, f: Float64, server: int) -> None:
    """A server fails, or is repaired. What it has stored stays readable; its tasks go back.

    They keep nothing of the work done, and ask again as soon as their devices know.
    """
    p = i[N_DEVICES] + server
    at = i[AT_PROCESSORS] + p * PROCESSOR
    i[at + P_DOWN] = 1 - i[at + P_DOWN]
    if i[at + P_DOWN] == 0:
        return
    for task in range(i[N_TASKS]):
        row = i[AT_TASKS] + task * TASK
        state = i[row + T_STATE]
        if i[row + T_NODE] != server or state < PLACED or state > RUNNING:
            continue
        if state == QUEUED:
            unqueue_task(i, p, task)
        elif state == RUNNING:
            drop(i, FINISH, task)
            i[at + P_BUSY] += work_done(i, f, p, task)
            i[at + P_FREE] += 1
            i[at + P_RUNNING] -= 1
        i[at + P_DIRTY] = 1
        i[at + P_MEMORY] += i[row + T_MEMORY]
        i[at + P_BACKLOG] -= i[row + T_EXEC]
        i[row + T_STATE] = REFUSED
        i[RETURNED] += 1
        if i[RULE_DELAY] > 0:
            push(i, i[CLOCK] + i[RULE_DELAY], RETRY, task)
        else:
            make_ready(i, task)
