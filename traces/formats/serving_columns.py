"""What the readers of serving traces share: columns parsed in a stream, faults named exactly.

Every cell of a CSV file is read as text and parsed here, so that a fault is named by its line and
column; polars does both in one pass that never holds the text of the whole file, and takes mixed
line ends. Rows then become requests by the same rules for every format.
"""

from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from fleetgym.traces.errors import TraceError
from fleetgym.traces.reading import GZIP_MAGIC, read_bytes
from fleetgym.traces.report import ReadReport
from fleetgym.traces.schema import MAX_SIZE
from fleetgym.traces.schema_serving import TICK_NS, Int64, ServingTrace

MAX_S = 10**8  # seconds of a trace: beyond three years a float no longer tells microseconds apart
# Part of a tick by which a time in binary may fall short of the decimal one it was written as.
_BINARY = 0.02


class Kind(NamedTuple):
    """What the cells of a column hold."""

    parse: Callable[[pl.Expr], pl.Expr]  # of text, to Int64, null where it is wrong
    expected: str


def _within(values: pl.Expr, low: float, high: float) -> pl.Expr:
    return pl.when(values.is_between(low, high)).then(values)


def _tokens(text: pl.Expr) -> pl.Expr:
    return _within(text.cast(pl.Int64, strict=False), 0, MAX_SIZE)


def _seconds(text: pl.Expr) -> pl.Expr:
    """Nanoseconds, in whole ticks, of decimal seconds."""
    seconds = _within(text.cast(pl.Float64, strict=False), 0, MAX_S)
    return (seconds * (1e9 / TICK_NS) + _BINARY).floor().cast(pl.Int64) * TICK_NS


def _instant(text: pl.Expr) -> pl.Expr:
    """Nanoseconds since 1970, of a date and time without a time zone, or with one (in UTC then)."""
    forms = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f%:z")
    return pl.coalesce(
        text.str.to_datetime(form, time_unit="ns", strict=False).cast(pl.Int64) for form in forms
    )


TOKENS = Kind(_tokens, f"a whole number of tokens from 0 to {MAX_SIZE}")
SECONDS = Kind(_seconds, f"a number of seconds from 0 to {MAX_S}")
INSTANT = Kind(_instant, "a time like 2023-11-16 18:15:46.6805900")


def source(path: str | Path) -> Path | BytesIO:
    """What polars can scan: the file itself, or its content where it is gzip.

    Raises:
        TraceError: not found, not readable, or the gzip data is cut off or over the limit.
    """
    path = Path(path)
    try:
        with path.open("rb") as raw:
            plain = raw.read(len(GZIP_MAGIC)) != GZIP_MAGIC
    except OSError:
        plain = False  # read_bytes says why
    return path if plain else BytesIO(read_bytes(path))


def header(path: str | Path) -> tuple[pl.LazyFrame, list[str]]:
    """The text of a CSV file, not read yet, and the names of its columns.

    Raises:
        TraceError: as `source`, or the file is empty or not CSV.
    """
    try:
        frame = pl.scan_csv(source(path), infer_schema=False)
        return frame, frame.collect_schema().names()
    except pl.exceptions.PolarsError as error:
        raise TraceError(f"{path}: not the CSV expected ({_first_line(error)})") from error


def read_columns(path: str | Path, kinds: Mapping[str, Kind]) -> dict[str, Int64]:
    """Those columns of a CSV file with a header line, gzip or not; others are not read.

    Args:
        path: of the file.
        kinds: what each column holds.

    Returns:
        Each column as ``(N,)``, times in nanoseconds.

    Raises:
        TraceError: as `header`, a column is missing, or a cell is not what it must be: the message
            names its line and column.
    """
    frame, names = header(path)
    if missing := [name for name in kinds if name not in names]:
        raise TraceError(f"{path}: columns {missing} are missing; it has {names}")
    parsed = [
        kind.parse(pl.col(name).str.strip_chars()).alias(name) for name, kind in kinds.items()
    ]
    try:
        table = frame.select(parsed).collect(engine="streaming")
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        raise TraceError(f"{path}: not the CSV expected ({_first_line(error)})") from error
    faults = [
        (int(table[name].is_null().arg_max() or 0), name)
        for name in kinds
        if table[name].null_count()
    ]
    if faults:
        row, name = min(faults)
        (cell,) = frame.select(name).slice(row, 1).collect()[name]
        raise TraceError(
            f"{path}: line {row + 2}: {name} is {cell!r}, expected {kinds[name].expected}"
        )
    return {name: table[name].to_numpy() for name in kinds}


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


class Requests(NamedTuple):
    """The rows of a file, as they stand there."""

    arrival_ns: Int64  # (R,) at least 0
    prompt_tokens: Int64  # (R,)
    output_tokens: Int64  # (R,)

    def serving(self, path: str | Path) -> tuple[ServingTrace, ReadReport, Int64]:
        """The trace of these rows, named after the file.

        Requests without a token in or out are dropped; the rest is sorted by arrival, requests of
        the same time in the order of the file; arrivals are truncated to whole ticks.

        Args:
            path: of the file.

        Returns:
            The trace, what was dropped and repaired, and the ``(N,)`` rows it took, in its order.

        Raises:
            TraceError: no request is left.
        """
        kept = np.flatnonzero((self.prompt_tokens > 0) & (self.output_tokens > 0))
        if not len(kept):
            raise TraceError(f"{path}: holds no request with tokens in and out")
        arrival = self.arrival_ns[kept]
        backwards = int((np.diff(arrival) < 0).sum())
        if backwards:
            kept = kept[np.argsort(arrival, kind="stable")]
        trace = ServingTrace.independent(
            Path(path).name.split(".")[0],
            self.arrival_ns[kept] // TICK_NS * TICK_NS,
            self.prompt_tokens[kept].astype(np.int32),
            self.output_tokens[kept].astype(np.int32),
        )
        empty = len(self.arrival_ns) - len(kept)
        dropped = (f"{empty} requests without a token in or out",) if empty else ()
        repaired = (f"{backwards} arrivals before the line above: sorted",) if backwards else ()
        return trace, ReadReport(str(path), (f"{len(trace)} requests",), dropped, repaired), kept
