"""CSV tables with known columns, whole numbers in range, and errors that name file and row."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fleetgym.traces.errors import TraceError
from fleetgym.traces.reading import read_bytes


def read_csv(path: str | Path, columns: Mapping[str, type[pl.DataType]]) -> pl.DataFrame:
    """Those columns of a CSV file with a header line, gzip or not; others are not read.

    Args:
        path: of the file.
        columns: name and type of each.

    Raises:
        TraceError: not found, cut off, not CSV, a column missing, or a value of another type.
    """
    content = read_bytes(path)
    try:
        table = pl.read_csv(content, schema_overrides=dict(columns))
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        first = str(error).splitlines()[0]
        raise TraceError(f"{path}: not the CSV expected ({first})") from error
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise TraceError(f"{path}: columns {missing} are missing; it has {table.columns}")
    return table.select(list(columns))


def check_range(
    path: str | Path, table: pl.DataFrame, column: str, low: float, high: float, null: bool = False
) -> None:
    """Checks that all values of a column are there and from ``low`` to ``high``.

    Raises:
        TraceError: one is not, or is missing without ``null``; the message names its line.
    """
    values = table[column]
    good = values.is_between(low, high).fill_null(null)
    if values.dtype.is_float():
        good &= values.is_finite().fill_null(null)
    refuse(path, table, ~good.to_numpy(), f"{column} must be from {low:g} to {high:g}")


def refuse(path: str | Path, table: pl.DataFrame, wrong: NDArray[np.bool_], what: str) -> None:
    """Raises a TraceError for the first row that is wrong, if any."""
    if wrong.any():
        row = int(np.argmax(wrong))
        raise TraceError(f"{path}: line {row + 2}: {what}; got {table.row(row, named=True)}")
