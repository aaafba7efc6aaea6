"""The command line: ``fleetgym``, or ``python -m fleetgym``.

Exit codes: 0, 1 for a `FleetGymError` (one line on standard error), 2 for a wrong usage.
"""

import sys

import typer

from fleetgym._version import __version__
from fleetgym.scripts.commands import leaderboard, traces
from fleetgym.scripts.commands.bench import bench
from fleetgym.scripts.commands.environments import envs, info
from fleetgym.scripts.commands.evaluate import evaluate
from fleetgym.scripts.commands.render import render
from fleetgym.scripts.commands.staleness import staleness
from fleetgym.scripts.commands.train import train
from fleetgym.traces.errors import FleetGymError

app = typer.Typer(
    name="fleetgym",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Simulated hardware fleets, policies to schedule them, and a leaderboard that replays.",
)
for command in (envs, info, evaluate, train, render, bench, staleness):
    app.command()(command)
app.add_typer(leaderboard.app, name="leaderboard")
app.add_typer(traces.app, name="traces")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"fleetgym {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", is_eager=True, callback=_version, help="Show the version and exit."
    ),
) -> None:
    """What holds for every command."""


def main() -> None:
    """Runs a command; what a user did wrong is one clear line, not a traceback."""
    try:
        app(prog_name="fleetgym")
    except FleetGymError as error:
        print(f"fleetgym: {error}", file=sys.stderr)
        raise SystemExit(1) from None
