"""What an optimal plan is worth when it arrives late, as VMR2L (EuroSys'25) asked.

A plan is made for the fleet as it is at time 0. The world goes on: VMs leave and arrive. After a
delay the plan is carried out; moves that have become illegal are dropped. Its worth is the fall of
the fragment rate at that moment, as a share of the fall it would have caused at time 0.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleetgym.baselines.vm_rescheduling import PLANNERS
from fleetgym.baselines.vm_rescheduling.planning import problem_of
from fleetgym.envs.core.errors import PolicyError
from fleetgym.envs.core.registration import Family, family_of
from fleetgym.envs.core.scenario import Scenario
from fleetgym.envs.core.view import View
from fleetgym.envs.core.workload import Workload, WorkloadSource
from fleetgym.envs.vm_rescheduling.simulator import VMReschedulingSimulator
from fleetgym.scripts.leaderboard.statistics import Estimate, interval, resampled
from fleetgym.traces.errors import TraceError, nearest

DELAYS_S = (1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_200.0, 1_800.0)
REAL, GENERATED = "bytedance-medium-churned", "matched"
RESAMPLES = 2_000

Float64 = NDArray[np.float64]
Moves = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Point:
    """The plan after one delay, over the workloads.

    Attributes:
        delay_s: seconds between plan and delivery.
        kept: share of the gain at time 0, mean with its 95% bootstrap interval.
        dropped: mean share of the moves that had become illegal.
    """

    delay_s: float
    kept: Estimate
    dropped: float

    def as_json(self) -> dict[str, Any]:
        """As ``--json`` writes it."""
        return asdict(self)


@dataclass(frozen=True)
class Curve:
    """How the worth of a planner's plans decays."""

    planner: str
    workload: str
    workloads: int
    churn_per_min: float
    points: tuple[Point, ...]

    def as_json(self) -> dict[str, Any]:
        """As ``--json`` writes it."""
        return asdict(self)


def measure(
    planner: str,
    seconds: float,
    workloads: int = 10,
    *,
    scenario: str = "medium-dynamic",
    workload: str | None = None,
    churn_per_min: float = 0.01,
    delays_s: Sequence[float] = DELAYS_S,
    progress: Callable[[str], None] = lambda text: None,
) -> Curve:
    """The decay over delays.

    Args:
        planner: name of one of the family's planners.
        seconds: its budget.
        workloads: how many test workloads.
        scenario: with its own limit on moves.
        workload: source; the churned real Medium where it is here, else the generator.
        churn_per_min: share of the VMs that leaves, and arrives, in a minute.
        delays_s: seconds.
        progress: called after each workload.

    Raises:
        PolicyError: there is no such planner.
        ScenarioError: unknown scenario, or a value out of range.
    """
    if planner not in PLANNERS:
        raise PolicyError(f"no planner {planner!r}: {nearest(planner, PLANNERS)}")
    family = family_of("vm-rescheduling")
    fields = {
        "split": "test",
        "action": "pair",
        "churn_per_min": churn_per_min,
        "horizon_s": 1.1 * max(delays_s) + 60,
    }
    resolved, source = _open(family, scenario, workload, fields)
    delays = np.round(np.array([0.0, *delays_s]) * 1e9).astype(np.int64)
    simulator = family.simulate(resolved, source, len(delays))
    assert isinstance(simulator, VMReschedulingSimulator)
    gains, dropped = [], []
    for seed in range(workloads):
        gain, lost = _deliver(simulator, source.draw(seed), planner, seconds, delays)
        if gain[0] > 0:
            gains.append(gain)
            dropped.append(lost)
        progress(f"{planner}, workload {seed}")
    kept = np.array([gain[1:] / gain[0] for gain in gains])
    means = np.mean(dropped, axis=0)[1:]
    points = tuple(
        Point(delay, _mean(kept[:, i]), float(means[i])) for i, delay in enumerate(delays_s)
    )
    return Curve(planner, source.name, len(gains), churn_per_min, points)


def _open(
    family: Family, scenario: str, workload: str | None, fields: dict[str, Any]
) -> tuple[Scenario, WorkloadSource]:
    try:
        resolved = family.scenario(scenario, {**fields, "workload": workload or REAL})
        return resolved, family.workloads(resolved)
    except TraceError:
        if workload is not None:
            raise
    resolved = family.scenario(scenario, {**fields, "workload": GENERATED})
    return resolved, family.workloads(resolved)


def _deliver(
    simulator: VMReschedulingSimulator,
    workload: Workload,
    planner: str,
    seconds: float,
    delays: NDArray[np.int64],
) -> tuple[Float64, Float64]:
    """Gain in fragment rate and share of dropped moves, for each delay, one world each."""
    simulator.reset([workload] * len(delays))
    problem, vms = problem_of(View(simulator), 0)
    planned = PLANNERS[planner](problem, seconds, 0)
    moves = [(int(vms[vm]), int(slot)) for vm, slot in planned]
    simulator.elapse(delays)
    before = simulator.metrics()["fragment_rate"]
    lost = np.array([_carry_out(simulator, world, moves) for world in range(len(delays))])
    return before - simulator.metrics()["fragment_rate"], lost / max(len(moves), 1)


def _carry_out(simulator: VMReschedulingSimulator, world: int, moves: Moves) -> int:
    """Makes the moves that are still legal; returns how many are not."""
    active = np.arange(simulator.num_worlds) == world
    actions = np.zeros((simulator.num_worlds, 1, 2), np.int64)
    dropped = 0
    for vm, slot in moves:
        if slot in simulator.legal_targets(world, vm):
            actions[world, 0] = vm, slot
            simulator.step({name: actions for name in simulator.roles}, active)
        else:
            dropped += 1
    return dropped


def _mean(values: Float64) -> Estimate:
    (drawn,) = resampled([values], np.random.default_rng(0), RESAMPLES)
    return Estimate(float(values.mean()), *interval(drawn.mean(axis=1)))


def plot(curve: Curve) -> str:
    """The curve as SVG text.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    from fleetgym.scripts.leaderboard.plots import INK, figure, svg

    drawn, axes = figure(3.6)
    delays = [point.delay_s for point in curve.points]
    axes.fill_between(
        delays,
        [point.kept.low for point in curve.points],
        [point.kept.high for point in curve.points],
        color=INK,
        alpha=0.2,
        lw=0,
    )
    axes.plot(delays, [point.kept.value for point in curve.points], "o-", color=INK)
    axes.set_xscale("log")
    axes.set_xlabel("delay between plan and delivery (s)")
    axes.set_ylabel("share of the gain kept")
    axes.set_title(
        f"{curve.planner} on {curve.workload}, churn {curve.churn_per_min:.1%} a minute", fontsize=9
    )
    axes.grid(alpha=0.3)
    return svg(drawn)
