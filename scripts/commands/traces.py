"""``fleetgym traces list|fetch|stats|generate|convert``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fleetgym.traces.schema import Fleet

app = typer.Typer(no_args_is_help=True, help="Public traces: list, fetch, look into, make.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="Trace; see `fleetgym traces list`.")]
NameOrFile = Annotated[
    str, typer.Argument(metavar="NAME-OR-FILE", help="Trace, or a .json, .json.gz or .npz file.")
]
Out = Annotated[Path, typer.Argument(metavar="OUT.npz", help="File to write.")]
Seed = Annotated[int, typer.Option(min=0, help="Of everything drawn.")]


@app.command("list")
def list_() -> None:
    """List the traces, and where each is on this machine."""
    from fleetgym.scripts.console import table
    from fleetgym.traces import catalog
    from fleetgym.traces.errors import TraceError

    rows = []
    for name, entry in catalog.entries().items():
        try:
            place = str(catalog.find(name))
        except TraceError:
            place = "not here"
        size = f"{entry.bytes / 1e6:.2f} MB" if entry.bytes else "unknown"
        rows.append((name, size, entry.licence, place, entry.about))
    table(("trace", "size", "licence", "where", "what"), rows)


@app.command()
def fetch(
    name: Name,
    url: Annotated[str | None, typer.Option(help="A mirror.")] = None,
    sha256: Annotated[
        str | None, typer.Option(metavar="HEX", help="Where none was published, or 'unverified'.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Download it even if it is here.")] = False,
) -> None:
    """Download a trace; what broke off is resumed, what is wrong is refused."""
    from fleetgym.scripts.console import download, say
    from fleetgym.traces import catalog
    from fleetgym.traces.cache import fetch as get

    entry = catalog.entry(name)
    with download(name) as progress:
        path = get(name, url=url, sha256=sha256, force=force, progress=progress)
    say(f"{path}\nlicence: {entry.licence}\nplease cite: {entry.citation}")


@app.command()
def stats(
    trace: NameOrFile,
    core: Annotated[
        int, typer.Option(min=1, help="Units of the trace's cores in a core: 1000 for millicores.")
    ] = 1,
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the figures as JSON.")
    ] = None,
) -> None:
    """Say how large, how full and how fragmented a trace's fleet is."""
    from fleetgym.scripts.console import say, table
    from fleetgym.scripts.files import write_json
    from fleetgym.traces import catalog
    from fleetgym.traces.stats import stats as figures_of

    figures = figures_of(catalog.load(trace), core=core)
    if json:
        write_json(json, figures)
    types = figures.pop("vm_types")
    shown = {k: f"{v:.4f}" if isinstance(v, float) else v for k, v in figures.items()}
    table(("figure", "value"), list(shown.items()))
    if isinstance(types, dict):
        say()
        table(("VM type (cores/GiBxNODES)", "VMs"), list(types.items())[:20])


@app.command()
def generate(
    out: Out,
    seed: Seed = 0,
    pms: Annotated[int, typer.Option(min=1, help="Machines.")] = 279,
    racks: Annotated[int, typer.Option(min=1, help="Racks.")] = 10,
    low: Annotated[float, typer.Option(min=0, max=1, help="Least CPU utilisation.")] = 0.82,
    high: Annotated[float, typer.Option(min=0, max=1, help="Greatest CPU utilisation.")] = 0.94,
    groups: Annotated[int, typer.Option(min=0, help="Anti-affinity groups.")] = 0,
) -> None:
    """Make a fleet of the real VM types, filled by best fit and churned."""
    from fleetgym.traces.generators.vm_fleet import matched

    _write(
        matched(num_pms=pms, racks=racks, seed=seed, utilisation=(low, high), groups=groups), out
    )


@app.command()
def convert(
    trace: NameOrFile,
    out: Out,
    seed: Seed = 0,
    departures: Annotated[
        int | None, typer.Option(min=0, help="Churn: VMs that leave and are replaced.")
    ] = None,
    utilisation: Annotated[
        float, typer.Option(min=0, max=1, help="CPU utilisation after that churn.")
    ] = 0.9,
) -> None:
    """Write a trace's fleet as .npz, churned if wished; play it with --workload FILE."""
    from fleetgym.traces import catalog
    from fleetgym.traces.generators.vm_fleet import churned

    fleet = catalog.load(trace, seed=seed)
    if departures is not None:
        fleet = churned(fleet, departures=departures, utilisation=utilisation, seed=seed)
    _write(fleet, out)


def _write(fleet: "Fleet", out: Path) -> None:
    from fleetgym.scripts.console import say
    from fleetgym.scripts.errors import CommandError
    from fleetgym.traces.npz import fleet_to_npz
    from fleetgym.traces.stats import fragment_rate

    if out.suffix != ".npz":
        raise CommandError(f"{str(out)!r}: it must end in .npz")
    fleet_to_npz(fleet, out)
    say(f"wrote {out}: {fleet.num_pms} PMs, {fleet.num_vms} VMs, FR16 {fragment_rate(fleet):.4f}")
