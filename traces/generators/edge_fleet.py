"""Generated edge networks and devices: servers on a grid, devices that stand or walk between."""

from dataclasses import dataclass

import numpy as np

from fleetgym.traces.schema_mec import DeviceFleet, EdgeNetwork, Float64


@dataclass(frozen=True)
class Area:
    """What a generated place is like.

    Attributes:
        side_m: of the square.
        radius_m: within which a station covers devices.
        bandwidth_hz: of a cell, each way.
        server_hz: least and greatest speed of a server's cores.
        server_cores: of each.
        server_bytes: of each.
        wire_bits_s: of a link between neighbouring servers.
        wire_s: latency of such a link.
        cloud_hz: speed of the cloud's cores.
        cloud_bits_s: of the link from the first server to the cloud, and back.
        cloud_s: latency of that link.
    """

    side_m: float
    radius_m: float
    bandwidth_hz: float
    server_hz: tuple[float, float]
    server_cores: int
    server_bytes: int
    wire_bits_s: float
    wire_s: float
    cloud_hz: float
    cloud_bits_s: float
    cloud_s: float


IDLE_W, MAX_W = 60.0, 200.0  # of a server with all cores at work: a small edge box


def network(area: Area, servers: int, rng: np.random.Generator) -> EdgeNetwork:
    """Servers in the middles of a grid's fields, linked to their neighbours in a ring.

    The cloud is linked to every server. Latencies are of light traffic: queues come on top.
    """
    columns = int(np.ceil(np.sqrt(servers)))
    rows = -(-servers // columns)
    where = np.array([(k % columns, k // columns) for k in range(servers)], np.float64)
    position = (where + 0.5) * area.side_m / np.array([columns, rows])
    return place_network("grid", position, area, rng)


def place_network(
    name: str, position: Float64, area: Area, rng: np.random.Generator
) -> EdgeNetwork:
    """Servers at given positions ``(M, 2)`` m, linked in a ring, and to the cloud."""
    m = len(position)
    rate, latency = np.zeros((m + 1, m + 1)), np.zeros((m + 1, m + 1), np.int64)
    for server in range(m):
        ends = [(server, (server + 1) % m)] if m > 1 else []
        for one, other in [*ends, *[(other, one) for one, other in ends]]:
            rate[one, other] = area.wire_bits_s
            latency[one, other] = round(area.wire_s * 1e9)
        for one, other in ((server, m), (m, server)):
            rate[one, other] = area.cloud_bits_s
            latency[one, other] = round(area.cloud_s * 1e9)
    return EdgeNetwork(
        name=name,
        position=position,
        radius=np.full(m, area.radius_m),
        bandwidth=np.full(m, area.bandwidth_hz),
        speed=rng.uniform(*area.server_hz, m),
        cores=np.full(m, area.server_cores, np.int64),
        memory=np.full(m, area.server_bytes, np.int64),
        power_idle=np.full(m, IDLE_W),
        power_max=np.full(m, MAX_W),
        link_rate=rate,
        link_latency=latency,
    ).validate()


def devices(
    area: Area,
    count: int,
    *,
    speed_hz: tuple[float, float],
    memory_bytes: int,
    power_w: float,
    kappa: float,
    walk: tuple[int, float],
    rng: np.random.Generator,
    start: Float64 | None = None,
) -> DeviceFleet:
    """Devices at random positions, or at given ones.

    Args:
        area: where.
        count: U.
        speed_hz: least and greatest.
        memory_bytes: of each.
        power_w: of the transmitter.
        kappa: J s^2.
        walk: positions of the track, and metres from one to the next: a random waypoint walk.
        rng: of all draws.
        start: ``(U, 2)`` m.
    """
    if start is None:
        start = rng.uniform(0, area.side_m, (count, 2))
    steps, stride = walk
    track = np.empty((steps, count, 2))
    track[0] = start
    goal = rng.uniform(0, area.side_m, (count, 2))
    for step in range(1, steps):
        away = goal - track[step - 1]
        far = np.hypot(away[:, 0], away[:, 1])[:, None]
        track[step] = track[step - 1] + away * np.minimum(1.0, stride / np.maximum(far, 1e-9))
        there = (far <= stride)[:, 0]
        goal[there] = rng.uniform(0, area.side_m, (int(there.sum()), 2))
    return DeviceFleet(
        name="walk" if steps > 1 else "stand",
        track=track,
        speed=rng.uniform(*speed_hz, count),
        memory=np.full(count, memory_bytes, np.int64),
        kappa=np.full(count, kappa),
        power=np.full(count, power_w),
    ).validate()
