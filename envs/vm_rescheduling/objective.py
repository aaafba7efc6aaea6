"""The objective of VM rescheduling: its weights and chunk sizes, and what a migration sends."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The weighted objective, minimised.

    ``fragment`` is FR_X = sum of (free cores mod X) / sum of free cores over NUMA nodes (VMR2L,
    EuroSys'25); ``pair`` the same over machines for a double-NUMA VM of ``pair_cores``; ``memory``
    and ``gpu`` (whole GPUs) fragments likewise; ``active`` the share of machines not emptied;
    ``traffic`` the MiB sent by pre-copy / the MiB of all VMs at the start.
    """

    fragment_cores: int = 16  # X
    pair_cores: int = 64  # of a double-NUMA VM: half on each node
    memory_chunk: int = 65_536  # MiB
    weight_fragment: float = 1.0
    weight_pair: float = 0.0
    weight_memory: float = 0.0
    weight_gpu: float = 0.0
    weight_active: float = 0.0
    weight_traffic: float = 0.0

    def weights(self) -> NDArray[np.float64]:
        """The six weights, in the order of the terms."""
        return np.array(
            [
                self.weight_fragment,
                self.weight_pair,
                self.weight_memory,
                self.weight_gpu,
                self.weight_active,
                self.weight_traffic,
            ]
        )


@dataclass(frozen=True, kw_only=True)
class Precopy:
    """Live migration by iterative pre-copy (std): V_0 = memory, T_k = V_k / R, V_{k+1} = D T_k.

    V_{k+1} is at most the memory; rounds stop at V_k <= threshold or after ``max_rounds``.
    Traffic is the sum of V_k, downtime V_n / R + resume.
    """

    bandwidth_mib_s: float = 1_192.0  # R: 10 Gbit/s
    dirty_mib_s: float = 120.0  # D
    threshold_mib: float = 64.0
    max_rounds: int = 8
    resume_ms: float = 20.0

    def cost(self, memory_mib: int) -> tuple[int, int]:
        """Traffic (MiB) and downtime (us) of migrating a VM of this memory, rounded up."""
        volume, traffic = float(memory_mib), 0.0
        for _ in range(self.max_rounds):
            if volume <= self.threshold_mib:
                break
            traffic += volume
            volume = min(float(memory_mib), self.dirty_mib_s * volume / self.bandwidth_mib_s)
        seconds = volume / self.bandwidth_mib_s + self.resume_ms / 1e3
        return int(np.ceil(traffic + volume)), int(np.ceil(seconds * 1e6))
