"""Playing a record again: the published score is what the replay says."""

from typing import Any

import numpy as np

from fleetgym.envs.core.episode import EpisodeRecord
from fleetgym.envs.core.errors import RecordError
from fleetgym.envs.core.latency import DecisionLatency
from fleetgym.envs.core.registration import family_of
from fleetgym.envs.core.simulator import Simulator
from fleetgym.envs.core.status import ILLEGAL
from fleetgym.envs.core.workload import WorkloadSource


def replay(record: EpisodeRecord, *, workload: WorkloadSource | None = None) -> dict[str, float]:
    """Replays a record and returns the metrics of the replay.

    Args:
        record: what to replay.
        workload: the source, where it was a user's own object and cannot be found by name.

    Raises:
        RecordError: the workload is another, an action does not fit or is illegal, a latency is
            not the model's, the episode ends early or late, or a digest differs: the message
            names the first such step.
        TraceError: the trace is not here.
        ScenarioError: the scenario's fields are not known to this version.
    """
    simulator = _prepared(record, workload)
    where = str(record.path or "record")
    latency = DecisionLatency.parse(record.decision_latency)
    _compare(where, 0, simulator, record)
    steps = len(record.latency_ns)
    for k in range(steps):
        due, spent = int(latency.charge(simulator.decision_starts(), 0)[0]), record.latency_ns[k]
        if latency.kind != "measured" and spent != due:
            raise RecordError(
                f"{where}: step {k}: latency of {spent} ns, {record.decision_latency!r} takes {due}"
            )
        actions = {role: array[k][None] for role, array in record.actions.items()}
        if spent:
            simulator.elapse(record.latency_ns[k : k + 1])
        result = simulator.step(actions)
        if (result.status == ILLEGAL).any():
            shown = {role: array[k].tolist() for role, array in record.actions.items()}
            raise RecordError(f"{where}: step {k}: action {shown} is illegal")
        over = bool(result.terminated[0] or result.truncated[0])
        if over != (k == steps - 1):
            raise RecordError(
                f"{where}: step {k}: the episode is {'over' if over else 'not over'} in the "
                f"replay, the record has {steps} steps"
            )
        _compare(where, k + 1, simulator, record)
    return {name: float(value[0]) for name, value in simulator.metrics().items()}


def verify(record: EpisodeRecord, *, workload: WorkloadSource | None = None) -> dict[str, float]:
    """Replays a record and holds its metrics against the replay's; returns the replay's.

    Raises:
        RecordError: as `replay`, or a metric differs; the message names it and both values.
    """
    metrics = replay(record, workload=workload)
    where = str(record.path or "record")
    if sorted(metrics) != sorted(record.metrics):
        odd = sorted(set(metrics) ^ set(record.metrics))
        raise RecordError(f"{where}: metric {odd[0]!r} is not in both the record and the replay")
    for name, value in metrics.items():
        if record.metrics[name] != value:
            raise RecordError(
                f"{where}: metric {name!r} is {record.metrics[name]!r} in the record and "
                f"{value!r} in the replay"
            )
    return metrics


def _prepared(record: EpisodeRecord, workload: WorkloadSource | None) -> Simulator:
    fields: dict[str, Any] = dict(record.scenario)
    where = str(record.path or "record")
    family = family_of(record.id)
    if family.id != record.id:
        raise RecordError(f"{where}: {record.id!r} is not {family.id!r}: another version")
    scenario = family.scenario(str(fields.pop("name", "")), fields)
    source = workload or family.workloads(scenario)
    drawn = source.draw(record.workload_seed)
    if drawn.name != record.workload:
        raise RecordError(
            f"{where}: workload {record.workload!r}, the scenario's is {drawn.name!r}"
        )
    if drawn.digest != record.workload_sha256:
        raise RecordError(
            f"{where}: workload {record.workload!r} seed {record.workload_seed} has SHA-256 "
            f"{drawn.digest}, the record {record.workload_sha256}"
        )
    simulator = family.simulate(scenario, source, 1)
    for name, role in simulator.roles.items():
        shape = (len(record.latency_ns), len(role.agents), *(role.action_space.shape or ()))
        given = record.actions.get(name)
        if given is None or given.shape != shape:
            seen = None if given is None else given.shape
            raise RecordError(f"{where}: actions of role {name!r} have shape {seen}, not {shape}")
    simulator.reset([drawn])
    return simulator


def _compare(where: str, step: int, simulator: Simulator, record: EpisodeRecord) -> None:
    seen = simulator.digest()[0]
    if np.uint64(seen) != record.digests[step]:
        what = "after reset" if step == 0 else f"after step {step - 1}"
        raise RecordError(
            f"{where}: the state {what} has digest {int(seen):016x}, "
            f"the record {int(record.digests[step]):016x}"
        )
