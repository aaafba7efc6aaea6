import os
from pathlib import Path

import numpy as np
import pytest

from fleetgym.baselines.vm_rescheduling.problem import Problem
from fleetgym.envs.vm_rescheduling.objective import Objective
from fleetgym.traces.formats import bytedance

DATA = Path(os.environ.get("FLEETGYM_DATA", "no-such-folder"))


@pytest.fixture
def fleet():
    """Makes a problem of single-NUMA VMs (slot, cores) from the free cores of its slots."""

    def make(free, vms, moves, movable=True, group_max=(), groups=None):
        slot, cores = np.array(vms, np.int32).T.copy()
        size = len(slot)
        return Problem(
            free_cores=np.array(free, np.int32),
            free_memory=np.full(len(free), 100_000, np.int32),
            free_gpu=np.zeros(len(free), np.int32),
            vm_slot=slot,
            vm_cores=cores,
            vm_memory=1024 * cores,
            vm_gpu=np.zeros(size, np.int32),
            vm_double=np.zeros(size, np.bool_),
            vm_movable=np.full(size, movable),
            vm_group=np.array([-1] * size if groups is None else groups, np.int32),
            group_max=np.array(group_max, np.int32),
            moves_left=moves,
            objective=Objective(),
        )

    return make


@pytest.fixture
def medium():
    """Makes the problem of ByteDance's Medium for a number of moves."""
    path = DATA / "vm" / "bytedance_medium.json.gz"
    if not path.is_file():
        pytest.skip("vm/bytedance_medium.json.gz is not in FLEETGYM_DATA")

    def make(moves):
        read = bytedance.read(path)
        return Problem(
            *read.free(), 2 * read.vm_pm + read.vm_numa, read.vm_cores, read.vm_memory,
            read.vm_gpu, read.vm_double, read.vm_movable, read.vm_group, read.group_max_per_pm,
            moves, Objective(),
        )  # fmt: skip

    return make
