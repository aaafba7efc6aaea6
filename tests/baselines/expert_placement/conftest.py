import numpy as np
import pytest

from fleetgym.baselines.expert_placement.situation import Situation
from fleetgym.envs.core.registration import family_of
from fleetgym.envs.expert_placement.layout import first_plan, rules_of, scratch_of


@pytest.fixture
def situation():
    """Makes what a planner is given: the first window of a scenario, and the future with it."""

    def make(scenario="small", seed=0, **fields):
        family = family_of("expert-placement")
        resolved = family.scenario(scenario, fields)
        loads = family.workloads(resolved).draw(seed).loads
        seen = resolved.history
        return Situation(
            history=np.ascontiguousarray(loads[:seen][::-1]),
            plan=first_plan(resolved, loads[seen - 1]),
            left=resolved.windows,
            scenario=resolved,
            rules=rules_of(resolved),
            room=scratch_of(resolved),
            future=loads[seen:],
        )

    return make
