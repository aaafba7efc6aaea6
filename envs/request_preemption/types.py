"""The arrays of the serving machine: each field with its shape and unit, said once.

B worlds, I instances, N slots an instance, R rows of the workload, L priority levels, U clients,
C entries of a prefix cache, H hashes. Times are int64 picoseconds (ps). A request lives in a slot
from its arrival to its end; the lists hold slots. Positions of the *table* of an instance index
its running requests, then its queue, then those aside.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int8 = NDArray[np.int8]
Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]

NEVER = 2**62  # ps
PS = 10**12  # in a second
PS_OF_NS = 1_000

# Rows of World.slots.
SLOT_FIELDS = (
    "row",  # of the workload
    "arrival",  # ps; of a later turn, when it woke
    "prompt",  # tokens
    "predicted",  # output tokens as predicted, 0 where nobody predicts
    "client",
    "priority",  # level, from 0
    "program",  # number, or -1
    "turn",  # of the program, from 0
    "began",  # ps, arrival of the program's first turn
    "computed",  # k, tokens whose keys and values exist
    "generated",  # g, tokens emitted
    "blocks",  # held on the GPU
    "hashed",  # of these, the first so many hash blocks are entries of the prefix cache
    "host",  # blocks held in host memory
    "valid",  # full blocks whose copy on the host is up to date
    "first",  # ps, time of the first token, or -1
    "last",  # ps, time of the last token, or -1
    "late",  # gaps between tokens beyond the target
    "preempted",  # times
    "charged",  # ps, up to which lateness is charged
    "admitted",  # 1 once it has run
    "state",
    "changed",  # the instant in which it last changed state
    "chunk",  # tokens scheduled in the iteration under way
    "copy_end",  # ps, of the copy under way
    "pin_end",  # ps; PIN_OPEN where the policy has not said, NO_PIN without one
    "strange",  # 1 once its blocks came by a copy: it may not enter the prefix cache
    "group",  # first hash of its prefix, or -1
    "hit",  # hash blocks of its prefix that the cache holds
    "hit_at",  # version of the cache at which that was looked up
    "served",  # tokens computed so far, recomputed ones included
    "run_list",  # from here on not of the slot of this index: the slots running, in their order
    "queue_list",
    "aside_list",
    "spare_list",
    # What follows policies do not see.
    "output",  # tokens
    "wake",  # ps, when the next turn of a paused program begins, or -1
    "seen",  # slot at each position of the table when the mask was written
    "seen_row",  # its row
    "rank",  # scratch
)
(
    ROW,
    ARRIVAL,
    PROMPT,
    PREDICTED,
    CLIENT,
    PRIORITY,
    PROGRAM,
    TURN,
    BEGAN,
    COMPUTED,
    GENERATED,
    BLOCKS,
    HASHED,
    HOST,
    VALID,
    FIRST,
    LAST,
    LATE,
    PREEMPTED,
    CHARGED,
    ADMITTED,
    STATE,
    CHANGED,
    CHUNK,
    COPY_END,
    PIN_END,
    STRANGE,
    GROUP,
    HIT,
    HIT_AT,
    SERVED,
    LISTS,
    _,
    _,
    _,
    OUTPUT,
    WAKE,
    SEEN,
    SEEN_ROW,
    RANK,
) = range(len(SLOT_FIELDS))
PUBLIC_SLOT_FIELDS = OUTPUT
NO_PIN, PIN_OPEN = -1, -2

EMPTY, WAITING, RUNNING, SWAPPED, LEAVING, COMING, PAUSED, MOVING, INCOMING = range(9)
STATES = (
    "empty",
    "waiting",
    "running",
    "swapped",  # its blocks are on the host
    "leaving",  # a copy to the host is under way
    "coming",  # a copy from the host is under way
    "paused",  # between two turns
    "moving",  # the last stage of a migration: decoding stopped
    "incoming",  # a place reserved at a migration's destination
)

RUN, QUEUE, ASIDE, SPARE = range(4)  # lists, in rows LISTS + RUN, ...; SPARE: free slots

# Registers of an instance.
INSTANCE_FIELDS = (
    "running",  # lengths of the four lists
    "queued",
    "aside",
    "spare",
    "free",  # blocks nobody holds
    "evictable",  # blocks of prefix cache entries that nobody uses
    "pinned",  # blocks of requests that may lose them
    "host_free",  # blocks
    "busy",  # 1 while an iteration is under way
    "end",  # ps, of that iteration
    "base",  # ps, its duration without the tax of copies
    "taxed",  # 1 where a copy slows it
    "pure",  # 1 where it decodes only
    "batch",  # requests scheduled
    "phase",  # iterations ended since the batch was formed
    "done",  # iterations ended whose tokens are not written into the slots yet
    "done_first",  # ps, end of the first of these
    "done_last",  # ps, end of the last
    "done_late",  # gaps beyond the target among them, without the first
    "done_excess",  # ps beyond the target, likewise
    "mode",  # composition in force
    "flag",  # 1 when something has happened since the last iteration began
    "dirty",  # 1 where the boundary must be looked at
    "prefilled",  # 1 where the last iteration had a prefill
    "since",  # iterations since the last decision
    "instant",  # number of the decision instant
    "iterations",
    "update",  # priority updates so far
    "next_update",  # iterations at which the next is due
    "stall_end",  # ps, of synchronous copies
    "out_free",  # ps, when the channel to the host is free
    "in_free",  # ps, when that from the host is
    "copies",  # requests leaving or coming
    "seats",  # requests coming or incoming
    "halted",  # requests moving or incoming
    "entries",  # of the prefix cache
    "stamp",  # of its last use
    "version",  # of its content
    "moved_slot",  # slot under migration, or -1
    "moved_row",  # its row
    "target",  # instance and slot of its destination
    "target_slot",
    "stage",
    "copied",  # tokens copied at the end of the stage under way
    "stage_end",  # ps
    "stage_due",  # 1 once it has passed
    "stopped",  # ps, when decoding stopped for the last stage
    "preempted_now",  # requests preempted in this instant
    "deferred",  # 1 where a decision came up while a policy was thinking
    # What follows would tell the future: policies do not see it.
    "stop",  # phase at which the batch must be looked at
    "aside_next",  # ps, of the next event of those aside
    *(f"phase_{remainder}" for remainder in range(16)),  # scheduled requests by k mod 16 at phase 0
)
(
    RUNNING_N,
    QUEUED_N,
    ASIDE_N,
    SPARE_N,
    FREE,
    EVICTABLE,
    PINNED,
    HOST_FREE,
    BUSY,
    END,
    BASE,
    TAXED,
    PURE,
    BATCH,
    PHASE,
    DONE,
    DONE_FIRST,
    DONE_LAST,
    DONE_LATE,
    DONE_EXCESS,
    MODE,
    FLAG,
    DIRTY,
    PREFILLED,
    SINCE,
    INSTANT,
    ITERATIONS,
    UPDATE,
    NEXT_UPDATE,
    STALL_END,
    OUT_FREE,
    IN_FREE,
    COPIES,
    SEATS,
    HALTED,
    ENTRIES,
    STAMP,
    VERSION,
    MOVED_SLOT,
    MOVED_ROW,
    TARGET,
    TARGET_SLOT,
    STAGE,
    COPIED,
    STAGE_END,
    STAGE_DUE,
    STOPPED,
    PREEMPTED_NOW,
    DEFERRED,
    STOP,
    ASIDE_NEXT,
    PHASES,
    *PHASE_ROWS,
) = range(len(INSTANCE_FIELDS))
PUBLIC_INSTANCE_FIELDS = STOP

MIXED, DECODE_FIRST, PREFILL_FIRST = range(3)
MODES = 3

# Scalars of a world.
WORLD_FIELDS = (
    "clock",  # ps
    "arrived",  # first turns whose time has come
    "entered",  # of these, taken up or rejected
    "firsts",  # first turns in all
    "tick",  # ps, of the router's next chance to migrate
    "ticking",  # 1 while the router is being asked
    "kind",  # of decision asked for
    "focus",  # instance asked, or of a pin
    "pin_slot",  # slot whose pin is asked for
    "live",  # slots in use
    "steps",  # actions
    "edited",  # 1 once an edit has been made in this instant
    "elapsed",  # 1 if time has passed since the mask was written
    "last_client",  # that left the queue last
    "gap",  # tokens, service gap at the last decision
    "hash_tokens",  # of a hash block
    "ended",  # 0, or TERMINATED or TRUNCATED
    # What follows would tell the future: policies do not see it.
    "next_arrival",  # ps
    "seed",  # of priorities
)
(
    CLOCK,
    ARRIVED,
    ENTERED,
    FIRSTS,
    TICK,
    TICKING,
    KIND,
    FOCUS,
    PIN_SLOT,
    LIVE,
    STEPS,
    EDITED,
    ELAPSED,
    LAST_CLIENT,
    GAP,
    HASH_TOKENS,
    ENDED,
    NEXT_ARRIVAL,
    SEED,
) = range(len(WORLD_FIELDS))
PUBLIC_WORLD_FIELDS = NEXT_ARRIVAL
OVER, SCHEDULE, PIN, DISPATCH, REBALANCE = range(5)  # kinds of decision

# Rows of World.clients.
FAIR, SERVICE, QUEUED = range(3)  # lifted service, service (both in weighted tokens), queue length

SUMS = (
    "accepted",  # requests
    "rejected",  # larger than the pool
    "finished",
    "met",  # finished within both targets
    "preemptions",
    "recomputed",  # tokens dropped
    "swapped",  # blocks copied, both ways
    "stalled",  # ps in which copies held the engine up
    "busy",  # ps of iterations
    "iterations",
    "emitted",  # tokens
    "request_steps",  # requests scheduled, summed over iterations
    "e2e",  # ps, summed over finished requests
    "tpot",  # ps between tokens, mean of a request, summed over finished ones of several tokens
    "tpot_n",
    "program_time",  # ps
    "programs",  # finished
    "hit",  # tokens found in the prefix cache
    "migrations",  # completed
    "downtime",  # ps of last stages
    "dropped",  # stale actions
    "illegal",
    "decisions",
    "max_gap",  # tokens, largest service gap
    "unfinished",  # at truncation
)
(
    ACCEPTED,
    REJECTED,
    FINISHED,
    MET,
    PREEMPTIONS,
    RECOMPUTED,
    SWAPPED_BLOCKS,
    STALLED,
    BUSY_PS,
    ITERATIONS_SUM,
    EMITTED,
    REQUEST_STEPS,
    E2E,
    TPOT,
    TPOT_N,
    PROGRAM_TIME,
    PROGRAMS,
    HIT_TOKENS,
    MIGRATIONS,
    DOWNTIME,
    DROPPED,
    ILLEGALS,
    DECISIONS,
    MAX_GAP,
    UNFINISHED,
) = range(len(WORLD_FIELDS), len(WORLD_FIELDS) + len(SUMS))  # in World.scalars, behind those
# Rows of World.levels: ps late, and requests finished in time, finished late, or cut off.
LATE_TTFT, LATE_TBT, MET_LEVEL, MISSED_LEVEL, CUT_LEVEL = range(5)

TERMS = ("ttft", "tbt", "goodput", "fairness", "illegal")
TERM_TTFT, TERM_TBT, TERM_GOODPUT, TERM_FAIRNESS, TERM_ILLEGAL = range(len(TERMS))

# Rows of World.times and World.rows: the workload, hidden from policies.
ROW_ARRIVAL, ROW_PAUSE = range(2)
ROW_PROMPT, ROW_OUTPUT, ROW_PREDICTED, ROW_CLIENT, ROW_PROGRAM, ROW_NEXT, ROW_HASH, ROW_HASHES = (
    range(8)
)
TERMINATED, TRUNCATED = 1, 2
TTFT, TBT = range(2)  # rows of World.histograms


class State(NamedTuple):
    """What a policy may see of B worlds: read-only views of the machine as it stands."""

    slots: Int64  # (B, I, PUBLIC_SLOT_FIELDS, N)
    instances: Int64  # (B, I, PUBLIC_INSTANCE_FIELDS)
    scalars: Int64  # (B, PUBLIC_WORLD_FIELDS)
    clients: Int64  # (B, 3, U)
    cache: Int64  # (B, I, 4, C) of each entry hash, users, users that are pins, last use
    inbox: Int64  # (B, 4) row, prompt, predicted, client of the request to be dispatched, or -1
    mask: Int8  # (B, A) of the decision asked for, as under central control


class World(NamedTuple):
    """The machine of B worlds."""

    slots: Int64  # (B, I, len(SLOT_FIELDS), N)
    instances: Int64  # (B, I, len(INSTANCE_FIELDS))
    cache: Int64  # (B, I, 4, C)
    scalars: Int64  # (B, len(WORLD_FIELDS) + len(SUMS))
    clients: Int64  # (B, 3, U)
    levels: Int64  # (B, 5, L) by priority: see LATE_TTFT and the names beside it
    histograms: Int64  # (B, 2, bins) of times to the first token, and between tokens
    times: Int64  # (B, 2, R) the workload: arrival, pause; ps
    rows: Int32  # (B, 8, R)
    hashes: Int32  # (B, H)


class Shown(NamedTuple):
    """What B worlds show: masks, observations, rewards."""

    inbox: Int64  # (B, 4)
    mask: Int8  # (B, A) of the decision asked for, as under central control
    mask_instances: Int8  # (B, I, Ai) of each instance's agent
    mask_router: Int8  # (B, Ar)
    requests: Float32  # (B, T, N, F) of the instance asked (T = 1), or of every one (T = I)
    instances: Float32  # (B, I, G)
    arrival: Float32  # (B, len(ARRIVAL_FEATURES)) the request to be dispatched
    world: Float32  # (B, len(WORLD_FEATURES))
    focus: Float32  # (B, I) 1 at the instance asked
    paid: Float64  # (B, len(TERMS)) sums of the reward's terms up to the last decision
    reward: Float64  # (B, len(TERMS) + 1) by terms, and their sum
    flags: Int8  # (B, 2) terminated, truncated
    status: Int8  # (B, agents)


class Prices(NamedTuple):
    """What the reward needs of a scenario."""

    weights: Float64  # (L,)
    late: float  # of a second beyond a target
    goodput: float
    fairness: float  # of 1,000 tokens
    illegal: float


RULES = (
    "a0",  # ps, of an iteration with a prefill
    "a1",  # ps a prompt token
    "a2",  # ps a squared token of context
    "d0",  # ps, of an iteration with a decode
    "d1",  # ps a decode request
    "d2",  # ps a cached token read
    "kv_blocks",
    "cpu_blocks",
    "max_num_seqs",
    "token_budget",
    "prefix_cache",
    "preemption",  # RECOMPUTE, SWAP, CHEAPEST, CHOSEN
    "overlapped",
    "tax",  # millionths
    "group_blocks",
    "reuse",
    "copy_fixed",  # ps of a group's dispatches
    "copy_block",  # ps a block
    "move_fixed",  # ps, the same between instances
    "move_block",
    "ttft_slo",  # ps
    "tbt_slo",  # ps
    "levels",
    "updates",  # in a million iterations
    "markov",
    "decision_iterations",
    "rebalance",  # ps, 0 for never
    "horizon",  # ps
    "max_steps",
    "scores",  # a priority for each slot, instead of single edits
    "distributed",
)
(
    R_A0,
    R_A1,
    R_A2,
    R_D0,
    R_D1,
    R_D2,
    R_KV_BLOCKS,
    R_CPU_BLOCKS,
    R_MAX_NUM_SEQS,
    R_TOKEN_BUDGET,
    R_PREFIX_CACHE,
    R_PREEMPTION,
    R_OVERLAPPED,
    R_TAX,
    R_GROUP_BLOCKS,
    R_REUSE,
    R_COPY_FIXED,
    R_COPY_BLOCK,
    R_MOVE_FIXED,
    R_MOVE_BLOCK,
    R_TTFT_SLO,
    R_TBT_SLO,
    R_LEVELS,
    R_UPDATES,
    R_MARKOV,
    R_DECISION_ITERATIONS,
    R_REBALANCE,
    R_HORIZON,
    R_MAX_STEPS,
    R_SCORES,
    R_DISTRIBUTED,
) = range(len(RULES))


class Rules(NamedTuple):
    """What the kernels need of a scenario."""

    first: Int64  # (budget + 1,) ps, the iteration's first term by tokens
    edges: Int64  # (bins + 1,) ps, of the histograms
    ttls: Int64  # (T,) ps
    of: Int64  # (len(RULES),) by the names R_...


RECOMPUTE, SWAP, CHEAPEST, CHOSEN = range(4)
BLOCK = 16  # tokens
FINAL_BLOCKS, STAGES = 16, 3  # a migration's last stage: at most so many blocks, or the third
INPUT_WEIGHT, OUTPUT_WEIGHT = 1, 2  # of a token in a client's service (VTC)
LATE_SHARE = 100  # one gap in so many may be late: the request's own p99
SCORES = 256  # values of a score
