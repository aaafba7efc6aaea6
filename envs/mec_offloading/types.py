"""The arrays of the offloading machine: each field with its unit, said once.

A world is two rows of numbers, one of integers and one of floats, cut into tables whose offsets
stand at the head of the row: a kernel is handed two arrays and not thirty, which is most of what a
step would cost otherwise. `Tables` shows them to Python by name and shape.

T tasks, D pieces of data, E uses (one for each reader of a piece of data; one for each result that
goes home; one for each device's message), A applications, U devices, M servers. Nodes: 0 ... M - 1
are servers, M is the cloud, HOME the task's own device. Processors: the U devices, then the nodes.
Times are int64 ns.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int8 = NDArray[np.int8]
Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]

NEVER = 2**62  # ns
HOME = -1  # node: the device itself
NOBODY = -1
RESULT, MESSAGE = -1, -2  # in place of the task of a use
EVERYWHERE = -1  # D_WHERE with every bit set
MAX_SERVERS = 60  # a set of nodes is the bits of an integer

# States of a task. REFUSED: by a server that is full or has failed, which its device cannot know.
ABSENT, BLOCKED, READY, PLACED, QUEUED, RUNNING, DONE, REFUSED = range(8)

# Columns of Tables.tasks. A row is three lines of cache: what a finished parent asks of its
# children, what a processor needs, and the rest.
(
    T_STATE,
    T_NODE,  # where it is placed
    T_WAITING,  # inputs whose making is not known of yet
    T_KNOWN,  # 1 once its device knows that it has finished
    T_TOUCHED,  # 1 where its row of the observation must be written anew, 2 with what never changes
    T_DEVICE,
    T_SLOT,  # its number among its device's tasks
    T_KEY,  # the least is asked first
    T_MISSING,  # inputs that are not at its node
    T_NEXT,  # in the processor's queue
    T_EXEC,  # ns, at its node
    T_START,  # ns
    T_END,  # ns
    T_MEMORY,  # bytes
    T_IN,  # first and one past the last of its entries in Tables.inputs
    T_IN_END,
    T_OUT,  # first and one past the last of the data that it makes
    T_OUT_END,
    T_CYCLES,
    T_FREQUENCY,  # in parts of SHARES
    T_POWER,  # of the transmitter, likewise
    T_APP,
) = range(22)
TASK = 24  # columns, two of them spare

# Columns of Tables.data.
(
    D_BYTES,
    D_PRODUCER,  # task, or NOBODY
    D_DEVICE,
    D_WHERE,  # set of nodes that have it, bit 0 for HOME, bit 1 + node
    D_FLYING,  # set of nodes it is on its way to
    D_FIRST,  # first and one past the last of its uses
    D_LAST,
    D_APP,
    DATUM,
) = range(9)

# Columns of Tables.uses. A use carries the flight that serves it, if it has one of its own.
(
    U_DATA,  # of a message its symbol
    U_TASK,  # or RESULT or MESSAGE
    U_TARGET,  # node
    U_AT,  # node that it has reached, or is under way to
    U_NEXT,  # in the radio's queue
    U_POWER,  # of the transmitter, in parts of SHARES
    U_BUSY,  # 1 while its flight, or its message, is under way
) = range(7)
USE = 8  # columns, one of them spare

# Columns of Tables.apps.
(
    A_DEVICE,
    A_ARRIVAL,  # ns
    A_LEFT,  # tasks and results that it still needs; 0 once it has finished
    A_FINISH,  # ns, or -1
    A_DEADLINE,  # ns
    A_CRITICAL,  # ns, of its longest path where every task runs on the fastest place
    A_TASKS,  # first and one past the last of its tasks
    A_TASKS_END,
    A_DATA,  # likewise of its data
    A_DATA_END,
    A_UNIT,  # ns of a mean task of it at the device's highest speed
    APP,
) = range(12)

# Columns of Tables.devices.
(
    V_SERVING,  # server whose cell it uses for what others cannot serve, or NOBODY
    V_COVER,  # set of servers that cover it
    V_MISSES,  # applications that finished late, or not at all
    V_ACTIVE,  # applications that have arrived and not finished
    V_HEARD,  # symbol of its last message that the others have
    V_READY,  # tasks that are to be decided
    DEVICE,
) = range(7)

# Columns of Tables.processors: devices, then servers, then the cloud.
(
    P_FREE,  # cores
    P_HEAD,  # of the queue of tasks
    P_TAIL,
    P_MEMORY,  # bytes free
    P_CAPACITY,  # bytes
    P_BACKLOG,  # ns of work of the tasks placed here and not finished
    P_BUSY,  # ns of work done, over all cores
    P_DOWN,  # 1 while it has failed
    P_CORES,
    P_RUNNING,  # tasks
    P_SINCE,  # ns; of processor sharing: since when P's rate holds
    P_DIRTY,  # 1 where that rate must be computed anew
) = range(12)
PROCESSOR = 16  # columns, four of them spare
UNLIMITED = 2**40  # cores of the cloud; bytes are 2**60
UNLIMITED_BYTES = 2**60

# Rows of Tables.radio, (RADIO, 2 U): the uplinks of all devices, then their downlinks.
(
    R_END,  # ns when the flight on the air is through
    R_CELL,  # whose, or NOBODY where nothing is on the air
    R_SINCE,  # ns since when its rate holds
    R_BEGAN,  # ns
    R_HEAD,  # use whose flight is first
    R_TAIL,
    RADIO,
) = range(7)

# Columns of Tables.seen: what is known of a server elsewhere.
S_MEMORY, S_BACKLOG, S_UP, S_DOWN, S_FAILED, SEEN = range(6)

# Kinds of events, in the order in which those of one instant happen.
(
    FAIL,  # a server fails or is repaired
    MOVE,  # devices move
    BLOCK,  # fading changes
    UP,  # the flight on an uplink is through
    DOWN,  # on a downlink
    ARRIVE,  # a flight reaches a node
    FINISH,  # of a task
    NOTICE,  # a device learns that a task has finished
    APPEAR,  # an application
    RETRY,  # a task that was refused asks again
    HEAR,  # a message is heard
) = range(11)

# Heads of the row of integers: where each table begins, sizes, rules, then what moves.
(
    AT_TASKS,
    AT_DATA,
    AT_USES,
    AT_INPUTS,
    AT_APPS,
    AT_DEVICES,
    AT_PROCESSORS,
    AT_CELLS,  # (2 M) users on the air: uplinks, then downlinks
    AT_RADIO,
    AT_LINKS,  # ((M + 1)^2) ns until which a link is taken
    AT_NEXT,  # ((M + 1)^2) next node on the way
    AT_DELAY,  # ((M + 1)^2) ns of a link
    AT_ROUTE,  # ((M + 1)^2) ns of the whole way
    AT_EVENTS,  # (room, 2) time, kind and index, in their order
    AT_READY,  # (T) tasks to be decided, the next one last
    AT_SEEN,  # (2, M, SEEN) what is seen, and what will be next
    AT_ASKED,  # (agents) task that the agent is asked about, or NOBODY
    AT_LEVELS,  # (levels) frequencies of a device, in parts of SHARES
    AT_TOUCHED,  # (T) tasks whose row of the observation must be written anew
    FA_REMAIN,  # of the row of floats: (T) cycles left, of processor sharing
    FA_SPEED,  # (U + M + 1) Hz
    FA_RATE,  # (U + M + 1) cycles per ns of each task, of processor sharing
    FA_BAND,  # (M) Hz
    FA_LINKS,  # ((M + 1)^2) bits per ns
    FA_DEVICES,  # (U, FD)
    FA_RADIO,  # (2, 2 U) bits left, bits per ns
    FA_SNR,  # (2, U, M) signal to noise over the whole band, up and down
    FA_MEAN,  # (2, U, M) bits/s per Hz without fading
    FA_APPS,  # (A, 2) 1 / T_ref in 1/ns, 1 / E_ref in 1/J
    FA_PAID,  # (U, 3) costs up to the last decision
    FA_FETCH,  # (2, M + 2) of the task asked about: bytes by radio, ns by wire, to each node
    N_TASKS,
    N_DATA,
    N_USES,  # without the messages
    N_APPS,
    N_DEVICES,
    N_SERVERS,
    N_LEVELS,  # frequencies of a device
    N_SYMBOLS,
    N_AGENTS,
    N_EVENTS,  # room
    N_MESSAGES,  # first use that carries a message
    N_POSITIONS,
    RULE_DELAY,  # ns after which others are seen
    RULE_PLANNED,
    RULE_SHARED,  # servers share their cores
    RULE_BLOCK,  # ns of a fading block, 0 without fading
    RULE_MOVE,  # ns between positions
    RULE_RADIO,  # ns of latency of the radio
    RULE_MESSAGE,  # bits
    RULE_HORIZON,  # ns
    RULE_STEPS,
    RULE_CONTINUOUS,
    RULE_DISTRIBUTED,
    RULE_SEED,
    CLOCK,
    EVENTS_FIRST,
    EVENTS_END,
    READY_COUNT,
    TOUCHED_COUNT,
    BLOCK_DUE,  # 1 where an event stands for the end of the fading block
    DIRTY,  # set of cells whose uplinks' rates must be computed anew
    DIRTY_DOWN,  # likewise of their downlinks
    ON_AIR,  # radios at work
    AIR_END,  # ns when the first of their flights is through
    AIR_RADIO,  # whose that is
    APPS_LEFT,
    POSITION,  # index in the track
    ENDED,  # 0, or one of the next line
    STEPS,
    DECISIONS,
    ILLEGALS,
    STALES,
    HANDOVERS,
    RESTARTS,  # flights that lost their cell
    RETURNED,  # tasks that a failing server gave back
    MESSAGES,
    FLIGHTS,
    SENT_BYTES,  # by radio, uplinks
    HEAD,
) = range(80)
TERMINATED, TRUNCATED = 1, 2

# The row of what is hidden: where its tables begin. The first five are shaped as those above, and
# are copied there when an application arrives.
(
    HT_TASKS,
    HT_DATA,
    HT_USES,
    HT_INPUTS,
    HT_APPS,
    HT_COVER,  # (positions, U) sets of servers
    HT_SERVING,  # (positions, U)
    HG_APPS,  # of the row of hidden floats: (A, 2) as FA_APPS
    HG_RADIO,  # (positions, 4, U, M) as FA_SNR, then as FA_MEAN
    HIDDEN,
) = range(10)

# Columns of Tables.device_floats.
(
    FD_KAPPA,
    FD_POWER,  # W of the transmitter
    FD_RATE,  # applications that have arrived and not finished, each over its T_ref; 1/ns
    FD_START,  # their arrivals, likewise
    FD_TIME,  # those that have finished: their times, likewise
    FD_SHARE,  # energy over E_ref
    FD_LOCAL,  # J of computing
    FD_SENT,  # J of the transmitter
    FD_SCALE,  # 1 / E_ref of its latest application, for its messages
    FD,
) = range(10)
TIME, ENERGY, MISS = range(3)  # columns of FA_PAID

TERMS = ("time", "energy", "miss", "illegal")
SCORES = 256  # values of each part of a continuous action

TASK_FEATURES = (
    "cycles",  # c of the device's mean task: c / (1 + c)
    "memory",  # over the device's
    "input",  # bytes b: b / (b + 1 MB)
    "children",  # n: n / (n + 4)
    "waiting",  # 1 where parents have not finished, as far as the device knows
    "ready",
    "placed",
    "done",
    "place",  # (node + 2) / (M + 2), 0 without one
    "asked",  # 1 at the task that is decided about
)
G_WAITING, G_PLACE, G_ASKED = 4, 8, 9
PLACE_FEATURES = (  # x of the device's mean task: x / (1 + x)
    "legal",
    "run",  # its time there
    "fetch",  # the time until its inputs are there, alone on the air
    "backlog",  # work per core that is seen there
    "end",  # the three together
    "memory",  # free, as seen, over what there is
    "uplink",  # users seen on the air of the cell, over U
    "energy",  # J there, of the device, over its mean task at its highest speed
    "local",
)
PROGRESS = (
    "time",  # t since the application arrived: t / (t + its deadline)
    "ready",  # n of its tasks: n / (n + 4)
    "sending",  # 1 while its uplink is taken
    "receiving",
    "covered",  # 1 where some cell serves it
)


class State(NamedTuple):
    """What a policy may see of B worlds that shares everything at once: read-only views."""

    tasks: Int64  # (B, T, TASK) ABSENT before their application arrives
    data: Int64  # (B, D, DATUM)
    uses: Int64  # (B, E, USE)
    inputs: Int64  # (B, E) uses by task
    devices: Int64  # (B, U, DEVICE)
    device_floats: Float64  # (B, U, FD)
    processors: Int64  # (B, U + M + 1, PROCESSOR)
    speeds: Float64  # (B, U + M + 1) Hz
    cells: Int64  # (B, 2, M) users on the air
    links: Int64  # (B, M + 1, M + 1) ns until which they are taken
    seen: Int64  # (B, M, SEEN) servers, as the agents know them
    asked: Int64  # (B, agents)
    clock: Int64  # (B,)
    apps: Int64  # (B, A, APP) zeros before they arrive
    levels: Int64  # (B, levels) frequencies of a device, in parts of SHARES
    band: Float64  # (B, M) Hz
    mean: Float64  # (B, 2, U, M) bits/s per Hz up and down, alone on the air and without fading
    link_rate: Float64  # (B, M + 1, M + 1) bits per ns, 0 without a link
    delay: Int64  # (B, M + 1, M + 1) ns of a link
    following: Int64  # (B, M + 1, M + 1) next node on the way


class Shown(NamedTuple):
    """What B worlds show their agents: observations, masks, rewards."""

    tasks: Float32  # (B, U, N, len(TASK_FEATURES)) of each device
    places: Float32  # (B, agents, P, len(PLACE_FEATURES))
    progress: Float32  # (B, agents, len(PROGRESS))
    heard: Float32  # (B, U, W) one-hot symbol of each device's last message
    focus: Float32  # (B, U) 1 at the device whose task is decided about, under central control
    mask: Int8  # (B, agents, actions)
    reward: Float64  # (B, agents, len(TERMS) + 1) by terms, and their sum
    flags: Int8  # (B, 2) terminated, truncated
    status: Int8  # (B, agents)
