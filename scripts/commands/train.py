"""``fleetgym train CONFIG``."""

from pathlib import Path
from typing import Annotated

import typer


def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="TOML file of the run.")],
    folder: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Of the run; runs/NAME-OF-CONFIG by default."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the run's last checkpoint.")
    ] = False,
    ray_address: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Of a Ray cluster that RLlib's runs join.")
    ] = "",
) -> None:
    """Train an agent as a configuration says; a run that was cut off resumes."""
    from fleetgym.scripts.console import say, stages
    from fleetgym.scripts.train import train as run

    with stages() as report:
        where = folder or Path("runs") / config.stem
        weights = run(config, where, resume=resume, report=report, ray_address=ray_address)
    say(f"wrote {weights}")
