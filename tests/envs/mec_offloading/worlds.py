"""Small worlds for tests: random ones in which everything occurs, and simple ones known by hand."""

import numpy as np

from fleetgym.envs.core.registration import family_of
from fleetgym.envs.mec_offloading.workloads import workload_of
from fleetgym.traces.schema_mec import (
    OUTSIDE,
    Applications,
    DeviceFleet,
    EdgeNetwork,
    TaskGraph,
    from_edges,
)

FAMILY = family_of("MECOffloading")


class Source:
    """Worlds of one size from a function of (scenario, seed)."""

    name = "test"

    def __init__(self, capacity, draw):
        self.capacity, self.draw = capacity, draw


def capacity_of(workload):
    graphs = workload.applications.graphs
    tasks = [graph.num_tasks for graph in graphs]
    return {
        "devices": workload.devices.num_devices,
        "servers": workload.network.num_servers,
        "tasks": sum(tasks),
        "device_tasks": int(np.bincount(workload.applications.device, weights=tasks).max()),
        "data": sum(len(graph.data_bytes) for graph in graphs),
        "uses": sum(len(graph.use_data) + int(graph.data_result.sum()) for graph in graphs),
        "apps": len(graphs),
        "positions": len(workload.devices.track),
        "failures": len(workload.failures),
    }


def simulator_of(workload, scenario, num_worlds=1):
    simulator = FAMILY.load(FAMILY.simulator)(scenario, capacity_of(workload), num_worlds)
    simulator.reset([workload] * num_worlds)
    return simulator


def random_graph(rng, most=7):
    """Files with several readers, dependences without bytes, results that are read as well."""
    n = int(rng.integers(1, most + 1))
    producer, size, result, uses = [], [], [], []
    for maker in range(-1, n):
        for _ in range(int(rng.integers(0, 3))):
            readers = [t for t in range(maker + 1, n) if rng.random() < 0.4]
            home = maker >= 0 and rng.random() < 0.3
            if not readers and not home:
                continue
            uses += [(len(producer), t) for t in readers]
            producer.append(maker if maker >= 0 else OUTSIDE)
            size.append(int(rng.choice([0, rng.integers(1, 400_000)], p=[0.15, 0.85])))
            result.append(home)
    return TaskGraph(
        name="random",
        cycles=rng.integers(10**6, 4 * 10**8, n),
        memory=rng.integers(0, 100, n),
        data_bytes=np.array(size, np.int64),
        data_producer=np.array(producer, np.int32),
        data_result=np.array(result, np.bool_),
        use_data=np.array([d for d, _ in uses], np.int32),
        use_task=np.array([t for _, t in uses], np.int32),
    ).validate()


def random_network(rng, servers):
    nodes = servers + 1
    rate = np.zeros((nodes, nodes))
    order = rng.permutation(nodes)
    for a, b in zip(order, np.roll(order, 1), strict=True):
        if a != b:
            rate[a, b] = rng.uniform(1e7, 1e8)
    extra = rng.random((nodes, nodes)) < 0.3
    np.fill_diagonal(extra, False)
    rate[extra] = rng.uniform(1e7, 1e8, int(extra.sum()))
    return EdgeNetwork(
        name="random",
        position=rng.uniform(0, 500, (servers, 2)),
        radius=rng.uniform(150, 450, servers),
        bandwidth=rng.uniform(1e6, 5e6, servers),
        speed=rng.uniform(1e9, 4e9, servers),
        cores=rng.integers(1, 4, servers),
        memory=rng.integers(80, 300, servers),
        power_idle=np.full(servers, 50.0),
        power_max=np.full(servers, 150.0),
        link_rate=rate,
        link_latency=rng.integers(0, 5_000_000, (nodes, nodes)) * (rate > 0),
    ).validate()


def random_workload(scenario, seed, channel=7):
    """Devices that may be out of every cell, walk, lack memory; servers that fail."""
    rng = np.random.default_rng([seed, 0x0DDB411])
    u, m = int(rng.integers(1, 5)), int(rng.integers(1, 4))
    steps = 1 if scenario.speed_m_s == 0 else 8
    track = rng.uniform(0, 500, (1, u, 2)) + rng.uniform(-80, 80, (steps, u, 2)).cumsum(axis=0)
    fleet = DeviceFleet(
        name="random",
        track=track,
        speed=rng.uniform(5e8, 1.5e9, u),
        memory=rng.integers(100, 200, u),
        kappa=np.full(u, 1e-27),
        power=rng.uniform(0.1, 0.5, u),
    )
    rows = []
    for device in range(u):
        for _ in range(int(rng.integers(1, 3))):
            rows.append((int(rng.integers(0, 3)) * 200_000_000, device, random_graph(rng)))
    rows.sort(key=lambda row: row[:2])
    apps = Applications(
        tuple(row[2] for row in rows),
        np.array([row[1] for row in rows], np.int32),
        np.array([row[0] for row in rows], np.int64),
    )
    failures = []
    if scenario.failures:
        for server in range(m):
            start = int(rng.integers(0, 400_000_000))
            failures.append((server, start, start + int(rng.integers(1, 300_000_000))))
    return workload_of(
        "test", seed, random_network(rng, m), fleet, apps, channel=channel,
        failures=np.array(failures, np.int64).reshape(-1, 3),
    )  # fmt: skip


def simple(
    graphs,
    *,
    device_hz=1e9,
    server_hz=(4e9,),
    cores=1,
    bandwidth=1e6,
    cells=None,
    memory=10**9,
    arrivals=None,
    devices=None,
    distance=100.0,
    wire=(1e8, 1_000_000),
):
    """A workload of round numbers: every device ``distance`` metres from every server.

    Args:
        graphs: one for each application.
        devices: device of each application; one each by default.
    """
    m, a = len(server_hz), len(graphs)
    owner = list(range(a)) if devices is None else devices
    u = max(owner) + 1
    nodes = m + 1
    linked = ~np.eye(nodes, dtype=bool)
    network = EdgeNetwork(
        name="simple",
        position=np.zeros((m, 2)),
        radius=np.full(m, 1000.0) if cells is None else np.array(cells, float),
        bandwidth=np.full(m, bandwidth),
        speed=np.array(server_hz, float),
        cores=np.full(m, cores, np.int64),
        memory=np.full(m, memory, np.int64),
        power_idle=np.full(m, 60.0),
        power_max=np.full(m, 200.0),
        link_rate=linked * wire[0],
        link_latency=linked * np.int64(wire[1]),
    )
    fleet = DeviceFleet(
        name="simple",
        track=np.broadcast_to([distance, 0.0], (1, u, 2)).copy(),
        speed=np.full(u, device_hz),
        memory=np.full(u, memory, np.int64),
        kappa=np.full(u, 1e-27),
        power=np.full(u, 0.5),
    )
    when = np.zeros(a, np.int64) if arrivals is None else np.array(arrivals, np.int64)
    return workload_of(
        "test", 0, network, fleet, Applications(tuple(graphs), np.array(owner, np.int32), when)
    )


def one_task(cycles, bytes_in=0, bytes_out=0, memory=0):
    """A graph of one task."""
    return from_edges("one", [cycles], [], memory=[memory], inputs=[bytes_in], outputs=[bytes_out])
