"""Running a policy on workloads, and recording what it decided."""

import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from fleetgym._version import __version__
from fleetgym.baselines.policy import Policy, make_baseline
from fleetgym.envs.core.episode import EpisodeRecord
from fleetgym.envs.core.errors import IllegalActionError, ScenarioError
from fleetgym.envs.core.latency import DecisionLatency
from fleetgym.envs.core.registration import Family, family_of
from fleetgym.envs.core.simulator import Simulator
from fleetgym.envs.core.status import ILLEGAL
from fleetgym.envs.core.view import View, as_actions
from fleetgym.envs.core.workload import Workload, WorkloadSource

Progress = Callable[[EpisodeRecord], None]


def evaluate(
    policy: Policy | str,
    id: str,
    scenario: str,
    seeds: Iterable[int],
    *,
    workload: str | WorkloadSource | None = None,
    decision_latency: str = "none",
    num_worlds: int = 1,
    progress: Progress | None = None,
    **overrides: Any,
) -> list[EpisodeRecord]:
    """Plays one episode for each seed and returns their records, in the order of the seeds.

    Args:
        policy: an object with ``name``, ``information``, ``reset`` and ``act``, or the name of a
            baseline.
        id: environment id, with or without ``fleetgym/`` and ``-v0``.
        scenario: name of a scenario; its ``split`` is "test" unless overridden.
        seeds: workload seeds (``reset(options={"workload_seed": s})`` plays the same workload).
        workload: name of a workload source, a path, or a source object.
        decision_latency: "none", "fixed:SECONDS" or "measured" (one world at a time).
        num_worlds: worlds stepped together; results do not depend on it.
        progress: called with each record as it is finished.
        overrides: scenario fields to replace.

    Raises:
        ScenarioError: unknown id, scenario or field, or measured latency with several worlds.
        PolicyError: the policy is unknown or answers in the wrong shape.
        IllegalActionError: the policy chose what the mask forbids.
    """
    family = family_of(id)
    named = {} if workload is None else {"workload": getattr(workload, "name", workload)}
    resolved = family.scenario(scenario, {"split": "test", **overrides, **named})
    if workload is None or isinstance(workload, str):
        source = family.workloads(resolved)
    else:
        source = workload
    latency = DecisionLatency.parse(decision_latency)
    if num_worlds < 1 or (latency.kind == "measured" and num_worlds != 1):
        raise ScenarioError(
            f"num_worlds is {num_worlds}: at least 1, and 1 where the latency is measured"
        )
    player = make_baseline(family, policy) if isinstance(policy, str) else policy
    todo = list(seeds)
    records: list[EpisodeRecord] = []
    simulator = family.simulate(resolved, source, min(num_worlds, max(1, len(todo))))
    for start in range(0, len(todo), simulator.num_worlds):
        batch = [source.draw(seed) for seed in todo[start : start + simulator.num_worlds]]
        run = _Batch(family, simulator, player, batch, decision_latency)
        for record in run.play(latency):
            records.append(record)
            if progress is not None:
                progress(record)
    return records


class _Batch:
    """Up to B episodes played side by side."""

    def __init__(
        self,
        family: Family,
        simulator: Simulator,
        policy: Policy,
        workloads: list[Workload],
        decision_latency: str,
    ) -> None:
        self.family, self.simulator, self.policy = family, simulator, policy
        self.workloads, self.decision_latency = workloads, decision_latency
        n = len(workloads)
        self.steps: list[list[dict[str, Any]]] = [[] for _ in range(n)]
        self.latency: list[list[int]] = [[] for _ in range(n)]
        self.seconds = np.zeros(n)
        self.metrics: list[dict[str, float]] = [{} for _ in range(n)]
        self.active = np.zeros(simulator.num_worlds, np.bool_)

    def play(self, latency: DecisionLatency) -> list[EpisodeRecord]:
        simulator, n = self.simulator, len(self.workloads)
        view = View(simulator, clairvoyant=self.policy.information == "clairvoyant")
        worlds = np.arange(n)
        # Worlds beyond the last batch's size idle on its last workload.
        padded = self.workloads + [self.workloads[-1]] * (simulator.num_worlds - n)
        simulator.reset(padded)
        self.active[:n] = True
        self.digests = [[int(d)] for d in simulator.digest()[:n]]
        self.policy.reset(view, np.arange(simulator.num_worlds))
        while self.active.any():
            began = time.perf_counter_ns()
            answer = self.policy.act(view)
            spent = time.perf_counter_ns() - began
            actions = as_actions(view, answer)
            self.seconds[self.active[:n]] += spent / 1e9 / self.active.sum()
            charge = np.where(self.active, latency.charge(simulator.decision_starts(), spent), 0)
            if charge.any():
                simulator.elapse(charge)
            result = simulator.step(actions, self.active)
            illegal = (result.status == ILLEGAL).any(axis=1) & self.active
            if illegal.any():
                self._refuse(int(np.argmax(illegal)), actions)
            over = result.terminated | result.truncated
            self._note(worlds[self.active[:n]], actions, charge, over)
            self.active &= ~over
        return [self._record(i) for i in range(n)]

    def _note(self, worlds: Any, actions: Any, charge: Any, over: Any) -> None:
        digests = self.simulator.digest()
        metrics = self.simulator.metrics() if over[worlds].any() else {}
        for i in worlds:
            self.steps[i].append({role: array[i] for role, array in actions.items()})
            self.latency[i].append(int(charge[i]))
            self.digests[i].append(int(digests[i]))
            if over[i]:
                self.metrics[i] = {name: float(value[i]) for name, value in metrics.items()}

    def _refuse(self, world: int, actions: Any) -> None:
        shown = {role: array[world].tolist() for role, array in actions.items()}
        raise IllegalActionError(
            f"policy {self.policy.name!r} chose {shown} in step {len(self.steps[world])} of "
            f"workload {self.workloads[world].name!r} seed {self.workloads[world].seed}: the "
            "action mask forbids it"
        )

    def _record(self, i: int) -> EpisodeRecord:
        workload = self.workloads[i]
        actions = {
            role: np.stack([step[role] for step in self.steps[i]]) for role in self.steps[i][0]
        }
        return EpisodeRecord(
            id=self.family.id,
            scenario=self.simulator.scenario.as_dict(),
            workload=workload.name,
            workload_seed=workload.seed,
            workload_sha256=workload.digest,
            policy=self.policy.name,
            information=self.policy.information,
            decision_latency=self.decision_latency,
            actions=actions,
            latency_ns=np.array(self.latency[i], np.int64),
            digests=np.array(self.digests[i], np.uint64),
            metrics=self.metrics[i],
            decision_time_s=float(self.seconds[i]),
            version=__version__,
        )
