"""The imitation run: expert plans, stages of lessons, checkpoints from which a killed run resumes.

Every lesson draws from generators seeded by its own position in the run, so a run that was killed
and resumed ends in the same weights as one that was not.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter

from fleetgym.agents.checkpoint import read_checkpoint, write_checkpoint
from fleetgym.agents.config import Stage, TrainConfig
from fleetgym.agents.experts import Plan, expert_plans
from fleetgym.agents.imitation import Lesson, lesson_loss
from fleetgym.agents.networks.fleet import FleetNet
from fleetgym.agents.search import rollouts
from fleetgym.envs.core.registration import family_of
from fleetgym.envs.core.workload import WorkloadSource
from fleetgym.envs.vm_rescheduling.simulator import VMReschedulingSimulator

STAGE_SEEDS = 1_000_000  # workload seeds of stage i start at i + 1 times this
VALIDATION_SEEDS = 500_000  # those of its validation so much further
Report = Callable[[str, int, int], None]  # what, how far, of how much


class Position(NamedTuple):
    """Where a run is: the next lesson's stage and number within it."""

    stage: int
    lesson: int


class Teacher:
    """One imitation run.

    Args:
        config: what to do.
        folder: of the run: plans, checkpoint, TensorBoard logs.
        report: told of progress.
    """

    def __init__(self, config: TrainConfig, folder: Path, report: Report) -> None:
        torch.manual_seed(config.seed)
        self.config, self.folder, self.report = config, folder, report
        self.family = family_of(config.id)
        self.network = FleetNet(config.width)
        self.optimizer = torch.optim.Adam(self.network.parameters())
        self.position = Position(0, 0)
        self.curve: list[dict[str, float]] = []
        self.checkpoint = folder / "imitation.safetensors"

    def run(self) -> FleetNet:
        """Teaches from wherever the run stands to its end."""
        self._resume()
        with SummaryWriter(str(self.folder / "tensorboard" / "imitation")) as log:
            for i, stage in enumerate(self.config.imitation.stages):
                if i >= self.position.stage:
                    self._teach(i, stage, log)
                    self.position = Position(i + 1, 0)
                    self._save()
        return self.network.eval()

    def _teach(self, i: int, stage: Stage, log: SummaryWriter) -> None:
        scenario = self.family.scenario(stage.scenario, {**stage.overrides, "split": "train"})
        source = self.family.workloads(scenario)
        simulator = self.family.simulate(scenario, source, stage.worlds)
        first = (i + 1) * STAGE_SEEDS
        plans = expert_plans(
            self.config.id,
            self.config.imitation,
            stage,
            first,
            self.folder / f"plans-{i}.npz",
            lambda made: self.report(f"stage {i}: plans of the expert", made, stage.plans),
        )
        per_epoch = stage.plans // stage.worlds
        total = per_epoch * stage.epochs
        for number in range(self.position.lesson, total):
            epoch, place = divmod(number, per_epoch)
            rng = np.random.default_rng([self.config.seed, i, epoch])
            order = rng.permutation(stage.plans)[place * stage.worlds :][: stage.worlds]
            rate = stage.learning_rate * (0.55 + 0.45 * math.cos(math.pi * number / total))
            losses = self._lesson(simulator, source, plans, first, order, rate, [i, number])
            for name, value in losses.items():
                log.add_scalar(f"stage-{i}/{name}", value, number)
            self.position = Position(i, number + 1)
            if place == per_epoch - 1:
                self._validate(i, stage, source, number, log)
            self._save()
            self.report(f"stage {i}: lessons", number + 1, total)

    def _lesson(
        self,
        simulator: VMReschedulingSimulator,
        source: WorkloadSource,
        plans: list[Plan],
        first: int,
        order: np.ndarray[tuple[int, ...], np.dtype[np.int64]],
        rate: float,
        key: list[int],
    ) -> dict[str, float]:
        """Plays a batch of workloads to their end; an update for each decision."""
        rng = np.random.default_rng([self.config.seed, *key, 1])
        torch.manual_seed(int(rng.integers(2**62)))
        simulator.reset([source.draw(first + int(seed)) for seed in order])
        lesson = Lesson(simulator, [plans[seed] for seed in order])
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        imitation = self.config.imitation
        logs = []
        while not simulator.over().all():
            loss, parts = lesson_loss(
                self.network, lesson, imitation.own_choice, imitation.value_weight, rng
            )
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            self.optimizer.step()
            logs.append(parts)
        return {name: float(np.mean([parts[name] for parts in logs])) for name in logs[0]}

    def _validate(
        self, i: int, stage: Stage, source: WorkloadSource, number: int, log: SummaryWriter
    ) -> None:
        """Notes the mean objective that the most probable choices reach on unseen workloads."""
        scenario = self.family.scenario(stage.scenario, {**stage.overrides, "split": "train"})
        simulator = self.family.simulate(scenario, source, 1)
        found = []
        for seed in range(self.config.validation):
            simulator.reset([source.draw((i + 1) * STAGE_SEEDS + VALIDATION_SEEDS + seed)])
            found.append(rollouts(self.network, simulator, 1.0, True).objective)
        mean = float(np.mean(found))
        log.add_scalar(f"stage-{i}/validation_objective", mean, number)
        self.curve.append({"stage": i, "lesson": number + 1, "objective": mean})
        self.report(f"stage {i}: objective {mean:.4f} on unseen workloads", 1, 1)

    def _save(self) -> None:
        about = {"position": list(self.position), "curve": self.curve}
        write_checkpoint(self.checkpoint, self.network, self.optimizer, about)

    def _resume(self) -> None:
        about = read_checkpoint(self.checkpoint, self.network, self.optimizer)
        if about is not None:
            self.position, self.curve = Position(*about["position"]), about["curve"]
