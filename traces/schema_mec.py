"""Mobile edge computing: task graphs, the network of edge servers, and the devices that use it.

A task graph is bipartite: *tasks* make *data*, and *uses* say which task reads which data. A
textbook DAG with bytes on its edges has one piece of data for each edge; a workflow whose file is
read by five tasks has one with five uses. So "sent once" is a fact of the graph, not a guess.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fleetgym.traces.errors import TraceError

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]

OUTSIDE = -1  # producer of data that the device has from the start
MAX_CYCLES = 10**15
MAX_BYTES = 10**13


@dataclass(frozen=True, eq=False)
class TaskGraph:
    """One application: N tasks, D pieces of data, E uses.

    Attributes:
        name: of the trace, generator or job.
        cycles: ``(N,)`` int64 CPU cycles, at least 1.
        memory: ``(N,)`` int64 bytes held while the task has a place, 0 or more.
        data_bytes: ``(D,)`` int64, 0 for a mere dependence.
        data_producer: ``(D,)`` int32 task that makes it, or OUTSIDE.
        data_result: ``(D,)`` bool, whether it must end on the device.
        use_data, use_task: ``(E,)`` int32, the data that a task reads; each pair once.
    """

    name: str
    cycles: Int64
    memory: Int64
    data_bytes: Int64
    data_producer: Int32
    data_result: Bool
    use_data: Int32
    use_task: Int32

    @property
    def num_tasks(self) -> int:
        """N."""
        return len(self.cycles)

    @cached_property
    def edges(self) -> Int32:
        """``(edges, 2)`` parent and child of every dependence, each pair once, sorted."""
        parent = self.data_producer[self.use_data]
        pairs = np.stack([parent, self.use_task], axis=1)[parent != OUTSIDE]
        return np.unique(pairs, axis=0).astype(np.int32).reshape(-1, 2)

    @cached_property
    def order(self) -> Int32:
        """``(N,)`` tasks so that parents come first; of those free at once the lowest first.

        Raises:
            TraceError: the graph has a cycle.
        """
        left = np.bincount(self.edges[:, 1], minlength=self.num_tasks)
        children: list[list[int]] = [[] for _ in range(self.num_tasks)]
        for parent, child in self.edges.tolist():
            children[parent].append(child)
        free = np.flatnonzero(left == 0).tolist()[::-1]
        order = []
        while free:
            task = free.pop()
            order.append(task)
            for child in children[task]:
                left[child] -= 1
                if left[child] == 0:
                    free.append(child)
            free.sort(reverse=True)
        if len(order) < self.num_tasks:
            stuck = np.flatnonzero(left > 0).tolist()
            raise TraceError(
                f"{self.name}: tasks {stuck[:8]} wait for one another: the graph has a cycle; "
                "drop the job or break the cycle"
            )
        return np.array(order, np.int32)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the content, whatever the name: what splits go by."""
        hasher = hashlib.sha256()
        for array in (
            self.cycles,
            self.memory,
            self.data_bytes,
            self.data_producer,
            self.data_result,
            self.use_data,
            self.use_task,
        ):
            hasher.update(f"{array.dtype.str}{array.shape}".encode())
            hasher.update(np.ascontiguousarray(array).tobytes())
        return hasher.hexdigest()

    def validate(self) -> Self:
        """Checks shapes, ranges and that there is no cycle.

        Raises:
            TraceError: what is wrong, with the first value that is.
        """
        n, d = self.num_tasks, len(self.data_bytes)
        if n < 1:
            raise TraceError(f"{self.name}: a task graph has at least one task")
        same = (
            ("memory", self.memory, n),
            ("data_producer", self.data_producer, d),
            ("data_result", self.data_result, d),
            ("use_task", self.use_task, len(self.use_data)),
        )
        for what, array, size in same:
            if array.shape != (size,):
                raise TraceError(f"{self.name}: {what} has shape {array.shape}, not ({size},)")
        ranges = (
            ("cycles", self.cycles, 1, MAX_CYCLES),
            ("memory", self.memory, 0, MAX_BYTES),
            ("data_bytes", self.data_bytes, 0, MAX_BYTES),
            ("data_producer", self.data_producer, OUTSIDE, n - 1),
            ("use_data", self.use_data, 0, d - 1),
            ("use_task", self.use_task, 0, n - 1),
        )
        for what, array, low, high in ranges:
            wrong = np.flatnonzero((array < low) | (array > high))
            if len(wrong):
                at = int(wrong[0])
                raise TraceError(
                    f"{self.name}: {what}[{at}] is {int(array[at])}, it must be {low} to {high}"
                )
        pairs = self.use_data.astype(np.int64) * n + self.use_task
        if len(np.unique(pairs)) < len(pairs):
            raise TraceError(f"{self.name}: a task uses the same data twice")
        _ = self.order
        return self


def from_edges(
    name: str,
    cycles: Sequence[int] | Int64,
    edges: Iterable[tuple[int, int, int]],
    *,
    memory: Sequence[int] | Int64 | None = None,
    inputs: Sequence[int] | Int64 | None = None,
    outputs: Sequence[int] | Int64 | None = None,
) -> TaskGraph:
    """A textbook DAG: bytes on the edges, one piece of data for each.

    Args:
        name: of the graph.
        cycles: ``(N,)`` of each task.
        edges: ``(parent, child, bytes)``; each pair once.
        memory: ``(N,)`` bytes, 0 by default.
        inputs: ``(N,)`` bytes that the device has for each task from the start, none where 0.
        outputs: ``(N,)`` bytes of result that each task owes the device, none where 0.

    Raises:
        TraceError: as `TaskGraph.validate`.
    """
    n = len(cycles)
    given = [int(size) for size in (inputs if inputs is not None else [0] * n)]
    owed = [int(size) for size in (outputs if outputs is not None else [0] * n)]
    rows = [(OUTSIDE, task, size, False) for task, size in enumerate(given) if size]
    rows += [(parent, child, size, False) for parent, child, size in edges]
    rows += [(task, OUTSIDE, size, True) for task, size in enumerate(owed) if size]
    rows.sort(key=lambda row: row[0])  # stable: by producer
    uses = [(data, row[1]) for data, row in enumerate(rows) if row[1] != OUTSIDE]
    return TaskGraph(
        name=name,
        cycles=np.array(cycles, np.int64),
        memory=np.zeros(n, np.int64) if memory is None else np.array(memory, np.int64),
        data_bytes=np.array([row[2] for row in rows], np.int64),
        data_producer=np.array([row[0] for row in rows], np.int32),
        data_result=np.array([row[3] for row in rows], np.bool_),
        use_data=np.array([use[0] for use in uses], np.int32),
        use_task=np.array([use[1] for use in uses], np.int32),
    ).validate()


@dataclass(frozen=True, eq=False)
class EdgeNetwork:
    """M edge servers, each beside its base station, and a cloud (node M) behind them.

    Attributes:
        name: of the topology.
        position: ``(M, 2)`` float64 metres, east and north.
        radius: ``(M,)`` float64 metres, within which the station covers devices.
        bandwidth: ``(M,)`` float64 Hz of the cell, of the uplink and as much of the downlink.
        speed: ``(M,)`` float64 Hz of a core.
        cores: ``(M,)`` int64, at least 1.
        memory: ``(M,)`` int64 bytes.
        power_idle, power_max: ``(M,)`` float64 W.
        link_rate: ``(M + 1, M + 1)`` float64 bit/s from node to node, 0 without a link.
        link_latency: ``(M + 1, M + 1)`` int64 ns, of each link.
    """

    name: str
    position: Float64
    radius: Float64
    bandwidth: Float64
    speed: Float64
    cores: Int64
    memory: Int64
    power_idle: Float64
    power_max: Float64
    link_rate: Float64
    link_latency: Int64

    @property
    def num_servers(self) -> int:
        """M."""
        return len(self.speed)

    def validate(self) -> Self:
        """Checks shapes, ranges and that every node can be reached from every other.

        Raises:
            TraceError: what is wrong, with the first value that is.
        """
        m = self.num_servers
        shapes = {
            "position": (m, 2),
            **dict.fromkeys(("radius", "bandwidth", "cores", "memory"), (m,)),
            **dict.fromkeys(("power_idle", "power_max"), (m,)),
            **dict.fromkeys(("link_rate", "link_latency"), (m + 1, m + 1)),
        }
        _check(self, self.name, shapes, positive=("radius", "bandwidth", "speed", "cores"))
        if (self.power_max < self.power_idle).any():
            raise TraceError(f"{self.name}: power_max must be power_idle or more at every server")
        reached = np.eye(m + 1, dtype=np.bool_) | (self.link_rate > 0)
        for node in range(m + 1):
            reached |= reached[:, node : node + 1] & reached[node : node + 1]
        if not reached.all():
            source, target = np.argwhere(~reached)[0].tolist()
            raise TraceError(
                f"{self.name}: node {target} cannot be reached from node {source} (node {m} is the "
                "cloud): add links, or take the connected part"
            )
        return self


@dataclass(frozen=True, eq=False)
class DeviceFleet:
    """U devices, which may move.

    Attributes:
        name: of the population.
        track: ``(T, U, 2)`` float64 metres, positions at equal steps of time; they stay at the
            last one. T = 1: nobody moves.
        speed: ``(U,)`` float64 Hz of the one core, at its highest frequency.
        memory: ``(U,)`` int64 bytes.
        kappa: ``(U,)`` float64 J s^2: a cycle at frequency f takes kappa f^2 joules.
        power: ``(U,)`` float64 W, of the transmitter.
    """

    name: str
    track: Float64
    speed: Float64
    memory: Int64
    kappa: Float64
    power: Float64

    @property
    def num_devices(self) -> int:
        """U."""
        return len(self.speed)

    def validate(self) -> Self:
        """Checks shapes and ranges.

        Raises:
            TraceError: what is wrong, with the first value that is.
        """
        u = self.num_devices
        shapes = {
            "track": (max(1, len(self.track)), u, 2),
            **dict.fromkeys(("memory", "kappa", "power"), (u,)),
        }
        _check(self, self.name, shapes, positive=("speed", "power"))
        return self


@dataclass(frozen=True, eq=False)
class Applications:
    """What the devices are asked to run: A applications, each a task graph.

    Attributes:
        graphs: A of them; an application may share its graph with others.
        device: ``(A,)`` int32.
        arrival: ``(A,)`` int64 ns, sorted.
    """

    graphs: tuple[TaskGraph, ...]
    device: Int32
    arrival: Int64

    def validate(self, num_devices: int) -> Self:
        """Checks shapes and ranges.

        Raises:
            TraceError: what is wrong, with the first value that is.
        """
        a = len(self.graphs)
        if a < 1 or self.device.shape != (a,) or self.arrival.shape != (a,):
            raise TraceError(
                f"{a} graphs for devices {self.device.shape} and arrivals {self.arrival.shape}: "
                "one of each for every application, and at least one application"
            )
        if (self.device < 0).any() or (self.device >= num_devices).any():
            raise TraceError(f"an application of a device that is not 0 to {num_devices - 1}")
        if (self.arrival < 0).any() or (np.diff(self.arrival) < 0).any():
            raise TraceError("arrivals must be sorted, and 0 or more")
        return self


def _check(
    owner: EdgeNetwork | DeviceFleet,
    name: str,
    shapes: dict[str, tuple[int, ...]],
    positive: tuple[str, ...],
) -> None:
    """Raises a TraceError for the first array of another shape or out of range."""
    if not len(owner.speed):
        raise TraceError(f"{name}: at least one is needed, there is none")
    for what, shape in {"speed": (len(owner.speed),), **shapes}.items():
        array = getattr(owner, what)
        if array.shape != shape:
            raise TraceError(f"{name}: {what} has shape {array.shape}, not {shape}")
        signed = what in ("position", "track")
        bad = ~np.isfinite(array) | (np.zeros(shape, np.bool_) if signed else array < 0)
        if what in positive:
            bad |= array <= 0
        if bad.any():
            at = tuple(np.argwhere(bad)[0].tolist())
            rule = "above 0" if what in positive else "finite, and 0 or more where unsigned"
            raise TraceError(f"{name}: {what}{list(at)} is {array[at]}, it must be {rule}")
