"""VMs that come and go on a fleet: the state of a generator while it works."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import count, islice

import numpy as np

from fleetgym.traces.generators.best_fit import Need, Packing
from fleetgym.traces.schema import NODES, Fleet


def needs_of(fleet: Fleet) -> list[Need]:
    """What each of the V VMs takes."""
    columns = (fleet.vm_cores, fleet.vm_memory, fleet.vm_gpu, fleet.vm_double, fleet.vm_group)
    return [Need(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]


class Population:
    """The VMs of a fleet, of which movable ones leave at random and others arrive by best fit."""

    def __init__(self, fleet: Fleet, rng: np.random.Generator) -> None:
        """Starts from the fleet as it stands."""
        self._fleet = fleet
        self._rng = rng
        self.packing = Packing(fleet)
        self.needs = needs_of(fleet)
        self.slots = (NODES * fleet.vm_pm + fleet.vm_numa).tolist()
        self._leavers = np.flatnonzero(fleet.vm_movable & (fleet.vm_pm >= 0)).tolist()
        self._gone: set[int] = set()
        self._cores = int(fleet.slot_cores.sum(dtype=np.int64))

    def utilisation(self) -> float:
        """Used cores / all cores."""
        return self.packing.used_cores / self._cores if self._cores else 1.0

    def leave(self) -> bool:
        """Takes a random movable VM off; False where there is none."""
        while self._leavers:
            at = int(self._rng.random() * len(self._leavers))
            vm = self._leavers[at]
            self._leavers[at] = self._leavers[-1]
            self._leavers.pop()
            if vm not in self._gone:
                self.remove(vm)
                return True
        return False

    def remove(self, vm: int) -> None:
        """Takes a VM off; the index counts the VMs at the start, then the arrivals."""
        self.packing.take(self.slots[vm], self.needs[vm], vms=-1)
        self._gone.add(vm)

    def arrive(self, need: Need) -> bool:
        """Places one more VM by best fit; False where it fits nowhere."""
        slot = self.packing.best_fit(need)
        if slot < 0:
            return False
        self.packing.take(slot, need)
        self._leavers.append(len(self.needs))
        self.needs.append(need)
        self.slots.append(slot)
        return True

    def settle(self, utilisation: float, kinds: Sequence[Need], misfits: int = 100) -> None:
        """Arrivals up to, then departures down to, a CPU utilisation.

        Args:
            utilisation: used cores / all cores; it ends at or just below, unless VMs run out of
                places or of movable ones first.
            kinds: of the arrivals, drawn uniformly.
            misfits: arrivals in a row that fit nowhere, after which there are no more.
        """
        missed = 0
        while self.utilisation() < utilisation and missed < misfits:
            missed = 0 if self.arrive(self.draw(kinds)) else missed + 1
        while self.utilisation() > utilisation and self.leave():
            pass

    def turn_over(self, times: int, kinds: Sequence[Need]) -> None:
        """So many times: a random movable VM leaves, a random kind arrives if it fits."""
        for _ in range(times):
            self.leave()
            self.arrive(self.draw(kinds))

    def draw(self, kinds: Sequence[Need]) -> Need:
        """One of the kinds, uniformly."""
        return kinds[int(self._rng.random() * len(kinds))]

    def fleet(self, name: str) -> Fleet:
        """The fleet as it stands now: those that stayed in their order, then the arrivals."""
        old = self._fleet
        here = [vm for vm in range(len(self.needs)) if vm not in self._gone]
        stayed = [vm for vm in here if vm < old.num_vms]
        arrivals = len(here) - len(stayed)
        slots = np.array([self.slots[vm] for vm in here], np.int32)
        needs = [self.needs[vm] for vm in here]
        ids = old.vm_ids or tuple(f"vm-{i}" for i in range(old.num_vms))
        taken = set(ids)
        fresh = (name for name in (f"arrival-{i}" for i in count()) if name not in taken)
        return replace(
            old,
            name=name,
            vm_cores=np.array([need.cores for need in needs], np.int32),
            vm_memory=np.array([need.memory for need in needs], np.int32),
            vm_gpu=np.array([need.gpu for need in needs], np.int32),
            vm_double=np.array([need.double for need in needs], np.bool_),
            vm_pm=np.where(slots < 0, -1, slots // NODES).astype(np.int32),
            vm_numa=np.where(slots < 0, 0, slots % NODES).astype(np.int32),
            vm_movable=np.concatenate([old.vm_movable[stayed], np.ones(arrivals, np.bool_)]),
            vm_group=np.array([need.group for need in needs], np.int32),
            vm_ids=(*(ids[vm] for vm in stayed), *islice(fresh, arrivals)),
        )
