"""What the agents see of a world: their tasks, the places where one may go, and the mask.

Rows of tasks are written when they change, the rest at each decision. What is said of servers is
what their last report to arrive said.
"""

from fleetgym.envs.core.jit import folded, inner
from fleetgym.envs.hardware.cpu import SHARES, dynamic_energy_j
from fleetgym.envs.mec_offloading.machine import is_open
from fleetgym.envs.mec_offloading.transfers import source_of
from fleetgym.envs.mec_offloading.types import (
    A_ARRIVAL,
    A_DEADLINE,
    A_UNIT,
    APP,
    AT_APPS,
    AT_ASKED,
    AT_DATA,
    AT_DELAY,
    AT_DEVICES,
    AT_INPUTS,
    AT_LEVELS,
    AT_PROCESSORS,
    AT_RADIO,
    AT_ROUTE,
    AT_SEEN,
    AT_TASKS,
    AT_TOUCHED,
    AT_USES,
    CLOCK,
    D_BYTES,
    D_FIRST,
    D_LAST,
    D_WHERE,
    DATUM,
    DEVICE,
    FA_BAND,
    FA_DEVICES,
    FA_FETCH,
    FA_LINKS,
    FA_MEAN,
    FA_SPEED,
    FD,
    FD_KAPPA,
    FD_POWER,
    G_ASKED,
    G_PLACE,
    G_WAITING,
    HOME,
    N_AGENTS,
    N_DEVICES,
    N_LEVELS,
    N_SERVERS,
    N_SYMBOLS,
    NOBODY,
    P_BACKLOG,
    P_CAPACITY,
    P_CORES,
    P_MEMORY,
    PLACED,
    PROCESSOR,
    R_CELL,
    READY,
    RULE_CONTINUOUS,
    RULE_DISTRIBUTED,
    S_BACKLOG,
    S_MEMORY,
    S_UP,
    SEEN,
    T_APP,
    T_CYCLES,
    T_DEVICE,
    T_IN,
    T_IN_END,
    T_KNOWN,
    T_MEMORY,
    T_NODE,
    T_OUT,
    T_OUT_END,
    T_SLOT,
    T_STATE,
    T_TOUCHED,
    T_WAITING,
    TASK,
    TOUCHED_COUNT,
    U_DATA,
    USE,
    V_COVER,
    V_HEARD,
    V_READY,
    V_SERVING,
    Float32,
    Float64,
    Int8,
    Int64,
    Shown,
)

MEGABYTE, SOME = 1e6, 4.0  # at which a squashed feature is a half


@folded
def squash(x: float) -> float:
    """From 0 and up to between 0 and 1."""
    return x / (1.0 + x)


@inner
def write_task(i: Int64, f: Float64, task: int, row: Float32) -> None:
    """The features of a task that never change."""
    at = i[AT_TASKS] + task * TASK
    u, size, children = i[at + T_DEVICE], 0, 0
    for k in range(i[at + T_IN], i[at + T_IN_END]):
        data = i[i[AT_USES] + i[i[AT_INPUTS] + k] * USE + U_DATA]
        size += i[i[AT_DATA] + data * DATUM + D_BYTES]
    for data in range(i[at + T_OUT], i[at + T_OUT_END]):
        out = i[AT_DATA] + data * DATUM
        children += i[out + D_LAST] - i[out + D_FIRST]
    unit = i[i[AT_APPS] + i[at + T_APP] * APP + A_UNIT]
    room = i[i[AT_PROCESSORS] + u * PROCESSOR + P_CAPACITY]
    row[0] = squash(i[at + T_CYCLES] / f[i[FA_SPEED] + u] * 1e9 / unit)
    row[1] = min(1.0, i[at + T_MEMORY] / max(1, room))
    row[2] = squash(size / MEGABYTE)
    row[3] = squash(children / SOME)


@folded
def write_touched(i: Int64, f: Float64, tasks: Float32) -> None:
    """Writes the rows of tasks ``(U, N, F)`` that have changed."""
    for k in range(i[TOUCHED_COUNT]):
        task = i[i[AT_TOUCHED] + k]
        at = i[AT_TASKS] + task * TASK
        row = tasks[i[at + T_DEVICE], i[at + T_SLOT]]
        if i[at + T_TOUCHED] == 2:
            write_task(i, f, task, row)
        i[at + T_TOUCHED] = 0
        state, known = i[at + T_STATE], i[at + T_KNOWN] == 1
        row[G_WAITING] = i[at + T_WAITING] > 0
        row[5] = state == READY
        row[6] = state >= PLACED and not known
        row[7] = known
        row[G_PLACE] = 0.0 if state < PLACED else (i[at + T_NODE] + 2) / (i[N_SERVERS] + 2)
    i[TOUCHED_COUNT] = 0


@folded
def look_for_inputs(i: Int64, f: Float64, task: int) -> None:
    """Finds what must go where before a task can run at each node, into ``FA_FETCH``.

    Bytes that go by radio, and the longest way by wire, of what is made and not there.
    """
    row, m = i[AT_TASKS] + task * TASK, i[N_SERVERS]
    device, nodes = i[AT_DEVICES] + i[row + T_DEVICE] * DEVICE, m + 1
    serving, cover = i[device + V_SERVING], i[device + V_COVER]
    radio = i[FA_FETCH] + 1
    wire = radio + nodes + 1
    for node in range(HOME, nodes):
        f[radio + node] = f[wire + node] = 0.0
    for k in range(i[row + T_IN], i[row + T_IN_END]):
        number = i[i[AT_USES] + i[i[AT_INPUTS] + k] * USE + U_DATA]
        data = i[AT_DATA] + number * DATUM
        there, size = i[data + D_WHERE], i[data + D_BYTES]
        if there == 0:
            continue
        wired = there >> 1 != 0
        for node in range(HOME, nodes):
            if (there >> (node + 1)) & 1:
                continue
            start, end = NOBODY, node
            if wired:
                start = source_of(i, number, node)
            elif serving != NOBODY:
                start = node if node < m and (cover >> node) & 1 else serving
            if node == HOME:
                end = max(0, serving)
            if node == HOME or not wired:
                f[radio + node] += size
            if start not in (NOBODY, end):
                link = start * nodes + end
                rate, spent = f[i[FA_LINKS] + link], float(i[i[AT_ROUTE] + link])
                if rate > 0.0:
                    spent = i[i[AT_DELAY] + link] + 8 * size / rate
                f[wire + node] = max(f[wire + node], spent)


@folded
def fetch_ns(i: Int64, f: Float64, u: int, node: int, users: int) -> float:
    """Nanoseconds until inputs would be at a node, were links free and without fading.

    Args:
        i: the world, `look_for_inputs` done.
        f: its floats.
        u: the device.
        node: where.
        users: of the cell besides the device.
    """
    m, device = i[N_SERVERS], i[AT_DEVICES] + u * DEVICE
    cell = i[device + V_SERVING]
    if 0 <= node < m and (i[device + V_COVER] >> node) & 1:
        cell = node
    at = i[FA_FETCH] + 1 + node
    size, by_wire = f[at], f[at + m + 2]
    if size == 0.0 or cell == NOBODY:
        return float(by_wire)
    way = 1 if node == HOME else 0
    mean = f[i[FA_MEAN] + (way * i[N_DEVICES] + u) * m + cell] * f[i[FA_BAND] + cell]
    return float(by_wire + size * (8e9 * (1 + users)) / max(mean, 1e-6))


@folded
def write_places(i: Int64, f: Float64, task: int, rows: Float32, mask: Int8, first: int) -> None:
    """The features of every place for a task, and which are legal.

    Args:
        i: the world.
        f: its floats.
        task: that is asked about.
        rows: ``(P, F)``, written.
        mask: one byte for each action, written from ``first`` on.
        first: action of the first place.
    """
    row, n, m, levels = i[AT_TASKS] + task * TASK, i[N_DEVICES], i[N_SERVERS], i[N_LEVELS]
    u, cycles = i[row + T_DEVICE], i[row + T_CYCLES]
    unit = float(i[i[AT_APPS] + i[row + T_APP] * APP + A_UNIT])
    speed, floats = f[i[FA_SPEED] + u], i[FA_DEVICES] + u * FD
    energy_unit = dynamic_energy_j(cycles, speed, SHARES, f[floats + FD_KAPPA])
    energy_unit = max(energy_unit, 1e-12)
    covered = i[i[AT_DEVICES] + u * DEVICE + V_SERVING] != NOBODY
    look_for_inputs(i, f, task)
    home_fetch = fetch_ns(i, f, u, HOME, 0)
    for k in range(levels + m + 1):
        node = k - levels if k >= levels else HOME
        p = n + node if node >= 0 else u
        at = i[AT_PROCESSORS] + p * PROCESSOR
        legal = is_open(i, task, node)
        backlog, free, users, fetch = i[at + P_BACKLOG], i[at + P_MEMORY], 0, 0.0
        took, joules = cycles * 1e9 / f[i[FA_SPEED] + p], 0.0
        if node == HOME:
            share = i[i[AT_LEVELS] + k]
            fetch = home_fetch
            took *= SHARES / share
            joules = dynamic_energy_j(cycles, speed, share, f[floats + FD_KAPPA])
        else:
            if node < m:
                seen = i[AT_SEEN] + node * SEEN
                backlog, free, users = i[seen + S_BACKLOG], i[seen + S_MEMORY], i[seen + S_UP]
            else:
                backlog, free = 0, i[at + P_CAPACITY]
            if covered:
                fetch = fetch_ns(i, f, u, node, users)
            joules = f[floats + FD_POWER] * fetch * 1e-9
        wait = backlog / i[at + P_CORES]
        out = rows[k]
        out[0] = legal
        out[1] = took / (unit + took)
        out[2] = fetch / (unit + fetch)
        out[3] = wait / (unit + wait)
        whole = took + fetch + wait
        out[4] = whole / (unit + whole)
        out[5] = min(1.0, free / max(1, i[at + P_CAPACITY]))
        out[6] = min(1.0, users / n)
        out[7] = joules / (energy_unit + joules)
        out[8] = node == HOME
        mask[first + k] = legal


@folded
def write_progress(i: Int64, task: int, u: int, row: Float32) -> None:
    """Where a device stands; ``task`` is the one asked about, or NOBODY."""
    radio, span = i[AT_RADIO] + R_CELL * 2 * i[N_DEVICES], i[N_DEVICES]
    row[0] = row[1] = 0.0
    if task != NOBODY:
        app = i[AT_APPS] + i[i[AT_TASKS] + task * TASK + T_APP] * APP
        spent = float(i[CLOCK] - i[app + A_ARRIVAL])
        row[0] = spent / max(1.0, spent + (i[app + A_DEADLINE] - i[app + A_ARRIVAL]))
        row[1] = squash(i[i[AT_DEVICES] + u * DEVICE + V_READY] / SOME)
    row[2] = i[radio + u] != NOBODY
    row[3] = i[radio + span + u] != NOBODY
    row[4] = i[i[AT_DEVICES] + u * DEVICE + V_SERVING] != NOBODY


@folded
def mark(i: Int64, task: int, tasks: Float32, asked: bool) -> None:
    """Sets or clears the mark of a task that is asked about."""
    at = i[AT_TASKS] + task * TASK
    tasks[i[at + T_DEVICE], i[at + T_SLOT], G_ASKED] = asked


@folded
def unmark(i: Int64, shown: Shown, b: int) -> None:
    """Clears the marks of the tasks that were asked about."""
    for agent in range(i[N_AGENTS]):
        task = i[i[AT_ASKED] + agent]
        if task != NOBODY:
            mark(i, task, shown.tasks[b], False)


@folded
def write_view(i: Int64, f: Float64, shown: Shown, b: int) -> None:
    """Writes the observation and the mask of a world."""
    write_touched(i, f, shown.tasks[b])
    places, masks, progress = shown.places[b], shown.mask[b], shown.progress[b]
    first = 1 if i[RULE_DISTRIBUTED] and not i[RULE_CONTINUOUS] else 0
    if not i[RULE_DISTRIBUTED]:
        shown.focus[b] = 0.0
    for agent in range(i[N_AGENTS]):
        task = i[i[AT_ASKED] + agent]
        u = agent if i[RULE_DISTRIBUTED] else 0
        mask = masks[agent]
        if task == NOBODY:
            places[agent] = 0.0
            mask[:] = 0
            mask[0] = 1
        else:
            u = i[i[AT_TASKS] + task * TASK + T_DEVICE]
            if first:
                mask[0] = 0
            write_places(i, f, task, places[agent], mask, first)
            mark(i, task, shown.tasks[b], True)
            if not i[RULE_DISTRIBUTED]:
                shown.focus[b, u] = 1.0
        for k in range(len(mask) - i[N_SYMBOLS], len(mask)):
            mask[k] = 1
        write_progress(i, task, u, progress[agent])
    if i[N_SYMBOLS] > 0:
        shown.heard[b] = 0.0
        for u in range(i[N_DEVICES]):
            shown.heard[b, u, i[i[AT_DEVICES] + u * DEVICE + V_HEARD]] = 1.0
