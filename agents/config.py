"""Training configurations: TOML files read into frozen dataclasses."""

import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleetgym.envs.core.errors import ScenarioError
from fleetgym.envs.core.tables import from_table

Report = Callable[[str, int, int], None]  # what, how far, of how much


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
class Batch:
    """Worlds of one kind that are stepped together.

    Attributes:
        scenario: name of a scenario.
        overrides: its fields to replace.
        worlds: how many.
    """

    scenario: str
    overrides: dict[str, Any] = field(default_factory=dict)
    worlds: int = 32


@dataclass(frozen=True)
class Lookahead:
    """A phase of learning what following each of some rules would bring.

    Attributes:
        batches: worlds that are played and copied.
        steps: of ``hold_s``, of every world.
        hold_s: seconds for which a rule is followed.
        horizon_s: seconds after which what it brought is judged.
        random: share of choices made at random.
        kept: states of the past that are learnt from.
        updates: batches of ``batch_size`` states learnt from at each step.
        learning_rate: at the start; it falls to a tenth.
    """

    batches: tuple[Batch, ...]
    steps: int = 1_000
    hold_s: float = 1.0
    horizon_s: float = 12.0
    random: float = 0.1
    kept: int = 60_000
    updates: int = 2
    batch_size: int = 256
    learning_rate: float = 1e-3


@dataclass(frozen=True)
class Routed:
    """Workloads of one kind, from whose routing next uses are learnt: a scenario and its fields."""

    scenario: str
    overrides: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Forecasting:
    """A phase of learning which experts are asked for soon.

    Attributes:
        courses: what is drawn, one workload of each at a time.
        series: so many times.
        discount: of a use by each step that it lies further ahead.
        events: of each course that make a batch.
        learning_rate: at the start; it falls to a tenth.
    """

    courses: tuple[Routed, ...]
    series: int = 200
    discount: float = 0.7
    events: int = 256
    learning_rate: float = 2e-3


@dataclass(frozen=True)
class LoadForecasting:
    """A phase of learning what the next window's expert loads are.

    Attributes:
        batches: workloads of each kind.
        passes: over all layers of all their windows.
        layers: that make a batch.
        learning_rate: at the start; it falls to a fiftieth by a cosine.
    """

    batches: tuple[Batch, ...]
    passes: int = 12
    layers: int = 64
    learning_rate: float = 2e-3


@dataclass(frozen=True)
class PPO:
    """A phase of MaskablePPO (sb3-contrib), from what was learnt before.

    Attributes:
        batches: what is learnt on, side by side; all have the same spaces.
        total_steps: of the environment, over all worlds.
        rollout_steps: per world between updates.
        fresh: rollouts after which all worlds begin fresh episodes and a checkpoint is left; at 1
            a rollout should hold whole ones (of VM rescheduling: 2 mnl steps each).
        batch_size, epochs, learning_rate, clip, gamma, gae_lambda, entropy, target_kl: of PPO.
        critic_rollouts: rollouts at the beginning from which the critic alone learns.
        value_weight: of the squared error of values: where returns are in the hundreds it
            has to be small, or clipped gradients leave the actor nothing.
        horizon_s: seconds of simulated time over which rewards fall to 1 / e; 0: gamma counts, for
            each action.
        measure: metric that the curve shows, at the end of episodes.
    """

    batches: tuple[Batch, ...]
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
    critic_rollouts: int = 0
    value_weight: float = 0.5
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
        lookahead: at what rules would bring, phases in turn; or
        forecasting: of next uses, phases in turn; or
        loads: forecast of experts, phases in turn.
        ppo: phases that follow, in turn.
    """

    name: str
    id: str
    seed: int = 0
    width: int = 32
    validation: int = 16
    imitation: Imitation = field(default_factory=Imitation)
    lookahead: tuple[Lookahead, ...] = ()
    forecasting: tuple[Forecasting, ...] = ()
    loads: tuple[LoadForecasting, ...] = ()
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
