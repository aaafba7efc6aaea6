"""Time of an all-reduce between the GPUs of one tensor-parallel group.

Every algorithm moves at least ``2 (tp - 1) / tp`` of the message over each GPU's links (Patarasuk &
Yuan 2009), so a time is an overhead and those bytes over a bandwidth. vLLM reduces messages below
8 MiB with a kernel of its own and larger ones with NCCL's ring: there are two sets of figures.
"""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fleetgym.envs.core.errors import ScenarioError
from fleetgym.envs.core.tables import from_table
from fleetgym.traces.errors import nearest

TOML = Path(__file__).with_name("all_reduce.toml")
LIMIT_BYTES = 8 << 20  # max_size of vLLM's CustomAllreduce

Float64 = NDArray[np.float64]


def wire_bytes(num_bytes: Float64, tp: int) -> Float64:
    """Bytes over each GPU's links for messages of some bytes, any shape."""
    return num_bytes * (2 * (tp - 1) / tp)


@dataclass(frozen=True)
class AllReduce:
    """The figures of one GPU and group size, as `all_reduce.toml` holds them.

    Attributes:
        tp: GPUs in the group.
        custom_us, custom_gb_s: overhead and bandwidth below 8 MiB.
        ring_us, ring_gb_s: the same from 8 MiB on.
        source: what it is fitted to, ``name@commit`` of the trace catalogue.
        fitted, held_out: how many points.
        error_percent: mean absolute percentage error of the points held out.
    """

    tp: int
    custom_us: float
    custom_gb_s: float
    ring_us: float
    ring_gb_s: float
    source: str
    fitted: int
    held_out: int
    error_percent: float

    def milliseconds(self, num_bytes: Float64) -> Float64:
        """Time of messages of some bytes, any shape."""
        small = num_bytes < LIMIT_BYTES
        overhead_us = np.where(small, self.custom_us, self.ring_us)
        gb_s = np.where(small, self.custom_gb_s, self.ring_gb_s)
        return overhead_us * 1e-3 + wire_bytes(num_bytes, self.tp) / (gb_s * 1e6)

    def picoseconds(self, num_bytes: int) -> int:
        """Time of one message, rounded."""
        return round(self.milliseconds(np.array(num_bytes, np.float64)).item() * 1e9)


@cache
def _table() -> dict[str, dict[int, AllReduce]]:
    groups = tomllib.loads(TOML.read_text(encoding="utf-8"))
    return {
        gpu: {each["tp"]: from_table(AllReduce, each, f"{TOML}: {gpu}.{name}")
              for name, each in tables.items()}
        for gpu, tables in groups.items()
    }  # fmt: skip


def load(gpu: str, tp: int) -> AllReduce:
    """The figures of a GPU, as "a100", and a group size of 2, 4 or 8.

    Raises:
        ScenarioError: there are none; the message names those there are.
    """
    if gpu not in _table():
        raise ScenarioError(f"no all-reduce measured on GPU {gpu!r}: {nearest(gpu, _table())}")
    if tp not in _table()[gpu]:
        raise ScenarioError(f"no all-reduce of {tp} {gpu} measured; tp: {sorted(_table()[gpu])}")
    return _table()[gpu][tp]
