"""What reset draws: all of an episode's randomness, spent once, with a digest to prove it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Protocol

import numpy as np


@dataclass(frozen=True, eq=False)
class Workload:
    """The outside world of one episode; families subclass it with their arrays.

    Attributes:
        name: of the source it was drawn from.
        seed: of the draw: (name, seed) give the same workload again.
    """

    name: str
    seed: int

    @cached_property
    def digest(self) -> str:
        """SHA-256 over every array of the workload, with its name, type and shape."""
        hasher = hashlib.sha256()
        _update(hasher, self)
        return hasher.hexdigest()


def _update(hasher: Any, value: Any) -> None:
    for field in fields(value):
        item = getattr(value, field.name)
        if hasattr(item, "__dataclass_fields__"):
            _update(hasher, item)
        elif isinstance(item, np.ndarray):
            hasher.update(f"{field.name}{item.dtype.str}{item.shape}".encode())
            hasher.update(np.ascontiguousarray(item).tobytes())


class WorkloadSource(Protocol):
    """Something workloads are drawn from: a trace, a generator, or a user's own object.

    Attributes:
        name: stands in records and on the leaderboard.
        capacity: upper sizes of its workloads, by the family's names for them; the spaces of the
            environment are built from these.
    """

    name: str
    capacity: Mapping[str, int]

    def draw(self, seed: int) -> Workload:
        """The workload of a seed (any unsigned 64-bit number), always the same."""
        ...
