"""Learning which rule to follow from what each would bring: policy improvement by rollouts.

In states of training episodes every world is copied once for each rule; a copy follows its rule for
a while and then the first, over one and the same future. What it then stands at, beside the copy
that followed the first all along, is what the rule gains there. The network learns these gains
(Bertsekas's rollout algorithm, spread over states by regression), and its own choices lead to the
next states. Futures are the true ones of training workloads; the network sees only the present.
"""

import math
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.utils.tensorboard import SummaryWriter

from fleetgym.agents.advisors import ADVISORS, Advisors
from fleetgym.agents.checkpoint import read_checkpoint, write_checkpoint
from fleetgym.agents.config import Batch, Lookahead, Report, TrainConfig
from fleetgym.agents.networks.requests import RequestNet, RequestTables
from fleetgym.agents.serving import look
from fleetgym.baselines.request_preemption.standing import standing
from fleetgym.envs.core.registration import family_of
from fleetgym.envs.core.view import View
from fleetgym.envs.core.workload import Workload
from fleetgym.envs.request_preemption.simulator import RequestPreemptionSimulator

WORKLOADS = 2**31  # seeds are drawn below this
NS = 10**9
ROW_BLOCK = 32  # rows of requests are kept in multiples of this


class Lesson(NamedTuple):
    """A state, and what each rule gains in it."""

    requests: Tensor  # (n, F) float16, up to the last that is present
    instance: Tensor
    world: Tensor
    advice: Tensor  # (ADVISORS,)
    cost: Tensor  # (COSTS,)
    gain: Tensor  # (ADVISORS,)


class Trial:
    """Worlds of one kind, each with a copy for every rule.

    Args:
        config: of the run.
        batch: which worlds.
        lookahead: how far.
        rng: draws the seeds of workloads.
    """

    def __init__(
        self, config: TrainConfig, batch: Batch, lookahead: Lookahead, rng: np.random.Generator
    ) -> None:
        family = family_of(config.id)
        scenario = family.scenario(batch.scenario, {**batch.overrides, "split": "train"})
        self._source, self._rng, self._lookahead = family.workloads(scenario), rng, lookahead
        self.worlds = np.arange(batch.worlds)
        total = batch.worlds * (1 + ADVISORS)
        self.simulator = cast(
            RequestPreemptionSimulator, family.simulate(scenario, self._source, total)
        )
        self._copies = np.arange(batch.worlds, total).reshape(batch.worlds, ADVISORS)
        self._view, self._advisors = View(self.simulator), Advisors()
        everyone = [world for world in range(total)]
        self.simulator.reset([self._draw()] * total, everyone)
        self._advisors.reset(self._view, np.array(everyone))
        self._begin(self.worlds)

    def _draw(self) -> Workload:
        return self._source.draw(int(self._rng.integers(WORKLOADS)))

    def _begin(self, worlds: NDArray[np.int64]) -> None:
        drawn = [self._draw() for _ in worlds]
        self.simulator.reset(drawn, [int(world) for world in worlds])

    def look(self) -> RequestTables:
        """What the worlds show."""
        return look(self._view, self.worlds, self._advisors)

    def gains(self) -> NDArray[np.float64]:
        """Requests that following each rule for ``hold_s`` gains over the first, ``(B, K)``."""
        sources = np.repeat(self.worlds, ADVISORS)
        self.simulator.copy(sources, self._copies.ravel())
        now = self.simulator.now()[self.worlds]
        for k in range(ADVISORS):
            self._follow(k, self._copies[:, k], now + round(self._lookahead.hold_s * NS))
        horizon = np.repeat(now + round(self._lookahead.horizon_s * NS), ADVISORS)
        self._follow(0, self._copies.ravel(), horizon)
        value = standing(self.simulator, self._advisors.rules[0].parameters)[self._copies]
        gain: NDArray[np.float64] = value - value[:, :1]
        return gain

    def go_on(self, chosen: NDArray[np.int64]) -> None:
        """Every world follows a rule for ``hold_s``; those that are over begin anew."""
        now = self.simulator.now()[self.worlds]
        for k in np.unique(chosen):
            following = self.worlds[chosen == k]
            self._follow(k, following, now[chosen == k] + round(self._lookahead.hold_s * NS))
        over = np.flatnonzero(self.simulator.over()[self.worlds])
        if len(over):
            self._begin(over)

    def _follow(self, k: int, worlds: NDArray[np.int64], until: NDArray[np.int64]) -> None:
        """Plays worlds by the k-th rule up to a time, ns; the others stand still."""
        limit = np.zeros(self.simulator.num_worlds, np.int64)
        limit[worlds] = until
        rule = self._advisors.rules[k]
        self.simulator.rollout(
            rule.kernel,
            self.simulator.scenario.max_steps,
            parameters=rule.parameters,
            memory=rule.memory,
            keep=1,
            until=limit,
        )


def lessons_of(seen: RequestTables, gain: NDArray[np.float64]) -> Iterator[Lesson]:
    """One lesson for each state."""
    present = seen.requests[..., 0]
    for b in range(len(gain)):
        rows = ROW_BLOCK * math.ceil(max(1, int(present[b].sum())) / ROW_BLOCK)
        yield Lesson(
            seen.requests[b, :rows].half(),
            seen.instance[b].clone(),
            seen.world[b].clone(),
            seen.advice[b].clone(),
            seen.cost[b].clone(),
            torch.from_numpy(gain[b].astype(np.float32)),
        )


def gain_loss(network: RequestNet, lessons: list[Lesson]) -> Tensor:
    """Huber loss of the gains, in requests."""
    rows = max(len(lesson.requests) for lesson in lessons)
    padded = [
        functional.pad(x.requests.float(), (0, 0, 0, rows - len(x.requests))) for x in lessons
    ]
    seen = RequestTables(
        torch.stack(padded),
        torch.stack([x.instance for x in lessons]),
        torch.stack([x.world for x in lessons]),
        torch.stack([x.advice for x in lessons]),
        torch.stack([x.cost for x in lessons]),
    )
    target = torch.stack([x.gain for x in lessons])
    return functional.smooth_l1_loss(network.gains(seen), target)


class Improver:
    """One run of learning from rollouts.

    A phase draws from a generator seeded by its number and leaves a checkpoint at its end: a run
    that was killed within one begins that phase again, and ends in the same weights.

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
        self.checkpoint = folder / "lookahead.safetensors"

    def run(self) -> RequestNet:
        """Teaches from the last whole phase to the end."""
        about = read_checkpoint(self.checkpoint, self.network, self.optimizer)
        done = 0
        if about is not None:
            done, self.curve = about["phases"], about["curve"]
        with SummaryWriter(str(self.folder / "tensorboard" / "lookahead")) as log:
            for phase in range(done, len(self.config.lookahead)):
                self._phase(phase, self.config.lookahead[phase], log)
                about = {"phases": phase + 1, "curve": self.curve}
                write_checkpoint(self.checkpoint, self.network, self.optimizer, about)
        return self.network.eval()

    def _phase(self, phase: int, lookahead: Lookahead, log: SummaryWriter) -> None:
        rng = np.random.default_rng([self.config.seed, phase, 0x100C])
        trials = [Trial(self.config, batch, lookahead, rng) for batch in lookahead.batches]
        kept: deque[Lesson] = deque(maxlen=lookahead.kept)
        losses: list[float] = []
        for step in range(lookahead.steps):
            for trial in trials:
                seen, gain = trial.look(), trial.gains()
                kept.extend(lessons_of(seen, gain))
                trial.go_on(self._choose(seen, lookahead.random, rng))
            rate = lookahead.learning_rate * (
                0.55 + 0.45 * math.cos(math.pi * step / lookahead.steps)
            )
            for _ in range(lookahead.updates):
                picked = rng.integers(len(kept), size=lookahead.batch_size)
                losses.append(self._learn([kept[int(at)] for at in picked], rate))
            if (step + 1) % 50 == 0:
                loss = float(np.mean(losses))
                losses.clear()
                log.add_scalar(f"lookahead {phase}/loss", loss, step + 1)
                point: dict[str, str | float] = {"course": f"lookahead {phase}", "step": step + 1}
                self.curve.append({**point, "loss": loss})
                self.report(f"lookahead {phase}: loss {loss:.4f}", step + 1, lookahead.steps)

    def _choose(
        self, seen: RequestTables, random: float, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """The rule that gains most by the network, or now and then any."""
        with torch.inference_mode():
            chosen: NDArray[np.int64] = self.network.gains(seen).argmax(1).numpy()
        other = rng.integers(ADVISORS, size=len(chosen))
        return np.where(rng.random(len(chosen)) < random, other, chosen)

    def _learn(self, lessons: list[Lesson], rate: float) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss = gain_loss(self.network, lessons)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        return float(loss.item())
