"""The highest priorities run (FastSwitch, Shen et al., 2024; its scheduler is Andes').

Priorities change while requests run. The requests of the highest priority that fit run; a running
one of a lower priority gives way to a queued one of a higher. FastSwitch makes that cheap by block
groups, copies beside iterations and copies kept on the host: fields of the scenario.
"""

from fleetgym.baselines.request_preemption.common import OWN
from fleetgym.baselines.request_preemption.ordering import preempting
from fleetgym.baselines.request_preemption.vllm_v1 import rank_by_priority
from fleetgym.envs.core.jit import kernel
from fleetgym.envs.request_preemption.types import Float64, State

HEADROOM = OWN
PARAMETERS = (1.0,)  # blocks kept free for each request that runs


@kernel
def rule(state: State, b: int, parameters: Float64, memory: Float64) -> int:
    """The highest priority first, running or not."""
    rank_by_priority(state, b, memory[b])
    return preempting(state, b, parameters, memory[b], int(parameters[HEADROOM]))
