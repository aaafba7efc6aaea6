"""The arrays of the expert cache: each field with its shape and unit, said once.

Arrays of one type and one entity are packed into one (`World`): Numba compiles and dispatches by
the number of arrays, and a world that is visited is read from memory. What is kept of routing is
integers, which do not drift.

B worlds, N events (event n is step n // L through layer n % L, the steps of the warm-up included),
L layers, E experts of a layer, K experts activated at most, P highest router scores of an event,
C slots of a layer, H tasks of the trail.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int8 = NDArray[np.int8]
Int16 = NDArray[np.int16]
Int64 = NDArray[np.int64]
UInt64 = NDArray[np.uint64]
Bool = NDArray[np.bool_]

FEATURES = (  # of an expert, all from 0 to 1
    "recency",  # 1 / (1 + steps since its layer used it)
    "frequency",  # moving average of being used
    "log_score",  # moving average of (12 + ln router score) / 12
    "mrs",  # HybriMoE's minus recent score
    "count",  # uses / steps so far
    "score",  # (12 + ln router score) / 12, when its layer was routed last
    "requested",  # 1 where the event in progress activates it
    "open",  # 1 where its slot may be overwritten; of an expert without a slot 0
    "in_flight",  # 1 while its copy has not arrived
)
REQUESTED, OPEN, IN_FLIGHT = 6, 7, 8
PROGRESS = (
    "miss",  # 1 where a miss is to be decided
    "prefetch",  # 1 where an expert to prefetch may be chosen
    "slot",  # 1 where the prefetched expert's slot is asked for
    "layer",  # whose slots are shown, / L
    "step",  # / steps of the episode
    "rank",  # of the missed expert in router order, / K
    "misses_left",  # of this event, this one included, / K
    "tokens",  # sent to the missed expert / to all of the event
    "pcie",  # queue q ns on PCIe: q / (q + ns of a move)
    "hit_rate",  # so far
)

MISS, PREFETCH, SLOT, OVER = range(4)  # stages
UNIT = 32_767  # of scores and averages: 1
LOG_RANGE = 12  # a log score p is stored as (LOG_RANGE + ln p) / LOG_RANGE * UNIT
# Rows of World.table. PLACE: slot of the expert, or -1. The next three are moving averages of being
# used, of the log score, and HybriMoE's S = a TopP(score) + (1 - a) S; the rates are 2^-shift.
# COUNT: uses. AGED: uses, halved every AGEING steps. LAST: step of the last use, or -1.
PLACE, FREQUENCY, LOG_SCORE, MRS, COUNT, AGED, LAST, ROWS = range(8)
FREQUENCY_SHIFT, SCORE_SHIFT, MRS_SHIFT = 4, 3, 1  # HybriMoE's a is 0.5
AGEING = 16  # a power of 2
EXPERT, IDLE = range(2)  # of tenants: who it is; 1 where it was prefetched and not used since
READY, WRITTEN = range(2)  # of copies: ns when it has arrived; event that wrote the slot, or -1
# Of request. ASKED: experts in router order, then -1. TOKENS: sent to each. MISSED: 1 where it was
# not in the cache at the event's start. ARRIVAL, QUEUE: scratch of the split.
ASKED, TOKENS, MISSED, ARRIVAL, QUEUE = range(5)
TRAIL = 64  # H, a power of 2
# Of the trail. WHAT: one of the kinds below. WHO: layer * E + expert, * LANES + lane.
START, END, WHAT, WHO = range(4)
GPU, CPU, PCIE, LANES = range(4)
HIT, MISSING, LOADED, STREAMED, FETCHED = range(5)  # a copy is LOADED, STREAMED or FETCHED ahead
TERMINATED, TRUNCATED, STATUS = range(3)  # of flags
TERMS = ("makespan", "waiting", "misses", "illegal")

SUMS = (  # the first entries of World.scalars
    "requests",  # experts asked for
    "hits",  # of them in the cache at the event's start
    "misses",  # that were decided or are about to be
    "loads",  # misses admitted
    "prefetches",
    "wasted",  # prefetched and overwritten before use
    "streams",  # copies computed once and not kept
    "illegal",
    "makespan",  # ns of the layers
    "waited",  # ns of thinking
    "gpu",  # ns of work
    "cpu",  # ns of work
    "pcie",  # ns of work
    "tokens",  # steps through the last layer
)
# Of World.scalars, after the sums. LAYER, STEP: of the event. LENGTH: of the event's list. AT: rank
# of the miss to be decided. CHOSEN: expert to prefetch, or -1. BEGAN: ns when the layer of the
# event began. BUSY: ns until which PCIe is taken. FIRST: event with which the episode begins.
# LAST_EVENT: one past its last. WAITED: ns of thinking not handed out yet. LEFT: prefetches left of
# this event. BATCH: tokens of a step. HEAD: tasks written to the trail.
(
    SUM_REQUESTS,
    SUM_HITS,
    SUM_MISSES,
    SUM_LOADS,
    SUM_PREFETCHES,
    SUM_WASTED,
    SUM_STREAMS,
    SUM_ILLEGALS,
    SUM_MAKESPAN,
    SUM_WAITED,
    SUM_GPU,
    SUM_CPU,
    SUM_PCIE,
    SUM_TOKENS,
    EVENT,
    LAYER,
    STEP,
    LENGTH,
    AT,
    STAGE,
    CHOSEN,
    CLOCK,
    BEGAN,
    BUSY,
    FIRST,
    LAST_EVENT,
    STEPS,
    WAITED,
    LEFT,
    BATCH,
    HEAD,
    SCALARS,
) = range(32)


class State(NamedTuple):
    """What a policy may see of B worlds: read-only views of the caches, and of the past."""

    table: Int16  # (B, L, ROWS, E) of every expert; the event's routing is in it
    tenants: Int16  # (B, L, 2, C) of every slot
    copies: Int64  # (B, L, 2, C) of every slot
    request: Int64  # (B, 5, K) of the event
    scalars: Int64  # (B, SCALARS)
    history: Int16  # (B, N, E) log scores of the events so far, 0 of those to come


class World(NamedTuple):
    """All arrays of B worlds."""

    routes: Int16  # (B, N, 2K + 2P + E) experts, then -1; tokens; experts of the highest scores;
    # these scores; log scores of all. What is to come is hidden from online policies.
    references: Int64  # (B, 2) hits of LRU and of MIN with bypass in the whole episode; likewise
    table: Int16
    tenants: Int16
    copies: Int64
    request: Int64
    scalars: Int64
    history: Int16
    trail: Int64  # (B, H, 4) the last tasks, in a ring
    features: Float32  # (B, C + 1 + (E or 0), len(FEATURES)) slots of the layer that is decided
    # about; the expert that needs one; with prefetch also the next layer's experts
    progress: Float32  # (B, len(PROGRESS))
    mask: Int8  # (B, 1 + C + (E or 0)) the mask the policy sees
    reward: Float64  # (B, len(TERMS) + 1) by terms, and their sum
    flags: Int8  # (B, 3)


class Rules(NamedTuple):
    """The scalars of a scenario that the kernels need."""

    cpu_floor: int  # ns, as in costs.Costs
    cpu_fixed: int
    cpu_token: int
    gpu_floor: int
    gpu_fixed: int
    gpu_token: int
    move: int
    dense: int  # ns between layers
    prefetch: int  # of an event
    miss_reward: bool  # -1 a miss, in place of minus the layers' ms
    max_steps: int  # of the environment before truncation
    illegal_penalty: float
