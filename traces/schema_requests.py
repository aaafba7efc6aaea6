"""VM requests over time: the common shape of traces that say who came and left, not where."""

import heapq
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fleetgym.traces.errors import TraceError
from fleetgym.traces.generators.best_fit import Need
from fleetgym.traces.generators.population import Population
from fleetgym.traces.report import ReadReport
from fleetgym.traces.schema import MAX_SIZE, NODES, Fleet, Int32

Float64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class VMRequests:
    """N requests for VMs, in the order of their arrival."""

    name: str
    arrival_s: Float64  # (N,) seconds, ascending; negative: there before the trace began
    departure_s: Float64  # (N,) seconds, or infinity where it was never seen to leave
    cores: Int32  # (N,) of the whole VM
    memory: Int32  # (N,) MiB of the whole VM
    ids: tuple[str, ...] = ()

    def __len__(self) -> int:
        """N, the number of requests."""
        return len(self.arrival_s)

    def validate(self) -> "VMRequests":
        """Returns the requests themselves.

        Raises:
            TraceError: lengths differ, times are out of order, or sizes out of range.
        """
        for column in ("departure_s", "cores", "memory", *(("ids",) if self.ids else ())):
            if len(getattr(self, column)) != len(self):
                raise TraceError(
                    f"{self.name}: {len(self)} arrivals, but {len(getattr(self, column))} {column}"
                )
        for wrong, what in (
            (~np.isfinite(self.arrival_s), "arrives at no finite time"),
            (~(self.departure_s > self.arrival_s), "leaves no later than it arrives"),
            ((self.cores < 1) | (self.cores > MAX_SIZE), f"has cores not in 1 to {MAX_SIZE}"),
            ((self.memory < 0) | (self.memory > MAX_SIZE), f"has MiB not in 0 to {MAX_SIZE}"),
            (np.diff(self.arrival_s, prepend=-np.inf) < 0, "arrives before the one before it"),
        ):
            if wrong.any():
                index = int(np.argmax(wrong))
                name = self.ids[index] if self.ids else str(index)
                raise TraceError(
                    f"{self.name}: request {name} {what} (arrival {self.arrival_s[index]} s, "
                    f"departure {self.departure_s[index]} s, {self.cores[index]} cores, "
                    f"{self.memory[index]} MiB)"
                )
        return self


def snapshot(
    requests: VMRequests, time_s: float, machines: Fleet, *, double_from: int | None = None
) -> tuple[Fleet, ReadReport]:
    """The fleet at an instant, had best fit placed every request so far on these machines.

    Args:
        requests: replayed up to and including ``time_s``; at equal times VMs leave before others
            arrive.
        time_s: seconds.
        machines: P machines without VMs, as `empty` of the generators makes them.
        double_from: cores from which a VM is double-NUMA, half on each node (rounded up); None:
            only where it exceeds every single node.

    Returns:
        The fleet, and what was kept and dropped: a VM that fitted nowhere when it arrived.

    Raises:
        TraceError: the machines hold VMs.
    """
    if machines.num_vms:
        raise TraceError(f"{machines.name}: holds {machines.num_vms} VMs; expected none")
    largest = int(machines.slot_cores.max(initial=0)), int(machines.slot_memory.max(initial=0))
    population = Population(machines, np.random.default_rng(0))
    leaving: list[tuple[float, int]] = []
    label: list[int] = []
    dropped = 0
    for index in range(int(np.searchsorted(requests.arrival_s, time_s, side="right"))):
        while leaving and leaving[0][0] <= requests.arrival_s[index]:
            population.remove(heapq.heappop(leaving)[1])
        need = _need(int(requests.cores[index]), int(requests.memory[index]), largest, double_from)
        if population.arrive(need):
            heapq.heappush(leaving, (float(requests.departure_s[index]), len(label)))
            label.append(index)
        else:
            dropped += int(requests.departure_s[index] > time_s)
    while leaving and leaving[0][0] <= time_s:
        population.remove(heapq.heappop(leaving)[1])
    fleet = population.fleet(f"{requests.name}-{time_s:g}s")
    here = [label[vm] for _, vm in sorted(leaving, key=lambda entry: entry[1])]
    ids = tuple(requests.ids[i] if requests.ids else str(i) for i in here)
    lost = (f"{dropped} VMs that fitted nowhere when they arrived",) if dropped else ()
    kept = (f"{fleet.num_pms} PMs", f"{fleet.num_vms} VMs")
    return replace(fleet, vm_ids=ids).validate(), ReadReport(requests.name, kept, lost)


def _need(cores: int, memory: int, largest: tuple[int, int], double_from: int | None) -> Need:
    if double_from is None:
        double = cores > largest[0] or memory > largest[1]
    else:
        double = cores >= double_from
    nodes = NODES if double else 1
    return Need(-(-cores // nodes), -(-memory // nodes), 0, double)
