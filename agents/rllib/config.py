"""Configurations of runs with RLlib: a serving cluster, an expert placement's layers, devices."""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from fleetgym.agents.config import Batch, LoadForecasting
from fleetgym.envs.core.errors import ScenarioError
from fleetgym.envs.core.tables import from_table

TRAINER = "rllib"  # what a cluster's configuration says in its field ``trainer``
LAYERS = "rllib-layers"  # what that of a placement's layers says
SHARED = "rllib-shared"  # what that of devices with one policy says


@dataclass(frozen=True)
class ClusterPPO:
    """Multi-agent PPO: one policy for all instances, one for the router.

    Attributes:
        worlds: played at once, so that their decisions meet in one pass of the networks.
        runners: processes beside this one that play; 0 plays in this one.
        batch: decisions between two updates; minibatch, epochs: passes over them.
        iterations: updates.
        learning_rate, clip, gamma, gae_lambda, entropy, value_weight, max_grad_norm: of PPO.
    """

    worlds: int = 8
    runners: int = 0
    batch: int = 8_000
    minibatch: int = 1_000
    epochs: int = 4
    iterations: int = 100
    learning_rate: float = 3e-4
    clip: float = 0.2
    gamma: float = 0.995
    gae_lambda: float = 0.95
    entropy: float = 0.002
    value_weight: float = 0.1
    max_grad_norm: float = 0.5


@dataclass(frozen=True)
class ClusterConfig:
    """One training run.

    Attributes:
        name: of the run and of the weights.
        trainer: "rllib".
        id: environment.
        scenario, overrides: what is learnt on.
        arrival_scales: loads that are learnt on in turn, ``ppo.worlds`` clusters each; empty: the
            scenario's.
        seed: of everything random.
        width: hidden width of both networks.
        validation: training workloads of each load on which the curve is drawn; the last that can
            be drawn.
        every: iterations between two points of the curve, and two checkpoints.
        ppo: of the algorithm.
    """

    name: str
    trainer: str
    id: str
    scenario: str
    overrides: dict[str, Any] = field(default_factory=dict)
    arrival_scales: tuple[float, ...] = ()
    seed: int = 0
    width: int = 64
    validation: int = 8
    every: int = 5
    ppo: ClusterPPO = field(default_factory=ClusterPPO)


@dataclass(frozen=True)
class LayersConfig:
    """One training run of the agents of an expert placement's layers.

    Attributes:
        name: of the run and of the weights.
        trainer: "rllib-layers".
        id: environment.
        batches: what is learnt on, one kind after the other; all have the same spaces.
        loads: forecasts that are learnt first.
        seed: of everything random.
        width: hidden width of the network.
        validation: training workloads that no forecast is learnt from, for the curve.
        ppo: of the algorithm.
    """

    name: str
    trainer: str
    id: str
    batches: tuple[Batch, ...]
    loads: tuple[LoadForecasting, ...]
    seed: int = 0
    width: int = 32
    validation: int = 8
    ppo: ClusterPPO = field(default_factory=ClusterPPO)


@dataclass(frozen=True)
class SharedConfig:
    """One training run of devices that share a policy.

    Attributes:
        name: of the run and of the weights.
        trainer: "rllib-shared".
        id: environment.
        scenario, overrides: what is learnt on.
        algorithm: "PPO" or "APPO".
        seed: of everything random.
        width: hidden width of the network.
        validation: training workloads on which the curve is drawn; no agent plays them.
        ppo: of the algorithm.
    """

    name: str
    trainer: str
    id: str
    scenario: str
    overrides: dict[str, Any] = field(default_factory=dict)
    algorithm: Literal["PPO", "APPO"] = "PPO"
    seed: int = 0
    width: int = 64
    validation: int = 16
    ppo: ClusterPPO = field(default_factory=ClusterPPO)


RLlibConfig = ClusterConfig | LayersConfig | SharedConfig
KINDS: dict[str, type[ClusterConfig] | type[LayersConfig] | type[SharedConfig]] = {
    TRAINER: ClusterConfig,
    LAYERS: LayersConfig,
    SHARED: SharedConfig,
}


def load_rllib_config(path: Path) -> RLlibConfig | None:
    """Reads a configuration of RLlib's; None where a file is for another trainer.

    Raises:
        ScenarioError: the file is not TOML, or a field is unknown, missing or mistyped.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ScenarioError(f"{path}: {error}") from error
    kind = KINDS.get(table.get("trainer", ""))
    return None if kind is None else from_table(kind, table, str(path))
