"""Opening files that somebody else made: bounded, and every failure one clear error."""

import gzip
import json
import zlib
from pathlib import Path
from typing import NoReturn

from fleetgym.traces.errors import TraceError
from fleetgym.traces.schema import MAX_SIZE

MAX_BYTES = 1 << 30  # of a file once uncompressed: a gzip bomb stops here
GZIP_MAGIC = b"\x1f\x8b"


def read_bytes(path: str | Path, limit: int = MAX_BYTES) -> bytes:
    """The content of a file, uncompressed if it is gzip.

    Args:
        path: the file, with or without ``.gz``.
        limit: most bytes it may hold once uncompressed.

    Raises:
        TraceError: not found, not readable, cut off, corrupt, or over the limit.
    """
    path = Path(path)
    try:
        with path.open("rb") as raw:
            packed = raw.read(len(GZIP_MAGIC)) == GZIP_MAGIC
        with gzip.open(path) if packed else path.open("rb") as file:
            content = file.read(limit + 1)
    except FileNotFoundError:
        raise TraceError(
            f"{path}: no such file; `fleetgym traces list` names the traces that "
            "`fleetgym traces fetch NAME` downloads"
        ) from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise TraceError(
            f"{path}: the gzip data is cut off or corrupt ({error}); download the file again"
        ) from error
    except OSError as error:
        raise TraceError(f"{path}: cannot be read ({error.strerror or error})") from error
    if len(content) > limit:
        raise TraceError(f"{path}: holds more than {limit} bytes uncompressed; not read")
    return content


def read_json(path: str | Path, limit: int = MAX_BYTES) -> object:
    """The JSON document of a file (gzip or not).

    Raises:
        TraceError: as `read_bytes`, or the text is not JSON, or holds NaN or infinity.
    """

    def refuse(constant: str) -> NoReturn:
        raise TraceError(f"{path}: holds {constant}, which is not a JSON number")

    try:
        return json.loads(read_bytes(path, limit), parse_constant=refuse)
    except json.JSONDecodeError as error:
        raise TraceError(
            f"{path}: not JSON, or cut off, at line {error.lineno} column {error.colno} "
            f"({error.msg})"
        ) from error
    except (UnicodeDecodeError, RecursionError, ValueError) as error:
        raise TraceError(f"{path}: not JSON ({error})") from error


class Place:
    """A spot in a parsed document: takes values out of it, or says where they are wrong."""

    def __init__(self, value: object, where: str) -> None:
        self.value = value
        self.where = where

    def wrong(self, what: str) -> TraceError:
        """The error that ``what`` is wrong here."""
        return TraceError(f"{self.where}: {what}")

    def _expected(self, what: str) -> TraceError:
        return self.wrong(f"expected {what}, got {str(self.value)[:60]!r}")

    def has(self, key: str) -> bool:
        """Whether this is an object with the key, and its value is not null."""
        return isinstance(self.value, dict) and self.value.get(key) is not None

    def __getitem__(self, key: str) -> "Place":
        if not isinstance(self.value, dict):
            raise self._expected("an object")
        if key not in self.value:
            raise self.wrong(f"{key!r} is missing")
        return Place(self.value[key], f"{self.where}.{key}")

    def items(self) -> list["Place"]:
        """The entries of a list."""
        if not isinstance(self.value, list):
            raise self._expected("a list")
        return [Place(entry, f"{self.where}[{i}]") for i, entry in enumerate(self.value)]

    def text(self) -> str:
        """A string; whole numbers are taken as one, since ids are written both ways."""
        if isinstance(self.value, str):
            return self.value
        if isinstance(self.value, int) and not isinstance(self.value, bool):
            return str(self.value)
        raise self._expected("text")

    def flag(self) -> bool:
        """A boolean."""
        if not isinstance(self.value, bool):
            raise self._expected("true or false")
        return self.value

    def size(self) -> int:
        """A whole number from 0 to ``MAX_SIZE``."""
        value = self.value
        if isinstance(value, bool) or not isinstance(value, int | float) or value % 1 != 0:
            raise self._expected("a whole number")
        if not 0 <= value <= MAX_SIZE:
            raise self._expected(f"a number from 0 to {MAX_SIZE}")
        return int(value)
