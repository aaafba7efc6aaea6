"""Supervised next use: the network learns which experts are asked for soon, from routing alone.

No cache is played: what the network sees of an expert does not depend on what is cached, so every
expert of every layer and step is a lesson. The target is the discounted share of the steps to come
that ask for it, (1 - d) sum_h d^(h - 1) [asked for h steps on].

A phase draws from a generator seeded by its number and leaves a checkpoint at its end: a run that
was killed within one begins that phase again, and ends in the same weights.
"""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.utils.tensorboard import SummaryWriter

from fleetgym.agents.cache_features import CANDIDATE, ROUTING, write_candidate, write_routing
from fleetgym.agents.checkpoint import read_checkpoint, write_checkpoint
from fleetgym.agents.config import Forecasting, TrainConfig
from fleetgym.agents.networks.cache import CacheNet
from fleetgym.agents.topic_filter import Filter, empty_filter, note_event
from fleetgym.envs.core.jit import kernel
from fleetgym.envs.core.registration import family_of
from fleetgym.envs.expert_cache.dynamics import note_routing
from fleetgym.envs.expert_cache.layout import routes_of
from fleetgym.envs.expert_cache.types import LAST, PLACE, ROWS, Int16
from fleetgym.envs.expert_cache.workloads import RoutingWorkload
from fleetgym.traces.schema_routing import Routing
from fleetgym.traces.stats_routing import activated

Float32 = NDArray[np.float32]
WORKLOADS = 2**31  # seeds are drawn below this
TAIL = 0.05  # steps whose future the end of the routing cuts by more than this teach nothing
REPORTED = 16  # series after which the loss is told
Report = Callable[[str, int, int], None]  # what, how far, of how much


class Lesson(NamedTuple):
    """M events, all E experts of each."""

    candidates: Tensor  # (M, E, len(CANDIDATE))
    routing: Tensor  # (M, len(ROUTING))
    target: Tensor  # (M, E) from 0 to 1


@kernel
def write_lessons(
    f: Filter, routes: Int16, table: Int16, k_max: int, candidates: Float32, routing: Float32
) -> None:
    """What is known of every expert of the event's layer at each of N events.

    Args:
        f: of one world, empty.
        routes: ``(N, ...)`` as `World.routes`.
        table: ``(L, ROWS, E)`` empty.
        k_max: K.
        candidates: ``(N, E, len(CANDIDATE))`` written.
        routing: ``(N, len(ROUTING))`` written.
    """
    layers, experts = table.shape[0], table.shape[2]
    for n in range(len(routes)):
        step, layer = n // layers, n % layers
        note_routing(routes[n], table[layer], k_max, step)
        note_event(f, 0, n, routes[n, routes.shape[1] - experts :])
        for e in range(experts):
            write_candidate(
                f.kept[0, layer], f.forecast[0, layer], table[layer], step, e, candidates[n, e]
            )
        active = 0
        for k in range(k_max):
            active += routes[n, k] >= 0
        write_routing(f.numbers[0], step, f.scores.shape[1], active / experts, routing[n])


def lesson_of(routing: Routing, warmup: int, discount: float) -> Lesson:
    """All that a routing teaches.

    Args:
        routing: whose steps.
        warmup: steps at its beginning that are left out.
        discount: d of the target.
    """
    steps, layers, width = routing.experts.shape
    experts = routing.num_experts
    top = min(experts, 2 * width)
    table = np.zeros((layers, ROWS, experts), np.int16)
    table[:, [PLACE, LAST]] = -1
    candidates = np.empty((steps * layers, experts, len(CANDIDATE)), np.float32)
    numbers = np.empty((steps * layers, len(ROUTING)), np.float32)
    f = empty_filter(1, steps, layers, experts)
    write_lessons(f, routes_of(routing, width, top), table, width, candidates, numbers)
    used = activated(routing).astype(np.float32)
    target = np.zeros_like(used)
    for t in range(steps - 2, -1, -1):
        target[t] = (1 - discount) * used[t + 1] + discount * target[t + 1]
    cut = math.ceil(math.log(TAIL) / math.log(discount)) if discount > 0 else 1
    taught = slice(warmup * layers, max(warmup + 1, steps - cut) * layers)
    return Lesson(
        torch.from_numpy(candidates[taught]),
        torch.from_numpy(numbers[taught]),
        torch.from_numpy(target.reshape(steps * layers, experts)[taught]),
    )


def forecast_loss(network: CacheNet, lesson: Lesson, shift: int) -> Tensor:
    """Pairs of experts of a layer that are ranked wrongly, by how much more one is asked for.

    The logistic loss of the difference in worth, weighed by the difference in target: what a cache
    loses by keeping one in place of the other. How busy the layer as a whole is does not matter.

    Args:
        network: to be taught.
        lesson: of E experts.
        shift: from 1 to E - 1; each expert is compared with the one so far behind.
    """
    worth = network.worth(lesson.candidates, lesson.routing)
    gap = worth - worth.roll(shift, 1)
    due = lesson.target - lesson.target.roll(shift, 1)
    return (due.abs() * functional.softplus(-gap * due.sign())).mean()


class Forecaster:
    """One run of supervised learning.

    Args:
        config: what to do.
        folder: of the run: checkpoint, TensorBoard logs.
        report: told of progress.
    """

    def __init__(self, config: TrainConfig, folder: Path, report: Report) -> None:
        torch.manual_seed(config.seed)
        self.config, self.folder, self.report = config, folder, report
        self.network = CacheNet(config.width)
        self.optimizer = torch.optim.Adam(self.network.parameters())
        self.curve: list[dict[str, str | float]] = []
        self.checkpoint = folder / "forecasting.safetensors"

    def run(self) -> CacheNet:
        """Teaches from the last whole phase to the end."""
        about = read_checkpoint(self.checkpoint, self.network, self.optimizer)
        done = 0
        if about is not None:
            done, self.curve = about["phases"], about["curve"]
        with SummaryWriter(str(self.folder / "tensorboard" / "forecasting")) as log:
            for phase in range(done, len(self.config.forecasting)):
                self._phase(phase, self.config.forecasting[phase], log)
                about = {"phases": phase + 1, "curve": self.curve}
                write_checkpoint(self.checkpoint, self.network, self.optimizer, about)
        return self.network.eval()

    def _phase(self, phase: int, forecasting: Forecasting, log: SummaryWriter) -> None:
        rng = np.random.default_rng([self.config.seed, phase, 0xF0CA])
        losses: list[float] = []
        for number, routings in enumerate(self._drawn(forecasting, rng)):
            done = number / forecasting.series
            rate = forecasting.learning_rate * (0.55 + 0.45 * math.cos(math.pi * done))
            lessons = [lesson_of(*each, forecasting.discount) for each in routings]
            losses += self._learn(lessons, forecasting.events, rate, rng)
            if (number + 1) % REPORTED == 0:
                loss = float(np.mean(losses))
                losses.clear()
                log.add_scalar(f"forecasting {phase}/loss", loss, number + 1)
                self.curve.append(
                    {"course": f"forecasting {phase}", "step": number + 1, "loss": loss}
                )
                self.report(f"forecasting {phase}: loss {loss:.4f}", number + 1, forecasting.series)

    def _drawn(
        self, forecasting: Forecasting, rng: np.random.Generator
    ) -> Iterator[list[tuple[Routing, int]]]:
        """A routing and its warm-up of each course, so many times."""
        family = family_of(self.config.id)
        sources = [
            family.workloads(family.scenario(one.scenario, {**one.overrides, "split": "train"}))
            for one in forecasting.courses
        ]
        for _ in range(forecasting.series):
            drawn = [source.draw(int(rng.integers(WORKLOADS))) for source in sources]
            yield [(w.routing, w.warmup) for w in drawn if isinstance(w, RoutingWorkload)]

    def _learn(
        self, lessons: list[Lesson], events: int, rate: float, rng: np.random.Generator
    ) -> list[float]:
        """Goes once through lessons, each batch a part of all of them."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        orders = [torch.from_numpy(rng.permutation(len(lesson.routing))) for lesson in lessons]
        losses = []
        for at in range(0, max(len(order) for order in orders), events):
            parts = []
            for lesson, order in zip(lessons, orders, strict=True):
                chosen = order[at : at + events]
                if len(chosen):
                    part = Lesson(*(x[chosen] for x in lesson))
                    shift = int(rng.integers(1, part.target.shape[1]))
                    parts.append(forecast_loss(self.network, part, shift))
            loss = torch.stack(parts).mean()
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            self.optimizer.step()
            losses.append(float(loss.item()))
        return losses
