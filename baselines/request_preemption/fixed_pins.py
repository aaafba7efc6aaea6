"""Fixed pins: never (the prefix cache alone, LRU), or as long as may be.

Requests are served first come first served, admitted when they fit in full.
"""

from collections.abc import Sequence

import numpy as np

from fleetgym.baselines.request_preemption.common import OWN, first_legal
from fleetgym.baselines.request_preemption.full_fit import RESERVED
from fleetgym.baselines.request_preemption.pins import longest_within, ttls_ps
from fleetgym.baselines.request_preemption.routers import serve
from fleetgym.envs.core.jit import kernel
from fleetgym.envs.request_preemption.scenario import RequestPreemptionScenario
from fleetgym.envs.request_preemption.types import KIND, PIN, Float64, State

LONGEST = OWN + len(RESERVED)  # ps; the TTLs follow


def never(scenario: RequestPreemptionScenario) -> Sequence[float]:
    """Parameters of `prefix-lru`: blocks of finished turns stay in the cache while they may."""
    return (*RESERVED, 0.0, *ttls_ps(scenario))


def always(scenario: RequestPreemptionScenario) -> Sequence[float]:
    """Parameters of `always-pin`: every turn is pinned for the longest TTL."""
    return (*RESERVED, np.inf, *ttls_ps(scenario))


@kernel
def rule(state: State, b: int, parameters: Float64, memory: Float64) -> int:
    """Pins for the longest TTL that is not above the parameter."""
    if state.scalars[b, KIND] == PIN:
        ttls = parameters[LONGEST + 1 :]
        return first_legal(state, b) + longest_within(ttls, parameters[LONGEST])
    return serve(state, b, parameters, memory)
