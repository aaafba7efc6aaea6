"""What there is, by name."""

from fleetgym.baselines.policy import baselines_of
from fleetgym.envs.core.registration import family_of


def list_scenarios(id: str) -> list[str]:
    """Names of an environment's scenarios.

    Raises:
        ScenarioError: the id is unknown.
    """
    return list(family_of(id).scenarios())


def list_baselines(id: str) -> list[str]:
    """Names of an environment's baselines.

    Raises:
        ScenarioError: the id is unknown.
    """
    return list(baselines_of(family_of(id)))
