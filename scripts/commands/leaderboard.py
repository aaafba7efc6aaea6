"""``fleetgym leaderboard run|verify|report DIR``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fleetgym.scripts.leaderboard.suite import Suite
    from fleetgym.scripts.leaderboard.verify import Entry

app = typer.Typer(no_args_is_help=True, help="Play, verify and publish the leaderboard.")

Board = Annotated[
    Path, typer.Argument(metavar="DIR", help="The leaderboard: a folder for each submission.")
]
SuiteFile = Annotated[
    Path | None,
    typer.Option("--suite", metavar="FILE", help="Suites to play; the quick suite by default."),
]


def _suites(path: Path | None) -> "list[Suite]":
    from fleetgym.scripts.leaderboard.suite import QUICK, load_suites

    return load_suites(path or QUICK)


@app.command()
def run(
    board: Board,
    suite: SuiteFile = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only these (again and again); module:attr is yours."),
    ] = None,
    processes: Annotated[
        int, typer.Option(min=1, help="Side by side; needs as many idle cores to time fairly.")
    ] = 1,
) -> None:
    """Play every policy on the suites; what is already there is not played again."""
    from fleetgym.scripts.leaderboard.run import run as play_all

    play_all(board, _suites(suite), policy or (), processes)


@app.command()
def verify(
    board: Board,
    suite: SuiteFile = None,
    bounds: Annotated[bool, typer.Option("--bounds", help="Prove the bounds again too.")] = False,
) -> None:
    """Replay every record, and say what differs. Exit code 1 if any does."""
    from fleetgym.scripts.console import note, say

    suites = _suites(suite)
    entries, failures = _replayed(board, suites)
    if bounds:
        from fleetgym.scripts.leaderboard.verify import recomputed_bounds

        failures += [str(error) for error in recomputed_bounds(board, suites) if error]
    for failure in failures:
        note(failure)
    say(f"{len(entries)} records replayed to the bit, {len(failures)} failures")
    if failures:
        raise typer.Exit(1)


@app.command()
def report(
    board: Board,
    suite: SuiteFile = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The page; DIR/report.html by default.")
    ] = None,
    readme: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also replace its block between the results markers."),
    ] = None,
    results: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the table's figures as JSON.")
    ] = None,
) -> None:
    """Replay every record, then write the HTML page and print the table."""
    from fleetgym.scripts.console import say, table
    from fleetgym.scripts.errors import LeaderboardError
    from fleetgym.scripts.files import write, write_json
    from fleetgym.scripts.leaderboard.bounds import Bounds
    from fleetgym.scripts.leaderboard.report import page
    from fleetgym.scripts.leaderboard.score import boards
    from fleetgym.scripts.leaderboard.table import caption, cells, headers, update_readme

    suites = _suites(suite)
    entries, failures = _replayed(board, suites)
    if failures:
        raise LeaderboardError(
            f"{len(failures)} records do not stand, the first: {failures[0]} "
            f"(`fleetgym leaderboard verify {board}` names all)"
        )
    kept = Bounds(board)
    found = boards(suites, entries, {s.name: kept.known(s.open()) for s in suites})
    for one in found:
        say(caption(one))
        table(headers(one), [cells(one, row) for row in one.rows])
    if results:
        write_json(results, [one.as_json() for one in found])
    if readme:
        update_readme(readme, found)
    say(f"wrote {write(out or board / 'report.html', page(found))}")


def _replayed(board: Path, suites: "list[Suite]") -> "tuple[list[Entry], list[str]]":
    """The entries of every good record, and what is wrong with the others."""
    from fleetgym.scripts.console import bar
    from fleetgym.scripts.leaderboard.verify import Entry, count, verified

    entries, failures = [], []
    with bar(count(board, suites), "replaying") as advance:
        for outcome in verified(board, suites):
            if isinstance(outcome, Entry):
                entries.append(outcome)
                advance(outcome.submission.policy)
            else:
                failures.append(str(outcome))
                advance("failed")
    return entries, failures
