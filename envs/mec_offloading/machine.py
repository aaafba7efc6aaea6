"""A world on its way from one decision to the next: which event is next, and who is asked."""

from fleetgym.envs.core.jit import folded, inner
from fleetgym.envs.mec_offloading.compute import share_cores, start_tasks
from fleetgym.envs.mec_offloading.events import KIND, push
from fleetgym.envs.mec_offloading.radio import refresh, start, stop, through
from fleetgym.envs.mec_offloading.tasks import appear, fail, finish, know, make_ready
from fleetgym.envs.mec_offloading.transfers import arrive
from fleetgym.envs.mec_offloading.types import (
    AIR_END,
    AIR_RADIO,
    APPEAR,
    APPS_LEFT,
    ARRIVE,
    AT_ASKED,
    AT_CELLS,
    AT_DEVICES,
    AT_EVENTS,
    AT_PROCESSORS,
    AT_RADIO,
    AT_READY,
    AT_SEEN,
    AT_TASKS,
    AT_USES,
    BLOCK,
    BLOCK_DUE,
    CLOCK,
    DEVICE,
    DIRTY,
    DIRTY_DOWN,
    DOWN,
    ENDED,
    EVENTS_END,
    EVENTS_FIRST,
    FA_MEAN,
    FA_SNR,
    FAIL,
    FINISH,
    HANDOVERS,
    HEAR,
    HG_RADIO,
    HT_COVER,
    HT_SERVING,
    MOVE,
    N_AGENTS,
    N_DEVICES,
    N_MESSAGES,
    N_POSITIONS,
    N_SERVERS,
    NOBODY,
    NOTICE,
    ON_AIR,
    P_BACKLOG,
    P_CAPACITY,
    P_DOWN,
    P_MEMORY,
    POSITION,
    PROCESSOR,
    R_CELL,
    READY_COUNT,
    RESTARTS,
    RETRY,
    RULE_BLOCK,
    RULE_DELAY,
    RULE_DISTRIBUTED,
    RULE_HORIZON,
    RULE_MOVE,
    RULE_PLANNED,
    RULE_SHARED,
    S_BACKLOG,
    S_DOWN,
    S_FAILED,
    S_MEMORY,
    S_UP,
    SEEN,
    T_DEVICE,
    T_MEMORY,
    TASK,
    TERMINATED,
    TRUNCATED,
    U_BUSY,
    U_DATA,
    UP,
    USE,
    V_ACTIVE,
    V_COVER,
    V_HEARD,
    V_MISSES,
    V_SERVING,
    Float64,
    Int64,
)


@inner
def locate(i: Int64, f: Float64, h: Int64, g: Float64) -> None:
    """Loads coverage and gains of the present position, and counts handovers."""
    n, m, position = i[N_DEVICES], i[N_SERVERS], i[POSITION]
    for u in range(n):
        device = i[AT_DEVICES] + u * DEVICE
        i[device + V_COVER] = h[h[HT_COVER] + position * n + u]
        serving = h[h[HT_SERVING] + position * n + u]
        i[HANDOVERS] += serving not in (NOBODY, i[device + V_SERVING])
        i[device + V_SERVING] = serving
    half = 2 * n * m
    source = h[HG_RADIO] + position * 2 * half
    for k in range(half):
        f[i[FA_SNR] + k] = g[source + k]
        f[i[FA_MEAN] + k] = g[source + half + k]


@inner
def move(i: Int64, f: Float64, h: Int64, g: Float64) -> None:
    """Devices move. A flight whose cell no longer covers its device begins again at another."""
    n, span, radio = i[N_DEVICES], 2 * i[N_DEVICES], i[AT_RADIO]
    i[POSITION] += 1
    locate(i, f, h, g)
    i[DIRTY] = i[DIRTY_DOWN] = (1 << i[N_SERVERS]) - 1
    for r in range(span):
        cell = i[radio + R_CELL * span + r]
        cover = i[i[AT_DEVICES] + (r if r < n else r - n) * DEVICE + V_COVER]
        if cell != NOBODY and (cover >> cell) & 1 == 0:
            stop(i, f, r)
            i[RESTARTS] += 1
        start(i, f, r)
    if i[POSITION] + 1 < i[N_POSITIONS]:
        push(i, i[CLOCK] + i[RULE_MOVE], MOVE, 0)


@folded
def look(i: Int64, table: int) -> None:
    """Writes what there is to see of the servers into one of the two tables of `AT_SEEN`."""
    m = i[N_SERVERS]
    for server in range(m):
        at = i[AT_SEEN] + (table * m + server) * SEEN
        row = i[AT_PROCESSORS] + (i[N_DEVICES] + server) * PROCESSOR
        i[at + S_MEMORY] = i[row + P_MEMORY]
        i[at + S_BACKLOG] = i[row + P_BACKLOG]
        i[at + S_UP] = i[i[AT_CELLS] + server]
        i[at + S_DOWN] = i[i[AT_CELLS] + m + server]
        i[at + S_FAILED] = i[row + P_DOWN]


@folded
def pass_time(i: Int64, time: int) -> None:
    """Sets the clock. Servers report every `RULE_DELAY`, and that long a report is under way."""
    delay = i[RULE_DELAY]
    if delay > 0:
        reports = time // delay - i[CLOCK] // delay
        if reports == 1:
            size = i[N_SERVERS] * SEEN
            for k in range(i[AT_SEEN], i[AT_SEEN] + size):
                i[k] = i[k + size]
        elif reports > 1:
            look(i, 0)
        if reports > 0:
            look(i, 1)
    i[CLOCK] = time


@folded
def is_open(i: Int64, task: int, node: int) -> bool:
    """Whether a task may be placed at a node, as far as its device can see."""
    row = i[AT_TASKS] + task * TASK
    need, u = i[row + T_MEMORY], i[row + T_DEVICE]
    planned = i[RULE_PLANNED] != 0
    if node < 0:
        at = i[AT_PROCESSORS] + u * PROCESSOR
        return bool(i[at + (P_CAPACITY if planned else P_MEMORY)] >= need)
    if i[i[AT_DEVICES] + u * DEVICE + V_SERVING] == NOBODY:
        return False
    if node == i[N_SERVERS]:
        return True
    if planned:
        at = i[AT_PROCESSORS] + (i[N_DEVICES] + node) * PROCESSOR
        return bool(i[at + P_CAPACITY] >= need)
    at = i[AT_SEEN] + node * SEEN
    return bool(i[at + S_FAILED] == 0 and i[at + S_MEMORY] >= need)


@folded
def is_askable(i: Int64, task: int) -> bool:
    """Whether a task has anywhere to go; one that has not waits until it has."""
    node = -1
    while node <= i[N_SERVERS] and not is_open(i, task, node):
        node += 1
    return bool(node <= i[N_SERVERS])


@folded
def ask(i: Int64) -> bool:
    """Chooses the task that each agent is asked about; False where nobody is."""
    if i[READY_COUNT] == 0:
        return False
    for agent in range(i[N_AGENTS]):
        i[i[AT_ASKED] + agent] = NOBODY
    if i[RULE_DELAY] == 0:
        look(i, 0)
    found = False
    for k in range(i[READY_COUNT] - 1, -1, -1):
        task = i[i[AT_READY] + k]
        agent = i[i[AT_TASKS] + task * TASK + T_DEVICE] if i[RULE_DISTRIBUTED] else 0
        if i[i[AT_ASKED] + agent] == NOBODY and is_askable(i, task):
            i[i[AT_ASKED] + agent] = task
            found = True
            if not i[RULE_DISTRIBUTED]:
                break
    return found


@folded
def next_event(i: Int64) -> tuple[int, int, int]:
    """Time, kind and index of the next event; NEVER where there is none."""
    time, kind, index = i[AIR_END], UP, i[AIR_RADIO]
    if index >= i[N_DEVICES]:
        kind, index = DOWN, index - i[N_DEVICES]
    if i[EVENTS_FIRST] < i[EVENTS_END]:
        at = i[AT_EVENTS] + 2 * i[EVENTS_FIRST]
        listed = i[at + 1] // KIND
        if i[at] < time or (i[at] == time and listed < kind):
            return i[at], listed, i[at + 1] - listed * KIND
    return time, kind, index


@folded
def happen(i: Int64, f: Float64, h: Int64, g: Float64, kind: int, index: int) -> None:
    """Carries out an event whose time has come."""
    if kind in (UP, DOWN):
        through(i, f, index if kind == UP else i[N_DEVICES] + index)
        return
    i[EVENTS_FIRST] += 1
    if kind == ARRIVE:
        arrive(i, f, index)
    elif kind == FINISH:
        finish(i, f, index)
    elif kind == NOTICE:
        know(i, index)
    elif kind == RETRY:
        make_ready(i, index)
    elif kind == APPEAR:
        appear(i, f, h, g, index)
    elif kind == MOVE:
        move(i, f, h, g)
    elif kind == BLOCK:
        i[BLOCK_DUE] = 0
        if i[ON_AIR] > 0:
            i[DIRTY] = i[DIRTY_DOWN] = (1 << i[N_SERVERS]) - 1
            push(i, i[CLOCK] + i[RULE_BLOCK], BLOCK, 0)
            i[BLOCK_DUE] = 1
    elif kind == HEAR:
        use = i[AT_USES] + (i[N_MESSAGES] + index) * USE
        i[i[AT_DEVICES] + index * DEVICE + V_HEARD] = i[use + U_DATA]
        i[use + U_BUSY] = 0
    elif kind == FAIL:
        fail(i, f, index)
        start_tasks(i, f, i[N_DEVICES] + index)


@folded
def settle(i: Int64, f: Float64) -> None:
    """Computes what the last changes mean for those who share cells and cores."""
    refresh(i, f)
    if i[RULE_SHARED]:
        share_cores(i, f)


@folded
def advance(i: Int64, f: Float64, h: Int64, g: Float64, until: int, asking: bool) -> bool:
    """Goes on until a time, or until somebody is to be asked before it; whether somebody is."""
    while i[APPS_LEFT] > 0 or not asking:
        settle(i, f)
        time, kind, index = next_event(i)
        if time > i[CLOCK]:
            if asking and i[CLOCK] < until and ask(i):
                return True
            if time > until or (asking and i[CLOCK] >= until):
                break
            pass_time(i, time)
        happen(i, f, h, g, kind, index)
    return False


@folded
def run(i: Int64, f: Float64, h: Int64, g: Float64) -> None:
    """Goes on until somebody is to be asked, or the episode is over."""
    if advance(i, f, h, g, i[RULE_HORIZON], True):
        return
    for agent in range(i[N_AGENTS]):
        i[i[AT_ASKED] + agent] = NOBODY
    i[ENDED] = TERMINATED
    if i[APPS_LEFT] > 0:
        pass_time(i, max(i[CLOCK], i[RULE_HORIZON]))
        i[ENDED] = TRUNCATED
        give_up(i)


@inner
def give_up(i: Int64) -> None:
    """What has not finished when an episode is cut off has missed its deadline."""
    for u in range(i[N_DEVICES]):
        device = i[AT_DEVICES] + u * DEVICE
        i[device + V_MISSES] += i[device + V_ACTIVE]


@inner
def elapse(i: Int64, f: Float64, h: Int64, g: Float64, duration: int) -> None:
    """Goes on for so long, whatever becomes ready meanwhile."""
    until = i[CLOCK] + duration
    advance(i, f, h, g, until, False)
    pass_time(i, until)
