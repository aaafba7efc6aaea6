"""The fields of an offloading scenario."""

from dataclasses import dataclass
from typing import Literal

from fleetgym.envs.core.scenario import Scenario
from fleetgym.envs.mec_offloading.types import MAX_SERVERS


@dataclass(frozen=True, kw_only=True)
class Programs:
    """What the devices are asked to run. The knobs of graphs are those of ``daggen.py``.

    Attributes:
        tasks: of a generated graph.
        fat, density, regular, ccr, jump: of a generated graph.
        mcycles: million cycles of a task, on the mean.
        task_mb: 10^6 bytes that a task holds, on the mean.
        apps: applications of a device.
        interarrival_s: mean time between them (exponential); the first is there from the start.
        deadline_factor: deadline, over the critical path on the device itself.
    """

    tasks: int = 10
    fat: float = 0.5
    density: float = 0.5
    regular: float = 0.5
    ccr: float = 1.0
    jump: int = 1
    mcycles: float = 200.0
    task_mb: float = 64.0
    apps: int = 1
    interarrival_s: float = 2.0
    deadline_factor: float = 2.0


@dataclass(frozen=True, kw_only=True)
class Edge:
    """Servers, links and the cloud.

    Attributes:
        servers: M.
        sites: where they and the devices are: a generated grid if empty, "eua-melbourne", or a
            network of Topo4MEC.
        side_m: of the square they and the devices are in.
        radius_m: within which a station covers devices.
        bandwidth_mhz: of a cell, each way.
        server_ghz_low, server_ghz_high: speed of a server's cores is drawn between.
        server_cores: of each.
        server_mb: 10^6 bytes of each.
        discipline: "fifo" (a task has a core, others wait) or "ps" (tasks share the cores).
        wire_mbit_s, wire_ms: of a link between servers.
        cloud_ghz: speed of the cloud's cores, of which there are enough.
        cloud_mbit_s, cloud_ms: of a server's link to the cloud.
        failures: times that some server fails in an episode, on the mean.
        failure_s: that it is away then.
    """

    servers: int = 2
    sites: str = ""
    side_m: float = 400.0
    radius_m: float = 300.0
    bandwidth_mhz: float = 5.0
    server_ghz_low: float = 2.5
    server_ghz_high: float = 3.5
    server_cores: int = 2
    server_mb: float = 1024.0
    discipline: Literal["fifo", "ps"] = "fifo"
    wire_mbit_s: float = 200.0
    wire_ms: float = 2.0
    cloud_ghz: float = 5.0
    cloud_mbit_s: float = 50.0
    cloud_ms: float = 25.0
    failures: float = 0.0
    failure_s: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Handhelds:
    """The devices and their radio.

    Attributes:
        devices: U.
        device_ghz_low, device_ghz_high: highest speed is drawn between.
        device_mb: 10^6 bytes of each.
        kappa_e27: kappa in 1e-27 J s^2.
        dvfs: frequencies to choose from, as parts of the highest.
        power_w: of the transmitter.
        station_w: of a station's transmitter, to each device.
        radio_ms: latency of the radio.
        fading: Rayleigh fading, drawn anew each block.
        block_ms: of a block.
        speed_m_s: of walking; 0: devices stand.
        move_ms: between two positions of a walk.
        walk_s: after which they stand.
    """

    devices: int = 4
    device_ghz_low: float = 1.0
    device_ghz_high: float = 2.0
    device_mb: float = 512.0
    kappa_e27: float = 1.0
    dvfs: tuple[float, ...] = (1.0,)
    power_w: float = 0.5
    station_w: float = 1.0
    radio_ms: float = 1.0
    fading: bool = True
    block_ms: float = 100.0
    speed_m_s: float = 0.0
    move_ms: float = 500.0
    walk_s: float = 20.0


@dataclass(frozen=True, kw_only=True)
class MECOffloadingScenario(Scenario, Programs, Edge, Handhelds):
    """Devices offload dependent tasks to edge servers and a cloud.

    Attributes:
        priority: in which order ready tasks are decided: "heft", "peft", "ahp", "edf" or
            "topological".
        planned: every task is decided when its application arrives; each processor then keeps to
            the order of the decisions.
        action: "place" (one of P places) or "continuous" (a score for each place, a share of the
            device's frequency, a share of the transmitter's power; each from 0 to 255).
        view_delay_ms: what happens elsewhere is known so much later.
        symbols: of a message (0 is silence), under distributed control; 0: no messages.
        message_bytes: that a message sends.
        reward: of an agent under distributed control: "team" (the mean), "own" or "mixed".
        weight_time: of an unfinished application's time, over T_ref (all on the device).
        weight_energy: of the device's energy, over E_ref (all on the device).
        weight_miss: of a missed deadline.
        illegal_penalty: subtracted for an action the mask forbids.
        horizon_s: after which an episode is truncated.
    """

    priority: Literal["heft", "peft", "ahp", "edf", "topological"] = "heft"
    planned: bool = False
    action: Literal["place", "continuous"] = "place"
    view_delay_ms: float = 0.0
    symbols: int = 0
    message_bytes: int = 16
    reward: Literal["team", "own", "mixed"] = "team"
    weight_time: float = 1.0
    weight_energy: float = 0.2
    weight_miss: float = 0.5
    illegal_penalty: float = 0.01
    horizon_s: float = 600.0

    def check(self) -> None:
        """Raises ScenarioError where a field is out of range or two contradict each other."""
        for field, most in (
            ("tasks", 10_000),
            ("jump", 10_000),
            ("apps", 1000),
            ("servers", MAX_SERVERS),
            ("server_cores", 100_000),
            ("devices", 1000),
            ("message_bytes", 1_000_000),
        ):
            self._require(1 <= getattr(self, field) <= most, field, f"from 1 to {most}")
        for field in ("fat", "density", "regular"):
            self._require(0 <= getattr(self, field) <= 1, field, "from 0 to 1")
        for field in (
            "mcycles",
            "deadline_factor",
            "side_m",
            "radius_m",
            "bandwidth_mhz",
            "server_ghz_low",
            "server_ghz_high",
            "server_mb",
            "wire_mbit_s",
            "cloud_ghz",
            "cloud_mbit_s",
            "device_ghz_low",
            "device_ghz_high",
            "device_mb",
            "power_w",
            "station_w",
            "block_ms",
            "move_ms",
            "walk_s",
            "failure_s",
            "horizon_s",
        ):
            self._require(1e-6 <= getattr(self, field) <= 1e7, field, "from 1e-6 to 1e7")
        for field in (
            "ccr",
            "task_mb",
            "interarrival_s",
            "wire_ms",
            "cloud_ms",
            "kappa_e27",
            "radio_ms",
            "speed_m_s",
            "view_delay_ms",
            "weight_time",
            "weight_energy",
            "weight_miss",
            "illegal_penalty",
        ):
            self._require(0 <= getattr(self, field) <= 1e7, field, "from 0 to 1e7")
        self._require(0 <= self.failures <= 1000, "failures", "from 0 to 1000")
        self._check_together()

    def _check_together(self) -> None:
        for low, high in (
            ("server_ghz_low", "server_ghz_high"),
            ("device_ghz_low", "device_ghz_high"),
        ):
            self._require(getattr(self, low) <= getattr(self, high), low, f"{high} or less")
        self._require(
            len(self.dvfs) > 0 and all(1 / 256 <= level <= 1 for level in self.dvfs),
            "dvfs",
            "at least one number, each from 1/256 to 1",
        )
        self._require(
            self.action == "place" or self.dvfs == (1.0,),
            "dvfs",
            "(1.0,) where the action is continuous: it chooses the frequency",
        )
        self._require(
            self.symbols == 0 or (2 <= self.symbols <= 256), "symbols", "0, or from 2 to 256"
        )
        self._require(
            self.symbols == 0 or (self.control == "distributed" and self.action == "place"),
            "symbols",
            "0 unless control is 'distributed' and action is 'place'",
        )
        self._require(
            not self.planned or self.failures == 0, "failures", "0 where all is planned ahead"
        )

    @property
    def places(self) -> int:
        """P: the device's frequencies, the servers, the cloud."""
        return (1 if self.action == "continuous" else len(self.dvfs)) + self.servers + 1
