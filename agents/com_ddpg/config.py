"""Configurations of Com-DDPG, its ablations and MADDPG."""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from fleetgym.envs.core.errors import ScenarioError
from fleetgym.envs.core.tables import from_table

TRAINER = "com-ddpg"  # what a configuration says in its field ``trainer``


@dataclass(frozen=True)
class ComDDPGConfig:
    """One training run.

    Attributes:
        name: of the run and of the weights.
        trainer: "com-ddpg".
        id, scenario, overrides: environment; control is distributed and actions are continuous.
        seed: of everything random.
        width: H, of every hidden layer.
        history: last decisions that an agent's LSTM reads; 1: it has none.
        communicates: whether actors hear the others.
        critic: "recurrent" (a bidirectional RNN across agents) or "joint" (all at once, as MADDPG).
        worlds: stepped together.
        steps: of every world.
        kept: steps of every world that the replay holds.
        warm_up: steps of every world at first, in which actions are drawn uniformly.
        updates: after each step.
        batch: transitions of an update.
        actor_rate, critic_rate: learning rates.
        gamma: discount of a step.
        tau: by which targets follow.
        noise: deviation of the exploration noise, falling to a tenth.
        scale: by which rewards are multiplied.
        validation: training workloads on which the curve is drawn; the last that can be drawn.
        every: steps between two points of the curve, and two checkpoints.
    """

    name: str
    trainer: str
    id: str
    scenario: str
    overrides: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    width: int = 48
    history: int = 4
    communicates: bool = True
    critic: Literal["recurrent", "joint"] = "recurrent"
    worlds: int = 16
    steps: int = 2_000
    kept: int = 2_000
    warm_up: int = 200
    updates: int = 1
    batch: int = 128
    actor_rate: float = 1e-4
    critic_rate: float = 1e-3
    gamma: float = 0.98
    tau: float = 0.01
    noise: float = 0.2
    scale: float = 10.0
    validation: int = 16
    every: int = 250


def load_com_ddpg_config(path: Path) -> ComDDPGConfig | None:
    """Reads a configuration; None where a file is for another trainer.

    Raises:
        ScenarioError: the file is not TOML, or a field is unknown, missing or mistyped.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ScenarioError(f"{path}: {error}") from error
    if table.get("trainer") != TRAINER:
        return None
    return from_table(ComDDPGConfig, table, str(path))
