"""What planners refuse."""

from fleetgym.baselines.vm_rescheduling.problem import Problem
from fleetgym.envs.core.errors import PolicyError
from fleetgym.envs.vm_rescheduling.types import TERMS


def fragments_only(problem: Problem, planner: str) -> None:
    """Refuses objectives with other terms than fragments.

    Raises:
        PolicyError: naming the weight that the planner does not handle.
    """
    weights = problem.objective.weights()
    for term, weight in zip(TERMS, weights.tolist(), strict=False):
        if term != "fragment" and weight:
            raise PolicyError(
                f"{planner} minimises fragments only, but weight_{term} is {weight}: set it to 0 "
                "or take greedy, lns or exact"
            )
    if weights[0] <= 0:
        raise PolicyError(
            f"{planner} minimises fragments only, but weight_fragment is {weights[0]}: "
            "set it above 0"
        )
