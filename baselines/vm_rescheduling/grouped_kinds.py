"""The VMs that are interchangeable: of one (cores, memory, GPU, double) and one group."""

from dataclasses import dataclass

import numpy as np

from fleetgym.baselines.vm_rescheduling.placement import Int64, Kinds
from fleetgym.baselines.vm_rescheduling.problem import Problem


@dataclass(frozen=True, eq=False)
class GroupedKinds(Kinds):
    """The K distinct (kind, group) of a problem's VMs, the single-NUMA ones first."""

    group: Int64  # (K,) anti-affinity group, or -1


def grouped_kinds_of(problem: Problem) -> GroupedKinds:
    """Groups the VMs that are interchangeable."""
    columns = (problem.vm_double, problem.vm_cores, problem.vm_memory, problem.vm_gpu,
               problem.vm_group)  # fmt: skip
    rows = np.stack([column.astype(np.int64) for column in columns], axis=1)
    kinds, of_vm = np.unique(rows, axis=0, return_inverse=True)
    return GroupedKinds(
        need=kinds[:, 1:4].copy(),
        double=kinds[:, 0] > 0,
        of_vm=of_vm.reshape(-1).astype(np.int64),
        group=kinds[:, 4].copy(),
    )
