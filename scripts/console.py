"""What the commands say: bars and tables on a terminal, plain lines in a pipe."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import TaskID

Advance = Callable[[str], None]
Row = Sequence[object]


def say(text: str = "") -> None:
    """A line of the answer, on standard output."""
    print(text, flush=True)


def note(text: str) -> None:
    """A line about the work, on standard error."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def bar(total: int, label: str) -> Iterator[Advance]:
    """A progress bar on a terminal, nothing in a pipe.

    Args:
        total: steps of the work.
        label: what is being done, until a step says otherwise.

    Yields:
        A function to call after each step, with what to show beside the bar.
    """
    if not sys.stderr.isatty():
        yield lambda text: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task(label, total=total)
        yield lambda text: progress.update(task, advance=1, description=text)


@contextmanager
def download(label: str) -> Iterator[Callable[[int, int], None]]:
    """A bar of bytes on a terminal, nothing in a pipe.

    Yields:
        A function to call with the bytes so far and the bytes in all (0: unknown).
    """
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

    columns = ("{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(label, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total or None)


@contextmanager
def stages() -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each stage of a long work on a terminal; in a pipe a line at each tenth.

    Yields:
        A function to call with the stage's name, how far it is, and of how much.
    """
    if not sys.stderr.isatty():
        noted: dict[str, int] = {}

        def line(what: str, done: int, total: int) -> None:
            tenth = 10 * done // max(total, 1)
            if noted.get(what) != tenth:
                noted[what] = tenth
                note(f"{what}: {done} of {total}")

        yield line
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
        tasks: dict[str, TaskID] = {}

        def update(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done, total=total)

        yield update


def table(headers: Sequence[str], rows: Sequence[Row]) -> None:
    """A table with rules on a terminal, aligned columns in a pipe."""
    cells = [[str(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for line in aligned([list(headers), *cells]):
            say(line)
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    drawn = Table(*headers)
    for row in cells:
        drawn.add_row(*map(escape, row))
    Console().print(drawn)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines whose columns begin at the same place."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        lines.append("  ".join(padded).rstrip())
    return lines
