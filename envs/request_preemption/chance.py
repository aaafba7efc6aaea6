"""Counter-based draws: what is random about a request is a hash of the workload's seed.

How many priority updates there are depends on the policy, so they cannot be drawn ahead; a hash
of (seed, row, update) counts as drawn at reset.
"""

from fleetgym.envs.core.jit import kernel

KEEP_OF_TEN = 9  # chances in ten that the Markov pattern keeps a level at an update


LOW = 0x7FFFFFFF  # 31 bits: products of two such stay inside an int64


@kernel
def mixed(seed: int, row: int, j: int) -> int:
    """A 62-bit hash of three integers: rounds of a multiply and shift, without overflow."""
    value = int(seed)
    for part in (0x1E3779B9 * (int(row) & LOW), 0x3F58476D * (int(j) & LOW), 0):
        value ^= part
        for _ in range(2):
            value ^= value >> 31
            value = (value & LOW) * 0x2545F491 + (value >> 31)
    return value


@kernel
def level(seed: int, row: int, j: int, levels: int) -> int:
    """The priority level of a row at update ``j``, from 0 to ``levels - 1``."""
    return (mixed(seed, row, j) >> 8) % levels


@kernel
def keeps(seed: int, row: int, j: int) -> bool:
    """Whether the Markov pattern keeps the row's level at update ``j``."""
    return (mixed(int(seed) ^ 0x5DEECE66D, row, j) >> 8) % 10 < KEEP_OF_TEN
