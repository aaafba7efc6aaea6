"""What rules share: reading the table of an instance, and what its requests need.

Rules see blocks and tokens as the machine counts them; a rule's parameters begin with those of its
scenario, by the numbers below.
"""

from fleetgym.envs.core.jit import inner
from fleetgym.envs.request_preemption.blocks import blocks_of
from fleetgym.envs.request_preemption.iteration import lacking
from fleetgym.envs.request_preemption.types import (
    ASIDE,
    ASIDE_N,
    BLOCKS,
    COMING,
    EVICTABLE,
    FREE,
    GENERATED,
    INCOMING,
    LEAVING,
    LISTS,
    MIXED,
    MODES,
    PREDICTED,
    PROMPT,
    QUEUE,
    RUN,
    RUNNING_N,
    STATE,
    Float64,
    Int64,
    State,
)

FIELDS = (
    "kv_blocks",
    "token_budget",
    "max_num_seqs",
    "ttft_slo",  # ps
    "tbt_slo",  # ps
    "timely_tokens",  # of prompts in one iteration that ends within the target between tokens
)
KV_BLOCKS, TOKEN_BUDGET, MAX_NUM_SEQS, TTFT_SLO, TBT_SLO, TIMELY_TOKENS = range(len(FIELDS))
OWN = len(FIELDS)  # a rule's own parameters begin here
KEYS = 3  # numbers at the end of a rule's memory for each slot of the instance asked: see `set_key`
LEVEL, ORDER, OUTPUT_TOKENS = range(KEYS)
PS_PER_S = 10**12
MEAN_OUTPUT = 211.0  # tokens of an answer in Azure's conversations of 2023, where nobody predicts


@inner
def first_legal(state: State, b: int) -> int:
    """The first action that is legal: for decisions that a scheduler has no opinion on."""
    action = 0
    while state.mask[b, action] == 0:
        action += 1
    return action


@inner
def go(state: State, b: int, mode: int) -> int:
    """Goes on in a mode if that is legal, else in another, else does what is."""
    return mode if state.mask[b, mode] == 1 else first_legal(state, b)


@inner
def is_short(state: State, b: int, i: int) -> bool:
    """Whether those running lack blocks for their next iteration."""
    return bool(state.instances[b, i, RUNNING_N] > 0 and state.mask[b, MIXED] == 0)


@inner
def running_slot(state: State, b: int, i: int, n: int) -> int:
    """The slot of the n-th running request."""
    return int(state.slots[b, i, LISTS + RUN, n])


@inner
def queued_slot(state: State, b: int, i: int, n: int) -> int:
    """The slot of the n-th queued request."""
    return int(state.slots[b, i, LISTS + QUEUE, n])


@inner
def start(state: State, b: int, i: int, n: int) -> int:
    """The action that admits or resumes the n-th queued request."""
    return int(MODES + state.instances[b, i, RUNNING_N] + n)


@inner
def preempt_last(state: State, b: int, i: int) -> int:
    """Preempts the request that was admitted last, of those that may still change."""
    for n in range(state.instances[b, i, RUNNING_N] - 1, -1, -1):
        if state.mask[b, MODES + n] == 1:
            return MODES + n
    return first_legal(state, b)


@inner
def tokens_left(state: State, b: int, i: int, budget: int) -> int:
    """What those running leave of an iteration's token budget."""
    for n in range(state.instances[b, i, RUNNING_N]):
        budget -= min(lacking(state.slots[b, i], running_slot(state, b, i, n)), budget)
    return budget


@inner
def may_start(state: State, b: int, i: int, n: int, budget: int) -> bool:
    """Whether the n-th queued request may start, and would compute something at once."""
    return state.mask[b, start(state, b, i, n)] == 1 and tokens_left(state, b, i, budget) > 0


@inner
def room(registers: Int64) -> int:
    """Blocks that a request may be started on: free or evictable."""
    return int(registers[FREE] + registers[EVICTABLE])


@inner
def leaving_blocks(state: State, b: int, i: int) -> int:
    """Blocks that copies to the host are about to free."""
    slots, total = state.slots[b, i], 0
    for n in range(state.instances[b, i, ASIDE_N]):
        s = slots[LISTS + ASIDE, n]
        if slots[STATE, s] == LEAVING:
            total += slots[BLOCKS, s]
    return total


@inner
def _key(memory: Float64, s: int) -> int:
    """Where in a world's memory the key of a slot is: at its end, behind what is a rule's own."""
    return len(memory) - KEYS * (s + 1)


@inner
def set_key(memory: Float64, s: int, level: float, order: float, output: float) -> None:
    """Writes the key of a slot into the memory of its world.

    ``level`` and, within it, ``order`` say who comes first: the least. ``output`` is how many
    tokens the request is expected to have in the end.
    """
    at = _key(memory, s)
    memory[at + LEVEL], memory[at + ORDER], memory[at + OUTPUT_TOKENS] = level, order, output


@inner
def level_of(memory: Float64, s: int) -> float:
    """The level that was written of a slot."""
    return float(memory[_key(memory, s) + LEVEL])


@inner
def is_before(memory: Float64, s: int, other: int) -> bool:
    """Whether one slot's key is less than another's."""
    one, two = _key(memory, s), _key(memory, other)
    if memory[one + LEVEL] != memory[two + LEVEL]:
        return bool(memory[one + LEVEL] < memory[two + LEVEL])
    return bool(memory[one + ORDER] < memory[two + ORDER])


@inner
def expected_output(slots: Int64, s: int, guess: float) -> float:
    """Output tokens as predicted, else a guess."""
    return float(slots[PREDICTED, s]) if slots[PREDICTED, s] > 0 else guess


@inner
def blocks_to_come(slots: Int64, s: int, memory: Float64) -> int:
    """Blocks that a request is expected to take beside those it holds.

    At least one more token comes, and the last one needs none.
    """
    output = max(int(memory[_key(memory, s) + OUTPUT_TOKENS]), slots[GENERATED, s] + 1)
    return int(max(0, blocks_of(slots[PROMPT, s] + output - 1) - slots[BLOCKS, s]))


@inner
def promised_blocks(state: State, b: int, i: int, memory: Float64, reserve: int) -> int:
    """Blocks that those running or coming back will yet take, at least ``reserve`` each."""
    slots, total = state.slots[b, i], 0
    for n in range(state.instances[b, i, RUNNING_N]):
        total += max(reserve, blocks_to_come(slots, running_slot(state, b, i, n), memory))
    for n in range(state.instances[b, i, ASIDE_N]):
        s = slots[LISTS + ASIDE, n]
        if slots[STATE, s] in (COMING, INCOMING):
            total += max(reserve, blocks_to_come(slots, s, memory))
    return total


@inner
def fits_in_full(state: State, b: int, i: int, s: int, memory: Float64, reserve: int) -> bool:
    """Whether prompt and expected output fit beside what those running will yet take.

    Prefixes that others share are counted as if they were not.
    """
    promised = promised_blocks(state, b, i, memory, reserve)
    more = blocks_to_come(state.slots[b, i], s, memory)
    return more + promised <= room(state.instances[b, i])
