"""``fleetgym bench FAMILY``."""

from pathlib import Path
from typing import Annotated

import typer


def bench(
    family: Annotated[str, typer.Argument(metavar="FAMILY", help="Environment.")],
    quick: Annotated[
        bool, typer.Option("--quick", help="One short repeat of each: does it work?")
    ] = False,
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the figures as JSON.")
    ] = None,
) -> None:
    """Measure speed and memory on this machine, beside what a peer was measured at."""
    from importlib import import_module
    from importlib.util import find_spec

    from fleetgym.envs.core.registration import family_of
    from fleetgym.scripts.console import table
    from fleetgym.scripts.errors import CommandError
    from fleetgym.scripts.files import write_json

    folder = family_of(family).folder
    module = f"fleetgym.scripts.bench.{folder}"
    if find_spec(module) is None:
        raise CommandError(f"{family}: no benchmark of {folder} (scripts/bench/{folder}.py)")
    figures = import_module(module).measure(quick)
    if json:
        write_json(json, [figure.as_json() for figure in figures])
    table(
        ("what", "value", "unit", "peer", "peer's value"),
        [(f.name, f"{f.value:,.4g}", f.unit, f.peer, f.peer_text()) for f in figures],
    )
