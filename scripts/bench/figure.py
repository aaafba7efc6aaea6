"""What a benchmark gives: figures with units, each the median of several repeats."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from fleetgym.scripts.errors import CommandError


@dataclass(frozen=True)
class Figure:
    """One measurement, beside the same of another system where somebody measured it.

    Attributes:
        name: what was measured.
        value, unit: the median.
        peer, peer_value: the other system, and its value in the same unit.
    """

    name: str
    value: float
    unit: str
    peer: str = ""
    peer_value: float | None = None

    def as_json(self) -> dict[str, Any]:
        """As ``--json`` writes it."""
        return asdict(self)

    def peer_text(self) -> str:
        """The peer's value for a table."""
        return "" if self.peer_value is None else f"{self.peer_value:,.4g}"


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU time of this process for one call."""
    began = time.process_time()
    work()
    return time.process_time() - began


def median_seconds(work: Callable[[], object], repeats: int) -> float:
    """The median of the CPU time of several calls, after one that is not counted."""
    work()
    return median(cpu_seconds(work) for _ in range(repeats))


def fresh_process(code: str, repeats: int) -> float:
    """The median of the number that a program prints, each time in a new process.

    Raises:
        CommandError: the program failed.
    """
    values = []
    for _ in range(repeats):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ)
        )
        if done.returncode:
            raise CommandError(f"a benchmark's process failed: {done.stderr.strip()[-500:]}")
        values.append(float(done.stdout))
    return median(values)
