"""CPUs: how long a task takes and what it costs.

T = C / f, and with dynamic voltage and frequency scaling E = kappa f^2 C (std).
"""

import math

from fleetgym.envs.core.jit import inner

SHARES = 256  # a frequency or a power is given in so many parts of the highest


@inner
def execution_ns(cycles: int, speed: float, share: int) -> int:
    """Nanoseconds of so many cycles, rounded up.

    Args:
        cycles: C.
        speed: Hz at the highest frequency.
        share: of that frequency, in parts of SHARES.
    """
    return math.ceil(cycles * (1e9 * SHARES) / (speed * share))


@inner
def dynamic_energy_j(cycles: int, speed: float, share: int, kappa: float) -> float:
    """Joules, kappa f^2 C; arguments as above, ``kappa`` in J s^2."""
    frequency = speed * share / SHARES
    return kappa * frequency * frequency * cycles
