"""A few machines of a fleet, with what they hold."""

from dataclasses import fields, replace

import numpy as np
from numpy.typing import NDArray

from fleetgym.traces.schema import NODES, Fleet


def subset(fleet: Fleet, pms: NDArray[np.int64]) -> Fleet:
    """The fleet's chosen machines and the VMs on them; VMs not placed are left out.

    Args:
        fleet: the whole.
        pms: ``(K,)`` machines to keep, each once, in the order they shall have.
    """
    place = np.full(fleet.num_pms + 1, -1, np.int32)
    place[pms] = np.arange(len(pms), dtype=np.int32)
    host = place[fleet.vm_pm]  # index -1, of a VM not placed, finds the last entry: -1
    kept = host >= 0
    slots = (NODES * pms[:, None] + np.arange(NODES)).reshape(-1)
    parts = {
        field.name: getattr(fleet, field.name)[slots if field.name.startswith("slot_") else kept]
        for field in fields(fleet)
        if field.name.startswith(("slot_", "vm_")) and field.name != "vm_ids"
    }
    return replace(
        fleet,
        **(parts | {"vm_pm": host[kept]}),
        pm_rack=fleet.pm_rack[pms],
        pm_ids=tuple(fleet.pm_ids[pm] for pm in pms) if fleet.pm_ids else (),
        vm_ids=tuple(np.array(fleet.vm_ids)[kept].tolist()) if fleet.vm_ids else (),
    )
