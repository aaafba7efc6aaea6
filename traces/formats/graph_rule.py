"""What the records of batch jobs count for on small devices, and how what they lack is drawn."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SCALE = 1 / 120  # by which work and data of a cluster shrink: two hours of batch are a minute
REFERENCE_HZ = 2.4e9  # of the cluster's cores
MIN_BYTES, MAX_BYTES = 1 << 10, 64 << 20  # of data that is drawn


@dataclass(frozen=True)
class GraphRule:
    """How times become cycles, and sizes that nobody recorded are drawn.

    Attributes:
        cycles_per_s: cycles for a second of one core of the cluster.
        median_bytes: of what passes along an edge, and of what a task without parents reads.
        sigma: of the logarithm of these sizes.
        result_share: of a drawn size that a task without children returns to its user.
        memory_bytes: for one unit of recorded memory (Alibaba: a hundredth of a machine).
        seed: of the draws, together with the content of each job, so that equal jobs stay equal.
    """

    cycles_per_s: float = REFERENCE_HZ * SCALE
    median_bytes: float = 200e3
    sigma: float = 1.0
    result_share: float = 0.1
    memory_bytes: float = 256 << 20
    seed: int = 0

    def cycles(self, core_seconds: float) -> int:
        """Cycles of so much work, at least 1."""
        return max(1, round(core_seconds * self.cycles_per_s))

    def draws(self, content: str, count: int) -> NDArray[np.int64]:
        """``(count,)`` lognormal bytes, the same for the same seed and content."""
        key = hashlib.blake2b(content.encode(), digest_size=8).digest()
        rng = np.random.default_rng([self.seed, int.from_bytes(key, "little")])
        drawn = self.median_bytes * np.exp(self.sigma * rng.standard_normal(count))
        return np.clip(drawn, MIN_BYTES, MAX_BYTES).astype(np.int64)


DEFAULT_RULE = GraphRule()
