"""Behaviour cloning: the network learns to act as rules do, in the states that they meet.

A phase draws from a generator seeded by its number and leaves a checkpoint at its end: a run that
was killed within one begins that phase again, and ends in the same weights.
"""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.tensorboard import SummaryWriter

from fleetgym.agents.checkpoint import read_checkpoint, write_checkpoint
from fleetgym.agents.config import Cloning, TrainConfig
from fleetgym.agents.networks.requests import RequestNet, RequestTables
from fleetgym.agents.serving import FORBIDDEN, look
from fleetgym.baselines.policy import Policy, make_baseline
from fleetgym.envs.core.registration import Family, family_of
from fleetgym.envs.core.simulator import Simulator
from fleetgym.envs.core.view import View, as_actions
from fleetgym.envs.core.workload import WorkloadSource
from fleetgym.envs.request_preemption.simulator import SCHEDULER

WORKLOADS = 2**31  # seeds are drawn below this
Report = Callable[[str, int, int], None]  # what, how far, of how much


class Lesson(NamedTuple):
    """What B worlds showed, and what the rule did."""

    seen: RequestTables
    legal: Tensor  # (B, n) bool
    action: Tensor  # (B,)


def cloning_loss(network: RequestNet, lesson: Lesson) -> Tensor:
    """Cross entropy of the rule's actions among the legal ones."""
    logits = network(lesson.seen)[0].masked_fill(~lesson.legal, FORBIDDEN)
    return functional.cross_entropy(logits, lesson.action)


def lessons(
    simulator: Simulator,
    source: WorkloadSource,
    expert: Policy,
    steps: int,
    rng: np.random.Generator,
) -> Iterator[Lesson]:
    """Plays all worlds by a rule, beginning anew those that are over; choices of one are left out.

    Args:
        simulator: of B worlds.
        source: of their workloads.
        expert: the rule.
        steps: actions of every world.
        rng: draws the seeds of workloads.
    """
    view, fresh = View(simulator), np.arange(simulator.num_worlds)
    for _ in range(steps):
        if len(fresh):
            seeds = rng.integers(WORKLOADS, size=len(fresh))
            drawn = [source.draw(int(seed)) for seed in seeds]
            simulator.reset(drawn, [int(i) for i in fresh])
            expert.reset(view, fresh)
        actions = as_actions(view, expert.act(view))
        several = simulator.action_mask()[SCHEDULER][:, 0].sum(1) > 1
        worlds = np.flatnonzero(several)
        if len(worlds):
            chosen = actions[SCHEDULER][worlds].reshape(len(worlds))
            yield Lesson(*look(view, worlds), torch.from_numpy(chosen.astype(np.int64)))
        simulator.step(actions)
        fresh = np.flatnonzero(simulator.over())


def together(batch: list[Lesson]) -> Lesson:
    """Lessons of the same number of slots as one."""
    seen = RequestTables(*(torch.cat(part) for part in zip(*(x.seen for x in batch), strict=True)))
    legal, action = torch.cat([x.legal for x in batch]), torch.cat([x.action for x in batch])
    return Lesson(seen, legal, action)


class Cloner:
    """One run of cloning.

    Args:
        config: what to do.
        folder: of the run: checkpoint, TensorBoard logs.
        report: told of progress.
    """

    def __init__(self, config: TrainConfig, folder: Path, report: Report) -> None:
        torch.manual_seed(config.seed)
        self.config, self.folder, self.report = config, folder, report
        self.network = RequestNet(config.width)
        self.optimizer = torch.optim.Adam(self.network.parameters())
        self.curve: list[dict[str, str | float]] = []
        self.checkpoint = folder / "cloning.safetensors"

    def run(self) -> RequestNet:
        """Teaches from the last whole phase to the end."""
        about = read_checkpoint(self.checkpoint, self.network, self.optimizer)
        done = 0
        if about is not None:
            done, self.curve = about["phases"], about["curve"]
        with SummaryWriter(str(self.folder / "tensorboard" / "cloning")) as log:
            for phase in range(done, len(self.config.cloning)):
                self._phase(phase, self.config.cloning[phase], log)
                about = {"phases": phase + 1, "curve": self.curve}
                write_checkpoint(self.checkpoint, self.network, self.optimizer, about)
        return self.network.eval()

    def _phase(self, phase: int, cloning: Cloning, log: SummaryWriter) -> None:
        family: Family = family_of(self.config.id)
        scenario = family.scenario(cloning.scenario, {**cloning.overrides, "split": "train"})
        source = family.workloads(scenario)
        simulator = family.simulate(scenario, source, cloning.worlds)
        expert = make_baseline(family, cloning.expert)
        rng = np.random.default_rng([self.config.seed, phase, 0xC10])
        batch: list[Lesson] = []
        for number, lesson in enumerate(lessons(simulator, source, expert, cloning.steps, rng)):
            batch.append(lesson)
            if len(batch) < cloning.every:
                continue
            rate = 0.55 + 0.45 * math.cos(math.pi * min(1.0, number / cloning.steps))
            loss = self._learn(together(batch), cloning.learning_rate * rate)
            batch.clear()
            log.add_scalar(f"cloning {phase}/loss", loss, number)
            self._note(phase, number, loss)
            self.report(f"cloning {phase}: loss {loss:.3f}", number + 1, cloning.steps)

    def _learn(self, lesson: Lesson, rate: float) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss = cloning_loss(self.network, lesson)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        return float(loss.item())

    def _note(self, phase: int, number: int, loss: float) -> None:
        """Keeps a point of the curve, every 256 steps."""
        if number % 256 < self.config.cloning[phase].every:
            self.curve.append({"course": f"cloning {phase}", "step": number + 1, "loss": loss})
