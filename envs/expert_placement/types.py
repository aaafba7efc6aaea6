"""The arrays of the expert placement machine: each field with its shape and unit, said once.

B worlds, L layers, E experts, R slots a layer (GPU g has the slots g S to g S + S - 1), G GPUs,
H windows of history, W windows of an episode, A agents (1, or L under distributed control), N
entries of a mask. Tokens are pairs of a token and an expert it is routed to, summed over a window;
a share of them is a float64, summed in the order of the slots, so that it never depends on how the
placement came about. Times are whole nanoseconds.
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

# Tables of tokens show x / (x + mean of the layer's entities): in [0, 1), 1/2 for the mean.
EXPERT_FEATURES = (
    "load",  # tokens of the last window
    "before",  # of the window before it (of the same one where history is 1)
    "mean",  # mean over the history
    "replicas",  # / the most an expert can have
)
GPU_FEATURES = (
    "load",  # tokens of the last window, had it been served by the placement as it stands
    "incoming",  # experts that have to be copied to it / its slots
    "node",  # / (nodes - 1)
)
LAYER_FEATURES = (
    "balancedness",  # mean / max of the GPUs' tokens above
    "edits_left",  # / edits_per_layer
    "open",  # 1 where an edit is legal
    "choosing_slot",  # 1 while its slot is being asked for
    "choosing_target",  # 1 while the target of its slot is being asked for
    "passed",  # 1 once its agent has passed in this window
)
PROGRESS = (
    "time",  # windows served / windows
    "edits",  # made in this window / all that are allowed
    "efficiency",  # of the last window: perfectly balanced time / time
    "stall",  # of the last window: migration stall / time
)
BALANCEDNESS, LEFT_SHARE, OPEN_SEEN, CHOOSING_SLOT, CHOOSING_TARGET, PASSED_SEEN = range(6)


class State(NamedTuple):
    """What a policy may see of B worlds: read-only views of the machine as it stands."""

    plan: Int32  # (B, L, R) expert of each slot, edits of this window included
    begun: Int32  # (B, L, R) expert of each slot as the window began
    replicas: Int32  # (B, L, E) slots of plan that hold the expert
    history: Int32  # (B, H, L, E) tokens of the windows served, the last one first
    gpu_tokens: Float64  # (B, L, G) of the last window, had plan served it
    edits_left: Int32  # (B, L) in this window
    slot: Int32  # (B, L) slot whose target is being asked for, or -1
    passed: Int32  # (B, L) 1 once the layer's agent has passed in this window
    layer: Int64  # (B,) layer whose slot or target is being asked for (central), or -1
    window: Int64  # (B,) windows served
    clock: Int64  # (B,) ns since the start


class World(NamedTuple):
    """All arrays of B worlds; rows of the packed ones are named by the constants below."""

    plan: Int32  # (B, L, R)
    begun: Int32  # (B, L, R)
    replicas: Int32  # (B, L, E)
    history: Int32  # (B, H, L, E)
    future: Int32  # (B, W, L, E) tokens of the episode's windows, hidden from online policies
    references: Int64  # (B, 3, W) ns of serving each window, hidden likewise
    gpu_tokens: Float64  # (B, L, G)
    layers: Int32  # (B, L, 5)
    scalars: Int64  # (B, 6)
    sums: Int64  # (B, len(SUMS))
    figures: Float64  # (B, len(FIGURES))
    obs_experts: Float32  # (B, L, E, len(EXPERT_FEATURES))
    obs_gpus: Float32  # (B, L, G, len(GPU_FEATURES))
    obs_layers: Float32  # (B, L, len(LAYER_FEATURES))
    progress: Float32  # (B, len(PROGRESS))
    chosen: Int32  # (B, 2) layer and slot being edited (central), or -1
    mask: Int8  # (B, A, N)
    reward: Float64  # (B, A, len(TERMS) + 1) by terms, and their sum
    flags: Int8  # (B, 2)
    status: Int8  # (B, A)


EDITS_LEFT, OPEN, SLOT, PASSED, TOKENS = range(5)  # of layers; TOKENS of the last window
# LAYER: being edited, or -1. FRESH: 1 until something legal is done in this window. THOUGHT: ns of
# thinking not charged to a window yet.
WINDOW, CLOCK, LAYER, FRESH, STEPS, THOUGHT = range(6)
TERMINATED, TRUNCATED = range(2)  # of flags
# Of references: perfectly balanced (a lower bound), the first placement held, and a placement
# packed for the very window, moved there at no cost.
BALANCED, HELD, CLAIRVOYANT = range(3)

# Columns of World.sums, over the windows served.
SUMS = (
    "serving",  # ns
    "stall",  # ns of migration
    "thinking",  # ns
    "balanced",  # ns, as the references
    "held",  # ns
    "clairvoyant",  # ns
    "copies",  # experts copied from one GPU to another
    "edits",  # made
    "window_edits",  # of them in the window that is being planned
    "illegal",  # refused by the mask the policy saw
)
(
    SUM_SERVING,
    SUM_STALL,
    SUM_THINKING,
    SUM_BALANCED,
    SUM_HELD,
    SUM_CLAIRVOYANT,
    SUM_COPIES,
    SUM_EDITS,
    SUM_WINDOW_EDITS,
    SUM_ILLEGALS,
) = range(len(SUMS))
# Columns of World.figures, sums over layers and windows of what is no whole number.
FIGURES = ("mean", "max", "balancedness", "tokens", "inter", "served")
FIG_MEAN, FIG_MAX, FIG_BALANCEDNESS, FIG_TOKENS, FIG_INTER, FIG_SERVED = range(len(FIGURES))

TERMS = ("serving", "stall", "thinking", "illegal")


class Rules(NamedTuple):
    """The scalars of a scenario that the kernels need."""

    gpus: int
    nodes: int
    groups: int  # of experts, E / groups consecutive ones each
    lp_dispatch: bool
    overlapped: bool  # migration
    distributed: bool
    edit: bool  # the form of actions, else a whole window is planned at once
    floor: int  # ns of a layer of a window at least
    token_ns: float  # of a token at its expert
    inter_ns: float  # of a token sent over the links between nodes
    intra_ns: float  # of a token sent inside a node
    away: float  # share of a GPU's tokens that come from other GPUs
    far: float  # that come from other nodes
    dedup: float  # share of sends saved where all experts of a group are on one node
    copy_ns: int  # of copying one expert
    interference: float  # share by which an overlapped copy slows serving down
    edits: int  # of a layer and window
    edit_ns: int  # of thinking, for each edit
    plan_ns: int  # of thinking, for a window planned by forecast
    planner_ns: Int64  # (planners,) of thinking, for a window planned by a named planner
    max_steps: int  # of the environment before truncation
    illegal_penalty: float


class Scratch(NamedTuple):
    """Room for the kernels to work in: nothing else in it outlives a call."""

    inverse: Float64  # (R + 1,) 1 / n, for good
    group: Int64  # (E,) of each expert, for good
    flow: Float64  # (R,) tokens of each slot
    gpu: Float64  # (G,) tokens of each GPU
    node_group: Float64  # (4, nodes, groups) tokens of a group on a node
    counts: Int32  # (E,) replicas
    spare: Int32  # (R,)
    rank: Int32  # (R,) which replica of its expert a slot holds
    forecast: Float64  # (E,) tokens that are planned for
    load: Float64  # (E,)
    weight: Float64  # (R,) of the items that are packed
    key: Float64  # (R,)
    order: Int64  # (2, R)
    items: Int64  # (7, R)
    overlap: Int64  # (G + 1, G + 1)
    assign: Int64  # (6, G + 1)
    old_ns: Int64  # (L,) of serving a layer by the placement as it was
    new_ns: Int64  # (L,) by the placement as it is
    incoming: Int64  # (L, G) experts to copy
