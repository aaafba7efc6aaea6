"""Training configurations: TOML files read into frozen dataclasses."""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleetgym.envs.core.errors import ScenarioError
from fleetgym.envs.core.tables import from_table


@dataclass(frozen=True)
class Course:
    """Workloads of one kind and size, and how an expert plans for them.

    Attributes:
        scenario: name of a scenario.
        overrides: its fields to replace.
        plans: workloads the expert plans for.
        worlds: stepped together.
    """

    scenario: str
    overrides: dict[str, Any] = field(default_factory=dict)
    plans: int = 256
    worlds: int = 32


@dataclass(frozen=True)
class Stage:
    """Courses whose lessons alternate at random.

    Attributes:
        courses: what is taught.
        epochs: passes over the plans of all courses.
        learning_rate: at the start of the stage; it falls to a tenth by a cosine.
    """

    courses: tuple[Course, ...]
    epochs: int = 1
    learning_rate: float = 1e-3


@dataclass(frozen=True)
class Imitation:
    """Learning to choose as an expert planner does.

    Attributes:
        expert: name of the planner.
        expert_seconds: its budget for a plan.
        own_choice: share of the decisions the network makes itself, so that it also meets the
            states its own mistakes lead to (DAgger, Ross et al. 2011).
        value_weight: of the value's squared error in the loss.
        stages: in turn.
    """

    expert: str = "lns"
    expert_seconds: float = 1.0
    own_choice: float = 0.1
    value_weight: float = 0.1
    stages: tuple[Stage, ...] = ()


@dataclass(frozen=True)
class Cloning:
    """A phase of learning to act as a rule does, in the states the rule meets.

    Attributes:
        scenario, overrides, worlds: what the rule plays.
        expert: name of the rule.
        steps: actions of every world.
        every: steps of all worlds that make a batch.
        learning_rate: at the start; it falls to a tenth.
    """

    scenario: str
    overrides: dict[str, Any] = field(default_factory=dict)
    worlds: int = 32
    expert: str = "sjf-full-fit"
    steps: int = 2_000
    every: int = 8
    learning_rate: float = 2e-3


@dataclass(frozen=True)
class PPO:
    """A phase of MaskablePPO (sb3-contrib), from what was learnt before.

    Attributes:
        scenario, overrides, worlds: what is learnt on.
        total_steps: of the environment, over all worlds.
        rollout_steps: per world between updates.
        fresh: rollouts after which all worlds begin fresh episodes and a checkpoint is left; at 1
            a rollout should hold whole ones (of VM rescheduling: 2 mnl steps each).
        batch_size, epochs, learning_rate, clip, gamma, gae_lambda, entropy, target_kl: of PPO.
        horizon_s: seconds of simulated time over which rewards fall to 1 / e; 0: gamma counts, for
            each action.
        measure: metric that the curve shows, at the end of episodes.
    """

    scenario: str = "small"
    overrides: dict[str, Any] = field(default_factory=dict)
    worlds: int = 32
    total_steps: int = 10_000
    rollout_steps: int = 64
    fresh: int = 1
    batch_size: int = 256
    epochs: int = 3
    learning_rate: float = 1e-4
    clip: float = 0.2
    gamma: float = 1.0
    gae_lambda: float = 0.95
    entropy: float = 0.001
    target_kl: float = 0.03
    horizon_s: float = 0.0
    measure: str = "objective"


@dataclass(frozen=True)
class TrainConfig:
    """One training run.

    Attributes:
        name: of the run and of the weights.
        id: environment.
        seed: of everything random.
        width: hidden width of the network.
        validation: training workloads that no lesson touches, on which the curve is drawn.
        imitation: of a planner, comes first; or
        cloning: of rules, phases in turn.
        ppo: phases that follow, in turn.
    """

    name: str
    id: str
    seed: int = 0
    width: int = 32
    validation: int = 16
    imitation: Imitation = field(default_factory=Imitation)
    cloning: tuple[Cloning, ...] = ()
    ppo: tuple[PPO, ...] = ()


def load_config(path: Path) -> TrainConfig:
    """Reads a training configuration.

    Raises:
        ScenarioError: the file is not TOML, or a field is unknown, missing or mistyped.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ScenarioError(f"{path}: {error}") from error
    return from_table(TrainConfig, table, str(path))
