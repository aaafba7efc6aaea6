"""What networks and devices have that records of positions or links do not say."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fleetgym.traces.schema_mec import DeviceFleet, EdgeNetwork, Int64

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class EdgeRule:
    """Base stations, servers and wires, where the file is silent.

    Attributes:
        radius: metres that a station covers.
        bandwidth: Hz of a cell.
        speed: Hz of a server's core.
        cores: of a server.
        memory: bytes of a server.
        power_idle: W of a server.
        power_max: W of a server.
        link_rate: bit/s between servers.
        link_latency_ns: of such a link.
        cloud_rate: bit/s between the cloud and its server.
        cloud_latency_ns: of that link.
    """

    radius: float = 300.0
    bandwidth: float = 20e6
    speed: float = 3e9
    cores: int = 8
    memory: int = 16 << 30
    power_idle: float = 60.0
    power_max: float = 200.0
    link_rate: float = 1e9
    link_latency_ns: int = 1_000_000
    cloud_rate: float = 1e9
    cloud_latency_ns: int = 25_000_000

    def network(
        self,
        name: str,
        position: Float64,
        link_rate: Float64,
        *,
        speed: Float64 | None = None,
        cores: int | None = None,
        memory: Int64 | None = None,
    ) -> EdgeNetwork:
        """A network, checked, its cloud behind the server with the most links.

        Args:
            name: of the topology.
            position: ``(M, 2)`` metres.
            link_rate: ``(M, M)`` bit/s, 0 without a link.
            speed: ``(M,)`` Hz of a core, where known.
            cores: of each server, where known.
            memory: ``(M,)`` bytes, where known.

        Raises:
            TraceError: as `EdgeNetwork.validate`: above all, a server that no link reaches.
        """
        m = len(position)
        rate = np.zeros((m + 1, m + 1))
        rate[:m, :m] = link_rate
        gateway = int(np.argmax((link_rate > 0).sum(axis=1)))
        rate[gateway, m] = rate[m, gateway] = self.cloud_rate
        latency = np.where(rate > 0, self.link_latency_ns, 0)
        latency[gateway, m] = latency[m, gateway] = self.cloud_latency_ns
        return EdgeNetwork(
            name=name,
            position=position,
            radius=np.full(m, self.radius),
            bandwidth=np.full(m, self.bandwidth),
            speed=np.full(m, self.speed) if speed is None else speed,
            cores=np.full(m, self.cores if cores is None else cores, np.int64),
            memory=np.full(m, self.memory, np.int64) if memory is None else memory,
            power_idle=np.full(m, self.power_idle),
            power_max=np.full(m, self.power_max),
            link_rate=rate,
            link_latency=latency.astype(np.int64),
        ).validate()


@dataclass(frozen=True)
class DeviceRule:
    """Devices, of which files say at most where they are.

    Attributes:
        slowest: Hz of the slowest CPU; speeds are uniform from it to ``fastest``.
        fastest: Hz.
        memory: bytes.
        kappa: J s^2, as in `DeviceFleet`.
        power: W of the transmitter.
    """

    slowest: float = 0.8e9
    fastest: float = 1.6e9
    memory: int = 4 << 30
    kappa: float = 1e-27
    power: float = 0.2

    def fleet(self, name: str, position: Float64, rng: np.random.Generator) -> DeviceFleet:
        """Devices that stay at ``(U, 2)`` positions, in metres; speeds in steps of 0.1 GHz."""
        u = len(position)
        steps = round((self.fastest - self.slowest) / 1e8)
        return DeviceFleet(
            name=name,
            track=position[None],
            speed=np.asarray(self.slowest + 1e8 * rng.integers(steps + 1, size=u), np.float64),
            memory=np.full(u, self.memory, np.int64),
            kappa=np.full(u, self.kappa),
            power=np.full(u, self.power),
        ).validate()


DEFAULT_EDGE, DEFAULT_DEVICE = EdgeRule(), DeviceRule()
