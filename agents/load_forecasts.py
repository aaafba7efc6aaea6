"""Supervised forecasts of expert loads: the network learns what a layer's next window is like.

Loads do not depend on how they are served, so every layer of every window of a workload is a
lesson: what is seen before the window, and what came.

A phase draws from a generator seeded by its number and leaves a checkpoint at its end: a run that
was killed within one begins that phase again, and ends in the same weights.
"""

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from fleetgym.agents.checkpoint import read_checkpoint, write_checkpoint
from fleetgym.agents.config import Batch, LoadForecasting, Report, TrainConfig
from fleetgym.agents.networks.experts import ExpertNet, forecast_loss, logs_of
from fleetgym.envs.core.errors import ScenarioError
from fleetgym.envs.core.registration import family_of
from fleetgym.envs.expert_placement.planners import HOLD
from fleetgym.envs.expert_placement.scenario import ExpertPlacementScenario
from fleetgym.envs.expert_placement.simulator import PLANNER

VALIDATION = 1 << 30  # the first seed of workloads that no lesson is about
LEAST_RATE = 0.02  # of the learning rate, in the end


def lessons(id: str, batch: Batch, first: int) -> tuple[Tensor, Tensor]:
    """What was seen of layers before a window ``(N, E, features)``, and its log-loads ``(N, E)``.

    Args:
        id: environment.
        batch: of which workloads, and how many.
        first: seed of the first one.

    Raises:
        ScenarioError: the environment is no expert placement.
    """
    family = family_of(id)
    held = {"split": "train", "action": "select", "regret": False}
    scenario = family.scenario(batch.scenario, {**batch.overrides, **held})
    if not isinstance(scenario, ExpertPlacementScenario):
        raise ScenarioError(f"{id}: only the loads of expert placement are forecast so")
    source = family.workloads(scenario)
    simulator = family.simulate(scenario, source, batch.worlds)
    simulator.reset([source.draw(first + world) for world in range(batch.worlds)])
    actions = {PLANNER: np.full((batch.worlds, 1), HOLD)}
    shown = []
    for window in range(scenario.windows + 1):
        if window > 0:
            simulator.step(actions)
        shown.append(torch.tensor(simulator.observation()[PLANNER]["experts"]).flatten(0, 2))
    return torch.cat(shown[:-1]), logs_of(torch.cat(shown[1:]))[..., 0]


class LoadForecaster:
    """One run of forecasting.

    Args:
        config: what to do.
        folder: of the run: checkpoint, TensorBoard logs.
        report: told of progress.
    """

    def __init__(self, config: TrainConfig, folder: Path, report: Report) -> None:
        torch.manual_seed(config.seed)
        self.config, self.folder, self.report = config, folder, report
        self.network = ExpertNet(config.width)
        self.optimizer = torch.optim.Adam(self.network.parameters())
        self.curve: list[dict[str, str | float]] = []
        self.checkpoint = folder / "forecasting.safetensors"

    def run(self) -> ExpertNet:
        """Teaches from the last whole phase to the end."""
        about = read_checkpoint(self.checkpoint, self.network, self.optimizer)
        done = 0
        if about is not None:
            done, self.curve = about["phases"], about["curve"]
        with SummaryWriter(str(self.folder / "tensorboard" / "forecasting")) as log:
            for phase in range(done, len(self.config.loads)):
                self._phase(phase, self.config.loads[phase], log)
                about = {"phases": phase + 1, "curve": self.curve}
                write_checkpoint(self.checkpoint, self.network, self.optimizer, about)
        return self.network.eval()

    def _phase(self, phase: int, loads: LoadForecasting, log: SummaryWriter) -> None:
        drawn = [lessons(self.config.id, batch, 0) for batch in loads.batches]
        seen, came = (torch.cat(part) for part in zip(*drawn, strict=True))
        unseen = self._unseen(loads)
        rng = np.random.default_rng([self.config.seed, phase, 0x10AD])
        batches = len(seen) // loads.layers
        total = loads.passes * batches
        for number in range(total):
            if number % batches == 0:
                order = torch.from_numpy(rng.permutation(len(seen)))
            at = number % batches * loads.layers
            rows = order[at : at + loads.layers]
            loss = forecast_loss(self.network.forecast(seen[rows]), came[rows])
            self._update(loss, loads.learning_rate, number / total)
            log.add_scalar(f"forecasting {phase}/loss", loss.item(), number)
            if (number + 1) % batches == 0:
                self._validate(phase, number + 1, unseen, log)
                self.report(f"forecasting {phase}", number + 1, total)

    def _update(self, loss: Tensor, rate: float, share: float) -> None:
        falling = LEAST_RATE + (1 - LEAST_RATE) * 0.5 * (1 + math.cos(math.pi * share))
        for group in self.optimizer.param_groups:
            group["lr"] = rate * falling
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()

    def _unseen(self, loads: LoadForecasting) -> list[tuple[Tensor, Tensor]]:
        count = self.config.validation
        few = [Batch(batch.scenario, batch.overrides, count) for batch in loads.batches]
        return [lessons(self.config.id, batch, VALIDATION) for batch in few]

    def _validate(
        self, phase: int, number: int, unseen: list[tuple[Tensor, Tensor]], log: SummaryWriter
    ) -> None:
        """Adds a point to the curve: the loss on workloads that no lesson is about."""
        with torch.inference_mode():
            losses = [forecast_loss(self.network.forecast(seen), came) for seen, came in unseen]
        mean = float(torch.stack(losses).mean())
        log.add_scalar(f"forecasting {phase}/validation_loss", mean, number)
        self.curve.append({"course": f"forecasting {phase}", "step": number, "loss": mean})
