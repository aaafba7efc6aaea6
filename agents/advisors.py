"""Rules between which the serving agent chooses: one rule with other prices, holding and order."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleetgym.baselines.request_preemption import paced
from fleetgym.baselines.request_preemption.kernel_policy import KernelPolicy
from fleetgym.envs.core.view import View, as_actions
from fleetgym.envs.request_preemption.simulator import SCHEDULER

# What large prompts may cost if they can be saved, and if not; who is held back; large ones first.
VARIANTS: dict[str, tuple[float, float, int, float]] = {
    "paced": (0.5, 0.1, paced.NOBODY, 0.0),
    "strict": (0.15, 0.02, paced.NOBODY, 0.0),
    "bold": (1.2, 0.1, paced.NOBODY, 0.0),
    "large-first": (1.2, 0.1, paced.NOBODY, 1.0),
    "large-at-any-price": (4.0, 0.1, paced.NOBODY, 1.0),
    "hold-brief": (0.5, 0.1, paced.BRIEF, 0.0),
    "hold-all": (0.5, 0.1, paced.ALL, 0.0),
    "lost-too": (0.5, 1.0, paced.NOBODY, 0.0),
}
ADVISORS = len(VARIANTS)
COSTS = 2  # numbers of late gaps whose cost is told


class Advisors:
    """The rules, ready to be asked; the first is `paced` itself.

    Attributes:
        rules: one policy each.
    """

    def __init__(self) -> None:
        first = paced.PARAMETERS[: paced.WORTH - paced.GUESS]
        self.rules = [
            KernelPolicy(name, paced.rule, (*first, *variant)) for name, variant in VARIANTS.items()
        ]

    def reset(self, view: View, worlds: NDArray[np.int64]) -> None:
        """All begin anew in the worlds."""
        for rule in self.rules:
            rule.reset(view, worlds)

    def advise(self, view: View) -> NDArray[np.int64]:
        """What each would do in every world, ``(B, ADVISORS)``."""
        return np.stack([as_actions(view, r.act(view))[SCHEDULER][:, 0] for r in self.rules], 1)

    def costs(self, view: View) -> NDArray[np.float32]:
        """Requests that 1, 2, ... late gaps would lose in every world, ``(B, COSTS)``."""
        found = np.zeros((view.num_worlds, COSTS))
        state: Any = view.state()
        paced.costs(state, self.rules[0].parameters, found)
        return found.astype(np.float32)
