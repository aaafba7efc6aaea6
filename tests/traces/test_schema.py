from dataclasses import replace

import numpy as np
import pytest

from fleetgym.traces.errors import TraceError
from fleetgym.traces.generators.vm_fleet import matched

FLEET = matched(num_pms=2, racks=1, seed=0, groups=1)
V = FLEET.num_vms


def ints(value):
    return np.full(V, value, np.int32)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vm_pm": ints(2)}, "on an unknown PM: vm_pm is 2"),
        ({"vm_pm": ints(-2)}, "on an unknown PM: vm_pm is -2"),
        ({"vm_numa": ints(2)}, "unknown NUMA node"),
        ({"vm_numa": ints(-1)}, "unknown NUMA node"),
        ({"vm_group": ints(1)}, "unknown group"),
        ({"vm_numa": ints(1), "vm_double": np.ones(V, np.bool_)}, "must have vm_numa 0"),
        ({"group_max_per_pm": np.zeros(1, np.int32)}, "allows no VM"),
        ({"vm_memory": ints(-1)}, r"vm_memory\[0\] is -1"),
        ({"vm_memory": ints(2**31 - 1)}, "sizes must be from 0"),
        ({"vm_memory": ints(2**30 - 1)}, "overfull"),
        ({"vm_cores": ints(0), "vm_memory": ints(0)}, "asks for nothing"),
        ({"vm_memory": np.ones(1, np.int32)}, "vm_memory has 1 entries"),
        ({"slot_gpu": np.ones(3, np.int32)}, "slot_gpu has 3 entries, not 4"),
        ({"vm_ids": ("a",)}, "vm_ids has 1 entries"),
    ],
)
def test_validate(changes, message):
    FLEET.validate()
    with pytest.raises(TraceError, match=message):
        replace(FLEET, **changes).validate()


def test_overfull_beyond_32_bits():
    """Four VMs of 2**30 - 1 on one slot: the sum wraps around in int32."""
    most = np.full(4, 2**30 - 1, np.int32)
    zeros, single = np.zeros(4, np.int32), np.zeros(4, np.bool_)
    fleet = replace(
        FLEET,
        slot_memory=np.full(4, 2**30 - 1, np.int32),
        vm_cores=zeros,
        vm_memory=most,
        vm_gpu=zeros,
        vm_double=single,
        vm_pm=zeros,
        vm_numa=zeros,
        vm_movable=single,
        vm_group=zeros - 1,
        vm_ids=(),
    )
    with pytest.raises(TraceError, match=f"overfull by {3 * (2**30 - 1)} memory"):
        fleet.validate()
