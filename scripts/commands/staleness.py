"""``fleetgym staleness``."""

from pathlib import Path
from typing import Annotated

import typer


def staleness(
    planner: Annotated[str, typer.Option(metavar="NAME", help="Who plans.")] = "exact",
    seconds: Annotated[float, typer.Option(min=0, help="Its budget for a plan.")] = 10.0,
    workloads: Annotated[int, typer.Option(min=1, help="Test workloads.")] = 10,
    scenario: Annotated[str, typer.Option(metavar="NAME")] = "medium-dynamic",
    workload: Annotated[
        str | None, typer.Option(metavar="NAME-OR-FILE", help="The churned real Medium if here.")
    ] = None,
    churn: Annotated[float, typer.Option(min=0, help="Share of VMs that leaves a minute.")] = 0.01,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the figures.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE.svg", help="Draw the curve.")] = None,
) -> None:
    """Measure what a VM rescheduling plan is still worth when it arrives late."""
    from fleetgym.scripts.console import bar, say, table
    from fleetgym.scripts.files import write, write_json
    from fleetgym.scripts.staleness import measure, plot

    with bar(workloads, planner) as advance:
        curve = measure(
            planner,
            seconds,
            workloads,
            scenario=scenario,
            workload=workload,
            churn_per_min=churn,
            progress=advance,
        )
    say(
        f"{curve.planner} on {curve.workload}, {curve.workloads} workloads, "
        f"churn {curve.churn_per_min:.1%} of the VMs a minute"
    )
    rows = [
        (
            f"{point.delay_s:g}",
            f"{point.kept.value:.3f} [{point.kept.low:.3f}, {point.kept.high:.3f}]",
            f"{point.dropped:.3f}",
        )
        for point in curve.points
    ]
    table(("delay (s)", "share of the gain kept [95%]", "moves dropped"), rows)
    if json:
        write_json(json, curve.as_json())
    if out:
        say(f"wrote {write(out, plot(curve))}")
