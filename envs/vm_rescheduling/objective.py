"""The objective of VM rescheduling: which weights and chunk sizes it has."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Objective:
    """The weighted objective, minimised (fields as in the scenario, FAMILIES' FR_X and the rest).

    ``fragment`` FR_X = sum of (free cores mod X) / sum of free cores over NUMA nodes;
    ``pair`` the same over machines, for a double-NUMA VM of ``pair_cores``; ``memory`` and ``gpu``
    fragments likewise; ``active`` the share of machines not emptied; ``traffic`` the pre-copy
    MiB sent / the MiB of all VMs at the start.
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
