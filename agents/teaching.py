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
from numpy.typing import NDArray
from torch.utils.tensorboard import SummaryWriter

from fleetgym.agents.checkpoint import read_checkpoint, write_checkpoint
from fleetgym.agents.config import Course, Stage, TrainConfig
from fleetgym.agents.experts import Plan, expert_plans
from fleetgym.agents.imitation import Lesson, lesson_loss
from fleetgym.agents.networks.fleet import FleetNet
from fleetgym.agents.search import rollouts
from fleetgym.envs.core.registration import family_of
from fleetgym.envs.core.workload import WorkloadSource
from fleetgym.envs.vm_rescheduling.simulator import VMReschedulingSimulator

COURSE_SEEDS = 1_000_000  # workload seeds of the n-th course start at n times this
VALIDATION_SEEDS = 500_000  # those of its validation so much further
COURSES = 100  # more than a stage has
Report = Callable[[str, int, int], None]  # what, how far, of how much


Order = NDArray[np.int64]  # (B,) which plans a lesson is about


class Class(NamedTuple):
    """A course, its worlds and its plans."""

    name: str
    course: Course
    source: WorkloadSource
    simulator: VMReschedulingSimulator
    first_seed: int
    plans: list[Plan]


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
        self.curve: list[dict[str, str | float]] = []
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
        classes = [self._open(i, j, course) for j, course in enumerate(stage.courses)]
        per_epoch = sum(len(one.plans) // one.course.worlds for one in classes)
        total = per_epoch * stage.epochs
        for number in range(self.position.lesson, total):
            epoch, place = divmod(number, per_epoch)
            one, order = self._timetable(i, epoch, classes)[place]
            rate = stage.learning_rate * (0.55 + 0.45 * math.cos(math.pi * number / total))
            losses = self._lesson(one, order, rate, [i, number])
            for name, value in losses.items():
                log.add_scalar(f"{one.name}/{name}", value, number)
            self.position = Position(i, number + 1)
            if place == per_epoch - 1:
                for each in classes:
                    self._validate(each, number, log)
            self._save()
            self.report(f"stage {i}: lessons", number + 1, total)

    def _open(self, i: int, j: int, course: Course) -> Class:
        """The course with its worlds and the expert's plans."""
        name = f"stage {i}, course {j}"
        scenario = self.family.scenario(course.scenario, {**course.overrides, "split": "train"})
        source = self.family.workloads(scenario)
        simulator = self.family.simulate(scenario, source, course.worlds)
        assert isinstance(simulator, VMReschedulingSimulator)
        first = (COURSES * i + j + 1) * COURSE_SEEDS
        plans = expert_plans(
            self.config.id,
            self.config.imitation,
            course,
            first,
            self.folder / f"plans-{i}-{j}.npz",
            lambda made: self.report(f"{name}: plans of the expert", made, course.plans),
        )
        return Class(name, course, source, simulator, first, plans)

    def _timetable(self, i: int, epoch: int, classes: list[Class]) -> list[tuple[Class, Order]]:
        """The lessons of an epoch in their order: whose class, on which of its plans."""
        rng = np.random.default_rng([self.config.seed, i, epoch])
        lessons = []
        for one in classes:
            shuffled, worlds = rng.permutation(len(one.plans)), one.course.worlds
            for at in range(0, len(shuffled) - worlds + 1, worlds):
                lessons.append((one, shuffled[at : at + worlds]))
        return [lessons[k] for k in rng.permutation(len(lessons))]

    def _lesson(self, one: Class, order: Order, rate: float, key: list[int]) -> dict[str, float]:
        """Plays a batch of workloads to their end; an update for each decision."""
        rng = np.random.default_rng([self.config.seed, *key, 1])
        torch.manual_seed(int(rng.integers(2**62)))
        one.simulator.reset([one.source.draw(one.first_seed + int(seed)) for seed in order])
        lesson = Lesson(one.simulator, [one.plans[seed] for seed in order])
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        imitation = self.config.imitation
        logs = []
        while not one.simulator.over().all():
            loss, parts = lesson_loss(
                self.network, lesson, imitation.own_choice, imitation.value_weight, rng
            )
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            self.optimizer.step()
            logs.append(parts)
        return {name: float(np.mean([parts[name] for parts in logs])) for name in logs[0]}

    def _validate(self, one: Class, number: int, log: SummaryWriter) -> None:
        """Notes the mean objective that the most probable choices reach on unseen workloads."""
        simulator = one.simulator.like(1)
        found = []
        for seed in range(self.config.validation):
            simulator.reset([one.source.draw(one.first_seed + VALIDATION_SEEDS + seed)])
            found.append(rollouts(self.network, simulator, 1.0, True).objective)
        mean = float(np.mean(found))
        log.add_scalar(f"{one.name}/validation_objective", mean, number)
        self.curve.append({"course": one.name, "lesson": number + 1, "objective": mean})
        self.report(f"{one.name}: objective {mean:.4f} on unseen workloads", 1, 1)

    def _save(self) -> None:
        about = {"position": list(self.position), "curve": self.curve}
        write_checkpoint(self.checkpoint, self.network, self.optimizer, about)

    def _resume(self) -> None:
        about = read_checkpoint(self.checkpoint, self.network, self.optimizer)
        if about is not None:
            self.position, self.curve = Position(*about["position"]), about["curve"]
