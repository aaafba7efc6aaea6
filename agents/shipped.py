"""The agents whose weights are shipped, as policies that can be run by name."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from fleetgym.baselines.policy import Baseline, Policy
from fleetgym.envs.core.errors import MissingExtraError
from fleetgym.envs.core.registration import Family

PRETRAINED = Path(__file__).parent / "pretrained"


def shipped(family: Family) -> Mapping[str, Baseline]:
    """The family's agents by name: none where no weights are shipped."""
    if family.folder == "mec_offloading":
        return _offloading_agents()
    weights = PRETRAINED / f"{family.folder.replace('_', '-')}.safetensors"
    if not weights.exists():
        return {}
    if family.folder == "expert_cache":
        return {
            "agent": Baseline(
                "agent",
                "shipped network, greedy: keeps what it holds to be asked for soonest",
                partial(_caching, weights, "agent", False),
            ),
            "agent-thrifty": Baseline(
                "agent-thrifty",
                "shipped network, greedy: the same, and weighs what a copy over PCIe costs",
                partial(_caching, weights, "agent-thrifty", True),
            ),
        }
    if family.folder == "expert_placement":
        summary = "shipped network, greedy: samples of its forecast, searched in a style it chooses"
        return {"agent": Baseline("agent", summary, partial(_placing, weights))}
    if family.folder == "request_preemption":
        cluster = weights.with_name("request-preemption-cluster.safetensors")
        summary = "shipped network, greedy: which rule to follow"
        team = "shipped networks of a cluster's router and instances, greedy"
        return {
            "agent": Baseline("agent", summary, partial(_serving, weights)),
            "agent-cluster": Baseline("agent-cluster", team, partial(_cluster, cluster)),
        }
    agents = [
        Baseline(
            "agent",
            "shipped network: best of as many sampled plans as fit into the budget",
            partial(_agent, weights, "agent", 16),
            1.0,
        )
    ]
    agents += [
        Baseline(
            f"agent-{k}",
            f"shipped network: best of {k} sampled plans" if k > 1 else "shipped network, greedy",
            partial(_fixed, weights, k),
        )
        for k in (1, 16, 64)
    ]
    return {agent.name: agent for agent in agents}


def _fixed(weights: Path, k: int, seconds: float, seed: int) -> Policy:
    """One round of k plans, whatever the budget."""
    return _agent(weights, f"agent-{k}", k, 0.0, seed)


def _agent(weights: Path, name: str, k: int, seconds: float, seed: int) -> Policy:
    with _needing_torch(name):
        from fleetgym.agents.networks.fleet import FleetNet
        from fleetgym.agents.search import NetworkPolicy
        from fleetgym.agents.weights import load_network
    return NetworkPolicy(name, load_network(weights, FleetNet), k=k, seconds=seconds, seed=seed)


def _serving(weights: Path, seconds: float, seed: int) -> Policy:
    """Greedy: without a budget, and without draws."""
    with _needing_torch("agent"):
        from fleetgym.agents.networks.requests import RequestNet
        from fleetgym.agents.serving import RequestAgent
        from fleetgym.agents.weights import load_network
    return RequestAgent("agent", load_network(weights, RequestNet))


def _cluster(weights: Path, seconds: float, seed: int) -> Policy:
    """Greedy: without a budget, and without draws."""
    with _needing_torch("agent-cluster"):
        from fleetgym.agents.rllib.policy import ClusterPolicy
        from fleetgym.agents.rllib.weights import load_cluster
    return ClusterPolicy("agent-cluster", load_cluster(weights))


def _caching(weights: Path, name: str, thrifty: bool, seconds: float, seed: int) -> Policy:
    """Greedy: without a budget, and without draws."""
    with _needing_torch(name):
        from fleetgym.agents.caching import CacheAgent
        from fleetgym.agents.networks.cache import CacheNet
        from fleetgym.agents.weights import load_network
    return CacheAgent(name, load_network(weights, CacheNet), thrifty)


def _placing(weights: Path, seconds: float, seed: int) -> Policy:
    """Greedy: without a budget, and without draws."""
    with _needing_torch("agent"):
        from fleetgym.agents.networks.experts import ExpertNet
        from fleetgym.agents.placement import PlacementAgent
        from fleetgym.agents.weights import load_network
    return PlacementAgent("agent", load_network(weights, ExpertNet))


# Names, files and what they are.
OFFLOADING = (
    ("agent", "mec-offloading-ppo", "devices share one network (RLlib, PPO)"),
    ("agent-appo", "mec-offloading-appo", "devices share one network (RLlib, APPO)"),
    ("agent-central", "mec-offloading", "one network under central control (SB3, MaskablePPO)"),
)
TALKING = (
    ("com-ddpg", "DDPG with an LSTM of each device and a bidirectional RNN across them"),
    ("com-ddpg-no-communication", "the same, actors hear nobody"),
    ("com-ddpg-no-lstm", "the same, without memory"),
    ("maddpg", "DDPG, actors alone and a critic of all (Lowe et al. 2017)"),
)


def _offloading_agents() -> dict[str, Baseline]:
    found = {}
    for name, file, summary in OFFLOADING:
        weights = PRETRAINED / f"{file}.safetensors"
        if weights.exists():
            make = partial(_offloading, weights, name)
            found[name] = Baseline(name, f"shipped, greedy: {summary}", make)
    for name, summary in TALKING:
        weights = PRETRAINED / f"{name}.safetensors"
        if weights.exists():
            found[name] = Baseline(name, f"shipped: {summary}", partial(_talking, weights))
    return found


def _offloading(weights: Path, name: str, seconds: float, seed: int) -> Policy:
    """Greedy: without a budget, and without draws."""
    with _needing_torch(name):
        from fleetgym.agents.networks.offloading import OffloadNet
        from fleetgym.agents.offloading import OffloadAgent
        from fleetgym.agents.weights import load_network
    return OffloadAgent(name, load_network(weights, OffloadNet))


def _talking(weights: Path, seconds: float, seed: int) -> Policy:
    """Without a budget, and without draws."""
    with _needing_torch(weights.stem):
        from fleetgym.agents.com_ddpg.policy import ComPolicy
    return ComPolicy.load(weights)


@contextmanager
def _needing_torch(name: str) -> Iterator[None]:
    """Imports what needs torch, which then takes one thread: worlds are batched instead."""
    try:
        import torch

        yield
    except ImportError as error:
        raise MissingExtraError(f"{name} needs {error.name}: pip install fleetgym[sb3]") from error
    torch.set_num_threads(1)
