"""What an offloading episode is drawn from: a network, devices, applications, and failures."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256

import numpy as np

from fleetgym.envs.core.errors import WorkloadError
from fleetgym.envs.core.workload import Workload, WorkloadSource
from fleetgym.envs.mec_offloading.scenario import MECOffloadingScenario
from fleetgym.envs.mec_offloading.sites import located
from fleetgym.envs.mec_offloading.types import Int64
from fleetgym.traces import catalog_mec
from fleetgym.traces.errors import nearest
from fleetgym.traces.generators import daggen, edge_fleet
from fleetgym.traces.schema_mec import (
    Applications,
    DeviceFleet,
    EdgeNetwork,
    Float64,
    TaskGraph,
    from_edges,
)

KEPT = 128  # workloads a source keeps, since training draws them again
TOY, DAGGEN, LLM = "toy", "daggen", "llm-layers"
GraphDraw = Callable[[np.random.Generator], TaskGraph]


@dataclass(frozen=True, eq=False)
class MECWorkload(Workload):
    """The outside world of one episode.

    Attributes:
        network, devices, applications: what there is.
        graphs: ``(32,)`` uint8 SHA-256 over the applications' graphs, for the digest.
        channel: ``(1,)`` int64 seed of the fading.
        failures: ``(F, 3)`` int64 server, ns when it fails, ns when it is back; those of a server
            do not overlap.
    """

    network: EdgeNetwork
    devices: DeviceFleet
    applications: Applications
    graphs: np.typing.NDArray[np.uint8]
    channel: Int64
    failures: Int64


def workload_of(
    name: str,
    seed: int,
    network: EdgeNetwork,
    devices: DeviceFleet,
    applications: Applications,
    *,
    channel: int = 0,
    failures: Int64 | None = None,
) -> MECWorkload:
    """A workload of its parts, checked.

    Raises:
        TraceError: a part is malformed.
        WorkloadError: a failure is.
    """
    network.validate()
    devices.validate()
    applications.validate(devices.num_devices)
    none = np.zeros((0, 3), np.int64)
    away = none if failures is None else failures
    _check_failures(away, network.num_servers)
    joined = "".join(graph.digest for graph in applications.graphs)
    return MECWorkload(
        name=name,
        seed=seed,
        network=network,
        devices=devices,
        applications=applications,
        graphs=np.frombuffer(sha256(joined.encode()).digest(), np.uint8),
        channel=np.array([channel], np.int64),
        failures=away,
    )


def _check_failures(failures: Int64, servers: int) -> None:
    """Raises WorkloadError for a failure of no server, without length, or while it is away."""
    if failures.ndim != 2 or failures.shape[1] != 3:
        raise WorkloadError(f"failures have shape {failures.shape}, not (F, 3)")
    back = np.zeros(servers, np.int64)
    for server, start, end in failures[np.argsort(failures[:, 1], kind="stable")].tolist():
        if not 0 <= server < servers:
            raise WorkloadError(f"server {server} fails, there are 0 to {servers - 1}")
        if not back[server] <= start < end:
            raise WorkloadError(
                f"server {server} fails from {start} to {end} ns and is away until {back[server]}: "
                "a failure must have a length, and begin at 0 or when the one before has ended"
            )
        back[server] = end


class MECSource:
    """Workloads made by a function from a generator of random numbers.

    Args:
        name: of the source.
        make: the workload of a name, a seed and a generator seeded with it.
        capacity: devices and servers exactly; at most so many tasks, tasks of a device, data,
            uses with results, applications, positions and failures.
        split: "test" seeds are odd numbers, others even: they share none.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[str, int, np.random.Generator], MECWorkload],
        capacity: Mapping[str, int],
        split: str,
    ) -> None:
        self.name = name
        self.capacity: Mapping[str, int] = dict(capacity)
        self._make, self._test = make, split == "test"
        self._kept: OrderedDict[int, MECWorkload] = OrderedDict()

    def draw(self, seed: int) -> MECWorkload:
        """The workload of a seed."""
        workload = self._kept.get(seed)
        if workload is None:
            rng = np.random.default_rng([2 * seed + self._test, 0x3EC])
            workload = self._make(self.name, seed, rng)
            self._kept[seed] = workload
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return workload


def source_of(scenario: MECOffloadingScenario) -> WorkloadSource:
    """The source a scenario's ``workload`` names.

    Raises:
        WorkloadError: the name is unknown.
        TraceError: the scenario's knobs make no graph.
    """
    name = scenario.workload
    if name == TOY:
        return MECSource(TOY, _toy, capacity_of(scenario, 3, 5, 5), scenario.split)
    if name == DAGGEN:
        shape = daggen.Shape(
            tasks=scenario.tasks,
            fat=scenario.fat,
            density=scenario.density,
            regular=scenario.regular,
            ccr=scenario.ccr,
            jump=scenario.jump,
            cycles=scenario.mcycles * 1e6,
            memory_bytes=scenario.task_mb * 1e6,
        )
        shape.check()
        edges = shape.most_edges()
        most = edges + 2 * scenario.tasks
        return source_of_graphs(
            scenario, lambda rng: daggen.task_graph(shape, rng), scenario.tasks, most, most
        )
    if name == LLM:
        layers, ways = max(1, scenario.tasks // 5), 4
        return source_of_graphs(
            scenario,
            lambda rng: layered(scenario, layers, ways),
            layers * (ways + 1),
            layers * (2 * ways + 1) + 2,
            layers * (2 * ways + 1) + 2,
        )
    if catalog_mec.holds_graphs(name):
        from fleetgym.envs.mec_offloading.real import real_source  # it needs this module

        return real_source(scenario)
    known = [TOY, DAGGEN, LLM, *catalog_mec.names_of_graphs()]
    raise WorkloadError(
        f"unknown workload {name!r}: {nearest(name, known)} (or a file of task graphs: .csv, .json "
        "or .npz)"
    )


def source_of_graphs(
    scenario: MECOffloadingScenario, draw: GraphDraw, tasks: int, data: int, uses: int
) -> MECSource:
    """Servers and devices of the scenario, whose applications are drawn one by one.

    Args:
        scenario: of the servers and devices.
        draw: a graph.
        tasks: of a graph, at most.
        data: likewise.
        uses: likewise, results included.
    """

    def make(name: str, seed: int, rng: np.random.Generator) -> MECWorkload:
        area = area_of(scenario)
        network, start = located(scenario, area, rng)
        devices = devices_of(scenario, area, rng, start)
        return workload_of(
            name,
            seed,
            network,
            devices,
            applications_of(scenario, draw, rng),
            channel=int(rng.integers(2**31)),
            failures=failures_of(scenario, rng),
        )

    capacity = capacity_of(scenario, tasks, data, uses)
    return MECSource(scenario.workload, make, capacity, scenario.split)


def capacity_of(
    scenario: MECOffloadingScenario, tasks: int, data: int, uses: int
) -> dict[str, int]:
    """Upper sizes of workloads whose graphs have so many tasks, data and uses at most."""
    apps = scenario.devices * scenario.apps
    return {
        "devices": scenario.devices,
        "servers": scenario.servers,
        "tasks": apps * tasks,
        "device_tasks": scenario.apps * tasks,
        "data": apps * data,
        "uses": apps * uses,
        "apps": apps,
        "positions": steps_of(scenario),
        "failures": most_failures(scenario),
    }


def steps_of(scenario: MECOffloadingScenario) -> int:
    """Positions of a walk."""
    if scenario.speed_m_s == 0:
        return 1
    return 1 + max(1, round(scenario.walk_s * 1e3 / scenario.move_ms))


def area_of(scenario: MECOffloadingScenario) -> edge_fleet.Area:
    """The scenario's place, in SI units."""
    return edge_fleet.Area(
        side_m=scenario.side_m,
        radius_m=scenario.radius_m,
        bandwidth_hz=scenario.bandwidth_mhz * 1e6,
        server_hz=(scenario.server_ghz_low * 1e9, scenario.server_ghz_high * 1e9),
        server_cores=scenario.server_cores,
        server_bytes=round(scenario.server_mb * 1e6),
        wire_bits_s=scenario.wire_mbit_s * 1e6,
        wire_s=scenario.wire_ms * 1e-3,
        cloud_hz=scenario.cloud_ghz * 1e9,
        cloud_bits_s=scenario.cloud_mbit_s * 1e6,
        cloud_s=scenario.cloud_ms * 1e-3,
    )


def devices_of(
    scenario: MECOffloadingScenario,
    area: edge_fleet.Area,
    rng: np.random.Generator,
    start: Float64 | None = None,
) -> DeviceFleet:
    """The scenario's devices, from ``(U, 2)`` m or anywhere, and perhaps walking."""
    return edge_fleet.devices(
        area,
        scenario.devices,
        speed_hz=(scenario.device_ghz_low * 1e9, scenario.device_ghz_high * 1e9),
        memory_bytes=round(scenario.device_mb * 1e6),
        power_w=scenario.power_w,
        kappa=scenario.kappa_e27 * 1e-27,
        walk=(steps_of(scenario), scenario.speed_m_s * scenario.move_ms * 1e-3),
        rng=rng,
        start=start,
    )


def applications_of(
    scenario: MECOffloadingScenario, draw: GraphDraw, rng: np.random.Generator
) -> Applications:
    """A graph for each application; those of a device arrive as a Poisson process."""
    rows = []
    for device in range(scenario.devices):
        clock = 0.0
        for app in range(scenario.apps):
            clock += rng.exponential(scenario.interarrival_s) if app else 0.0
            rows.append((round(clock * 1e9), device, draw(rng)))
    rows.sort(key=lambda row: row[:2])
    return Applications(
        graphs=tuple(row[2] for row in rows),
        device=np.array([row[1] for row in rows], np.int32),
        arrival=np.array([row[0] for row in rows], np.int64),
    )


def most_failures(scenario: MECOffloadingScenario) -> int:
    """Room for failures, of a number of which the mean is ``failures``."""
    return round(4 * scenario.failures) + 16 if scenario.failures else 0


def failures_of(scenario: MECOffloadingScenario, rng: np.random.Generator) -> Int64:
    """Servers that fail in the time that the applications take all-local, those of one disjoint."""
    count = min(int(rng.poisson(scenario.failures)), most_failures(scenario))
    span = scenario.tasks * scenario.mcycles / 1e3 / scenario.device_ghz_low * 1e9
    span += (scenario.apps - 1) * scenario.interarrival_s * 1e9
    away = round(scenario.failure_s * 1e9)
    free: dict[int, int] = {}
    rows = []
    for start in np.sort(rng.integers(0, max(1, round(span)), count)).tolist():
        server = int(rng.integers(scenario.servers))
        if start > free.get(server, -1):
            rows.append((server, start, start + away))
            free[server] = start + away
    return np.array(rows, np.int64).reshape(-1, 3)


def layered(scenario: MECOffloadingScenario, layers: int, ways: int) -> TaskGraph:
    """A tensor-parallel model (TPI-LLM): each layer is sliced, and the slices are summed.

    A slice holds its weights and reads the layer's input; little data is sent, often. What binds
    is the latency of the links and the memory of the devices, not bandwidth.
    """
    hidden = 8192  # bytes of an activation: 4,096 numbers of 16 bits
    cycles, memory, edges = [], [], []
    for layer in range(layers):
        first = layer * (ways + 1)
        for way in range(ways):
            cycles.append(round(scenario.mcycles * 1e6))
            memory.append(round(scenario.task_mb * 1e6))
            if layer:
                edges.append((first - 1, first + way, hidden))
            edges.append((first + way, first + ways, hidden))
        cycles.append(max(1, round(scenario.mcycles * 1e4)))
        memory.append(hidden)
    inputs = [hidden] * ways + [0] * (len(cycles) - ways)
    outputs = [0] * (len(cycles) - 1) + [hidden]
    edges.sort()
    return from_edges("layers", cycles, edges, memory=memory, inputs=inputs, outputs=outputs)


def _toy(name: str, seed: int, rng: np.random.Generator) -> MECWorkload:
    """One device of 1 GHz beside one server of 4 GHz, no cloud worth having, a fork of three tasks.

    All on the device: 1 s. The best is known by hand, see ``tests/envs/mec_offloading``.
    """
    area = edge_fleet.Area(
        side_m=100.0, radius_m=200.0, bandwidth_hz=1e6, server_hz=(4e9, 4e9), server_cores=2,
        server_bytes=10**9, wire_bits_s=1e8, wire_s=1e-3, cloud_hz=1e6, cloud_bits_s=1e6,
        cloud_s=1.0,
    )  # fmt: skip
    network = edge_fleet.network(area, 1, rng)
    devices = edge_fleet.devices(
        area, 1, speed_hz=(1e9, 1e9), memory_bytes=10**9, power_w=0.1, kappa=1e-27,
        walk=(1, 0.0), rng=rng, start=np.array([[50.0, 60.0]]),
    )  # fmt: skip
    graph = from_edges(
        TOY,
        [200_000_000, 400_000_000, 400_000_000],
        [(0, 1, 50_000), (0, 2, 50_000)],
        inputs=[50_000, 0, 0],
        outputs=[0, 10_000, 10_000],
    )
    apps = Applications((graph,), np.zeros(1, np.int32), np.zeros(1, np.int64))
    return workload_of(name, seed, network, devices, apps)
