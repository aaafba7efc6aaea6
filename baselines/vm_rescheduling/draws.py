"""Random draws inside kernels: SplitMix64 (Steele, Lea and Flood, OOPSLA 2014) on a (1,) state."""

import numpy as np
from numpy.typing import NDArray

from fleetgym.envs.core.jit import kernel

UInt64 = NDArray[np.uint64]


def fresh_state(rng: np.random.Generator) -> UInt64:
    """(1,) a state that a generator seeds."""
    return rng.integers(2**64, size=1, dtype=np.uint64)


@kernel
def uniform(state: UInt64) -> float:
    """A draw from [0, 1); moves the state on."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    z = state[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return float(z >> np.uint64(11)) * 2.0**-53


@kernel
def below(state: UInt64, limit: int) -> int:
    """A draw from 0..limit - 1; moves the state on."""
    return int(uniform(state) * limit)
