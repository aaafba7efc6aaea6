"""The root of every error a user can meet, and the hint that names the nearest valid spelling."""

from collections.abc import Iterable
from difflib import get_close_matches


class FleetGymError(Exception):
    """Root of all errors of the package: the message says what, where, and what to do."""


class TraceError(FleetGymError):
    """A trace that cannot be found, read, or believed."""


def nearest(word: str, choices: Iterable[str]) -> str:
    """Says which of ``choices`` was probably meant, or lists them all.

    Args:
        word: what the user wrote.
        choices: what would have been valid.
    """
    valid = sorted(choices)
    close = get_close_matches(word, valid, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"valid: {', '.join(valid) or 'none'}"
