"""``fleetgym evaluate ID``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fleetgym.scripts.commands.environments import EnvId

if TYPE_CHECKING:
    from fleetgym.envs.core.episode import EpisodeRecord

Scenario = Annotated[str, typer.Option(metavar="NAME", help="Scenario; see `fleetgym info ID`.")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="FIELD=VALUE", help="Replace a scenario field (again and again)."
    ),
]
Workload = Annotated[
    str | None, typer.Option(metavar="NAME-OR-FILE", help="Workload, in place of the scenario's.")
]
PolicyName = Annotated[
    str, typer.Option(metavar="NAME-OR-module:attr", help="A named policy, or your own.")
]
Budget = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", min=0, help="Decision time of a named policy's episode."),
]
Latency = Annotated[
    str, typer.Option(metavar="none|fixed:SECONDS|measured", help="What thinking costs.")
]


def evaluate(
    id: EnvId,
    policy: PolicyName,
    scenario: Scenario = "small",
    settings: Settings = None,
    workload: Workload = None,
    seeds: Annotated[str, typer.Option(metavar="A:B", help="Workload seeds A to B - 1.")] = "0:10",
    decision_latency: Latency = "none",
    budget: Budget = None,
    worlds: Annotated[int, typer.Option(min=1, metavar="N", help="Stepped side by side.")] = 1,
    records: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write each episode's record here.")
    ] = None,
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the metrics as JSON.")
    ] = None,
) -> None:
    """Play a policy on a scenario's test workloads and print its metrics.

    Your own policy is a class, an instance or a function that makes one, with ``name``,
    ``information`` ("online" or "clairvoyant"), ``reset(view, worlds)`` and ``act(view)``.
    """
    from fleetgym.envs.core.registration import family_of
    from fleetgym.scripts.console import bar, say
    from fleetgym.scripts.files import write_json
    from fleetgym.scripts.leaderboard.evaluate import evaluate as play
    from fleetgym.scripts.options import parse_overrides, parse_seeds
    from fleetgym.scripts.policies import make_policy

    family, wanted = family_of(id), parse_seeds(seeds)
    overrides = parse_overrides(settings or ())
    if workload is None:
        workload = overrides.pop("workload", None)
    player = make_policy(family, policy, budget)
    with bar(len(wanted), player.name) as advance:
        played = play(
            player,
            family.id,
            scenario,
            wanted,
            workload=workload,
            decision_latency=decision_latency,
            num_worlds=worlds,
            progress=lambda record: advance(f"{player.name}, seed {record.workload_seed}"),
            **overrides,
        )
    if records:
        for record in played:
            record.write(records / f"{record.policy}-{record.workload_seed}.npz")
    if json:
        write_json(json, [_as_json(record) for record in played])
    say(f"{family.id} {scenario}, {played[0].workload}: {player.name}, {len(played)} episodes")
    _show(played)


def _as_json(record: "EpisodeRecord") -> dict[str, Any]:
    return {
        "id": record.id,
        "scenario": record.scenario["name"],
        "workload": record.workload,
        "seed": record.workload_seed,
        "policy": record.policy,
        "metrics": dict(record.metrics),
        "decision_time_s": record.decision_time_s,
    }


def _show(played: "list[EpisodeRecord]") -> None:
    from fleetgym.scripts.console import table

    columns = {name: [record.metrics[name] for record in played] for name in played[0].metrics}
    columns["decision_time_s"] = [record.decision_time_s for record in played]
    rows = [
        (name, *(f"{value:.6g}" for value in (sum(of) / len(of), min(of), max(of))))
        for name, of in columns.items()
    ]
    table(("metric", "mean", "least", "most"), rows)
