"""GPUs by name: what a data sheet says of them."""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fleetgym.envs.core.errors import ScenarioError
from fleetgym.envs.core.tables import from_table
from fleetgym.traces.errors import nearest

_TOML = Path(__file__).with_name("devices.toml")


@dataclass(frozen=True)
class Device:
    """One GPU.

    Attributes:
        memory_bytes: of its own memory.
        memory_bandwidth_gb_s: of that memory, in 10^9 bytes a second.
    """

    memory_bytes: int
    memory_bandwidth_gb_s: float


@cache
def devices() -> dict[str, Device]:
    """Every GPU by name."""
    tables = tomllib.loads(_TOML.read_text(encoding="utf-8"))
    return {name: from_table(Device, table, f"GPU {name}") for name, table in tables.items()}


def device(name: str) -> Device:
    """The GPU of a name.

    Raises:
        ScenarioError: there is none; the message names the nearest.
    """
    if name not in devices():
        raise ScenarioError(f"unknown GPU {name!r}: {nearest(name, devices())}")
    return devices()[name]
