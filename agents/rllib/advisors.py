"""Rules that advise the agents of a serving cluster, and what is left for the agents to choose.

The first rule of each role is what a fresh policy does: the strongest pair on training windows of
`cluster-4`. A router may send an arrival anywhere; for all else, agents choose among what the rules
of their role would do, and are not asked where these agree.
"""

import numpy as np
from numpy.typing import NDArray

from fleetgym.baselines.request_preemption import edf, full_fit, llumnix, routers, slo_fit
from fleetgym.baselines.request_preemption.kernel_policy import KernelPolicy, Rule, ask
from fleetgym.envs.core.view import View
from fleetgym.envs.request_preemption.simulator import INSTANCE, ROUTER
from fleetgym.envs.request_preemption.types import DISPATCH, KIND, OVER, REBALANCE, State

EAGER = slo_fit.PARAMETERS  # admits more at once than what routers are usually given
RULES: dict[str, tuple[tuple[str, Rule, tuple[float, ...]], ...]] = {
    ROUTER: (
        ("least-blocks", routers.least_blocks, EAGER),
        ("least-loaded", routers.least_loaded, EAGER),
        ("llumnix", llumnix.rule, llumnix.PARAMETERS),
    ),
    INSTANCE: (
        ("fcfs-full-fit", full_fit.fcfs, EAGER),
        ("edf", edf.rule, edf.PARAMETERS),
        ("slo-fit", slo_fit.rule, slo_fit.PARAMETERS),
    ),
}
ADVISORS = 3  # of each role


class ClusterAdvisors:
    """The rules of both roles, ready to be asked."""

    def __init__(self) -> None:
        self._rules = {
            role: [KernelPolicy(*named) for named in rules] for role, rules in RULES.items()
        }

    def reset(self, view: View, worlds: NDArray[np.int64]) -> None:
        """All begin anew in the worlds."""
        for rules in self._rules.values():
            for rule in rules:
                rule.reset(view, worlds)

    def advise(self, view: View) -> NDArray[np.int64]:
        """What the rules of whoever is asked would do, as under central control.

        Returns:
            ``(B, ADVISORS)``; 0 in worlds that are over.
        """
        state: State = view.state()  # type: ignore[assignment]
        routed, over = by_router(state), state.scalars[:, KIND] == OVER
        advice = np.zeros((view.num_worlds, ADVISORS), np.int64)
        said = np.zeros(view.num_worlds, np.int64)
        for role, asked in ((ROUTER, routed), (INSTANCE, ~routed & ~over)):
            if asked.any():
                for k, rule in enumerate(self._rules[role]):
                    ask(state, rule.kernel, rule.parameters, rule.memory, said)
                    advice[asked, k] = said[asked]
        return advice


def by_router(state: State) -> NDArray[np.bool_]:
    """Where the router is asked, ``(B,)``."""
    kind = state.scalars[:, KIND]
    routed: NDArray[np.bool_] = (kind == DISPATCH) | (kind == REBALANCE)
    return routed


def options(state: State, advice: NDArray[np.int64]) -> NDArray[np.int8]:
    """What is left to choose from, ``(B, A)`` as under central control.

    Args:
        state: of the worlds.
        advice: ``(B, ADVISORS)``.
    """
    left: NDArray[np.int8] = np.zeros_like(state.mask)
    np.put_along_axis(left, advice, 1, 1)
    free = state.scalars[:, KIND] == DISPATCH
    left[free] = state.mask[free]
    return left
