"""How well loads can be balanced at all."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fleetgym.envs.core.errors import PolicyError
from fleetgym.envs.core.scenario import Scenario
from fleetgym.envs.core.workload import Workload
from fleetgym.envs.expert_placement.layout import rules_of
from fleetgym.envs.expert_placement.scenario import ExpertPlacementScenario
from fleetgym.envs.expert_placement.types import Rules
from fleetgym.envs.expert_placement.workloads import ExpertWorkload


def largest_share(load: NDArray[np.float64], slots: int) -> float:
    """The least, over numbers of replicas, of the largest share of a replica.

    Giving replicas one by one to the largest share is optimal: no share below it can be reached
    with so few slots.
    """
    replicas = np.ones(len(load))
    for _ in range(slots - len(load)):
        replicas[np.argmax(load / replicas)] += 1
    return float((load / replicas).max())


def balancedness_bound(loads: ArrayLike, slots: int, gpus: int) -> float:
    """Upper bound of the balancedness of any placement under equal dispatch.

    Sum over layers of the mean / sum of max(mean, largest replica): a GPU serves at least one
    whole share of the largest.

    Args:
        loads: ``(L, E)`` tokens.
        slots: R.
        gpus: G.
    """
    table = np.asarray(loads, np.float64)
    means = table.sum(axis=1) / gpus
    most = [max(mean, largest_share(row, slots)) for mean, row in zip(means, table, strict=True)]
    return float(means.sum() / np.sum(most))


def episode_bound(scenario: Scenario, workload: Workload) -> Mapping[str, float]:
    """Metrics of an episode that no placement betters, were moving experts free and instant.

    A GPU serves the mean at least, and under equal dispatch one whole share of the largest; what
    it serves takes at least as long as if every send that can be saved were.

    Args:
        scenario: of expert placement.
        workload: of the episode.

    Raises:
        PolicyError: either is of another family.
    """
    if not isinstance(scenario, ExpertPlacementScenario) or not isinstance(
        workload, ExpertWorkload
    ):
        raise PolicyError(f"scenario {scenario.name!r} is no expert placement")
    loads = workload.loads[scenario.history :].reshape(-1, scenario.experts).astype(np.float64)
    means = loads.sum(axis=1) / scenario.gpus
    most = means
    if scenario.dispatch == "equal":
        shares = [largest_share(row, scenario.slots) for row in loads]
        most = np.maximum(means, shares)
    rules = rules_of(scenario)
    time, least = _least_ns(most, rules).sum(), _least_ns(means, rules).sum()
    return {
        "time_s": float(time / 1e9),
        "serving_s": float(time / 1e9),
        "relative_time": float(time / least),
        "balancedness": float(means.sum() / most.sum()),
        "stall_s": 0.0,
        "thinking_s": 0.0,
        "moved_gb": 0.0,
    }


def _least_ns(tokens: NDArray[np.float64], rules: Rules) -> NDArray[np.float64]:
    """Least time of GPUs that serve so many tokens, ns."""
    inter = tokens * (1.0 - rules.dedup) * rules.far
    intra = tokens * rules.away - inter
    time = tokens * rules.token_ns + inter * rules.inter_ns + intra * rules.intra_ns
    return np.maximum(rules.floor, time)
