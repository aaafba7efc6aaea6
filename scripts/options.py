"""Arguments of commands that have a form of their own."""

import tomllib
from collections.abc import Iterable
from typing import Any

from fleetgym.scripts.errors import CommandError


def parse_seeds(text: str) -> range:
    """Seeds from ``A:B`` (A to B - 1) or a single number.

    Raises:
        CommandError: it is neither, or holds no seed.
    """
    first, colon, last = text.partition(":")
    try:
        start = int(first)
        seeds = range(start, int(last) if colon else start + 1)
    except ValueError:
        seeds = range(0)
    if not seeds or seeds.start < 0:
        raise CommandError(f"--seeds {text!r}: it must be A:B with 0 <= A < B, or one number")
    return seeds


def parse_overrides(settings: Iterable[str]) -> dict[str, Any]:
    """Scenario fields from ``FIELD=VALUE``: a TOML value, or else a plain text.

    Raises:
        CommandError: one has no ``=``, or names a field twice.
    """
    values: dict[str, Any] = {}
    for setting in settings:
        field, equals, text = setting.partition("=")
        field = field.strip()
        if not equals or not field or field in values:
            why = "is set twice" if field in values else "it must be FIELD=VALUE"
            raise CommandError(f"--set {setting!r}: {why}")
        values[field] = _value(text.strip())
    return values


def _value(text: str) -> Any:
    try:
        table = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return table["value"] if set(table) == {"value"} else text
