"""``fleetgym traces list|fetch|stats|generate|convert``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fleetgym.traces.schema import Fleet
    from fleetgym.traces.schema_mec import TaskGraph
    from fleetgym.traces.schema_serving import ServingTrace

app = typer.Typer(no_args_is_help=True, help="Public traces: list, fetch, look into, make.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="Trace; see `fleetgym traces list`.")]
NameOrFile = Annotated[
    str,
    typer.Argument(
        metavar="NAME-OR-FILE",
        help="Trace, or its file: .json, .csv or .jsonl (all also .gz), .npz.",
    ),
]
Out = Annotated[Path, typer.Argument(metavar="OUT.npz", help="File to write.")]
Seed = Annotated[int, typer.Option(min=0, help="Of everything drawn.")]
_FLEETS, _SERVING = "A fleet", "LLM requests"  # panels of the help of `generate`


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
    context: typer.Context,
    trace: NameOrFile,
    core: Annotated[
        int, typer.Option(min=1, help="Units of the trace's cores in a core: 1000 for millicores.")
    ] = 1,
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the figures as JSON.")
    ] = None,
) -> None:
    """Say how large, full and fragmented a fleet is; how many LLM requests come, and how long.

    Or of what shape task graphs are, and how edge servers are joined.
    """
    from fleetgym.scripts.console import say, table
    from fleetgym.scripts.files import write_json
    from fleetgym.traces import catalog, catalog_mec

    figures: dict[str, object]
    if catalog_mec.holds_graphs(trace) or catalog_mec.holds_network(trace):
        from fleetgym.traces import stats_graphs

        _leave_out(context, ("core",), "with task graphs and networks")
        if catalog_mec.holds_network(trace):
            figures = stats_graphs.network_stats(catalog_mec.load_network(trace))
        else:
            figures = stats_graphs.stats(trace, catalog_mec.load_graphs(trace))
    elif catalog.holds_requests(trace):
        from fleetgym.traces.stats_serving import stats as figures_of_requests

        _leave_out(context, ("core",), "with LLM requests")
        figures = figures_of_requests(catalog.load_serving(trace))
    else:
        from fleetgym.traces.stats import stats as figures_of

        figures = figures_of(catalog.load(trace), core=core)
    if json:
        write_json(json, figures)
    types = figures.pop("vm_types", None)
    shown = {k: f"{v:.4f}" if isinstance(v, float) else v for k, v in figures.items()}
    table(("figure", "value"), list(shown.items()))
    if isinstance(types, dict):
        say()
        table(("VM type (cores/GiBxNODES)", "VMs"), list(types.items())[:20])


@app.command()
def generate(
    context: typer.Context,
    out: Out,
    seed: Seed = 0,
    pms: Annotated[int, typer.Option(min=1, help="Machines.", rich_help_panel=_FLEETS)] = 279,
    racks: Annotated[int, typer.Option(min=1, help="Racks.", rich_help_panel=_FLEETS)] = 10,
    low: Annotated[
        float,
        typer.Option(min=0, max=1, help="Least CPU utilisation.", rich_help_panel=_FLEETS),
    ] = 0.82,
    high: Annotated[
        float,
        typer.Option(min=0, max=1, help="Greatest CPU utilisation.", rich_help_panel=_FLEETS),
    ] = 0.94,
    groups: Annotated[
        int, typer.Option(min=0, help="Anti-affinity groups.", rich_help_panel=_FLEETS)
    ] = 0,
    serving: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Make LLM requests: azure-conv-like, agents, ...",
            rich_help_panel=_SERVING,
        ),
    ] = None,
    count: Annotated[
        int, typer.Option(min=1, help="Requests, or programs of agents.", rich_help_panel=_SERVING)
    ] = 1000,
    clients: Annotated[
        int, typer.Option(min=1, help="Clients they are from.", rich_help_panel=_SERVING)
    ] = 1,
    skew: Annotated[
        float, typer.Option(min=0, help="Zipf exponent of the clients.", rich_help_panel=_SERVING)
    ] = 1.0,
) -> None:
    """Make a fleet of the real VM types, filled and churned; or, with --serving, LLM requests."""
    if serving is None:
        from fleetgym.traces.generators.vm_fleet import matched

        _leave_out(context, ("count", "clients", "skew"), "without --serving")
        cpu = (low, high)
        _write(matched(num_pms=pms, racks=racks, seed=seed, utilisation=cpu, groups=groups), out)
        return
    import numpy as np

    from fleetgym.traces.generators.named_serving import synthesise
    from fleetgym.traces.generators.serving import with_clients

    _leave_out(context, ("pms", "racks", "low", "high", "groups"), "with --serving")
    rng = np.random.default_rng(seed)
    made = synthesise(serving, count=count, seed=rng)
    _write_requests(with_clients(made, clients, skew, rng), out)


@app.command()
def convert(
    context: typer.Context,
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
    """Write a trace as .npz, a fleet churned if wished; play it with --workload FILE."""
    from fleetgym.traces import catalog, catalog_mec
    from fleetgym.traces.generators.vm_fleet import churned

    if catalog_mec.holds_graphs(trace):
        _leave_out(context, ("departures", "utilisation"), "with task graphs")
        _write_graphs(catalog_mec.load_graphs(trace, seed=seed), out)
        return
    if catalog.holds_requests(trace):
        _leave_out(context, ("seed", "departures", "utilisation"), "with LLM requests")
        _write_requests(catalog.load_serving(trace), out)
        return
    fleet = catalog.load(trace, seed=seed)
    if departures is not None:
        fleet = churned(fleet, departures=departures, utilisation=utilisation, seed=seed)
    _write(fleet, out)


def _leave_out(context: typer.Context, options: tuple[str, ...], why: str) -> None:
    """Refuses options that would have no effect."""
    from fleetgym.scripts.errors import CommandError

    for option in options:
        source = context.get_parameter_source(option)
        if source is not None and source.name == "COMMANDLINE":
            raise CommandError(f"--{option} has no effect {why}; leave it out")


def _write(fleet: "Fleet", out: Path) -> None:
    from fleetgym.scripts.console import say
    from fleetgym.traces.npz import fleet_to_npz
    from fleetgym.traces.stats import fragment_rate

    fleet_to_npz(fleet, _npz(out))
    say(f"wrote {out}: {fleet.num_pms} PMs, {fleet.num_vms} VMs, FR16 {fragment_rate(fleet):.4f}")


def _write_requests(trace: "ServingTrace", out: Path) -> None:
    from fleetgym.scripts.console import say
    from fleetgym.traces.npz_serving import serving_to_npz

    serving_to_npz(trace, _npz(out))
    say(f"wrote {out}: {len(trace)} requests, {trace.num_arrivals} of which arrive by themselves")


def _write_graphs(graphs: "tuple[TaskGraph, ...]", out: Path) -> None:
    from fleetgym.scripts.console import say
    from fleetgym.traces.npz_graphs import graphs_to_npz

    graphs_to_npz(graphs, _npz(out))
    tasks = sum(graph.num_tasks for graph in graphs)
    say(f"wrote {out}: {len(graphs)} task graphs, {tasks} tasks")


def _npz(out: Path) -> Path:
    from fleetgym.scripts.errors import CommandError

    if out.suffix != ".npz":
        raise CommandError(f"{str(out)!r}: it must end in .npz")
    return out
