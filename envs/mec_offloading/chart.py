"""What the renderings draw: the work of every processor over time, and who is where."""

from dataclasses import dataclass

from fleetgym.envs.core.simulator import Simulator
from fleetgym.envs.mec_offloading import types as t
from fleetgym.envs.mec_offloading.simulator import MECOffloadingSimulator
from fleetgym.envs.mec_offloading.workloads import MECWorkload

SHOWN = 24  # processors that are drawn one by one


@dataclass(frozen=True)
class Bar:
    """A task at work: its device, its number there, and from when to when (ns)."""

    device: int
    slot: int
    start: int
    end: int


@dataclass(frozen=True)
class Lane:
    """A processor: its name, what it did and does, and how many tasks wait for it."""

    name: str
    bars: tuple[Bar, ...]
    waiting: int


@dataclass(frozen=True)
class Air:
    """A flight on the air: the device, the server whose cell it uses, and which way."""

    device: int
    server: int
    up: bool


@dataclass(frozen=True)
class Chart:
    """One world.

    Attributes:
        title, question: in words.
        facts: name and value of the figures.
        lanes: of processors; beyond SHOWN they are left out, those without work first.
        end: ns, of the time axis, which begins at 0.
        now: ns.
        air: what is on the air.
        side: m, of the square of the map; 0 where positions are not known.
        servers, devices: positions in m, from 0 to ``side``.
        radius: m, of each server.
    """

    title: str
    question: str
    facts: tuple[tuple[str, str], ...]
    lanes: tuple[Lane, ...]
    end: int
    now: int
    air: tuple[Air, ...]
    side: float
    servers: tuple[tuple[float, float], ...]
    devices: tuple[tuple[float, float], ...]
    radius: tuple[float, ...]


def chart_of(simulator: Simulator, world: int) -> Chart:
    """The chart of one world.

    Raises:
        TypeError: the simulator is not of this family.
    """
    if not isinstance(simulator, MECOffloadingSimulator):
        raise TypeError(f"{type(simulator).__name__} has no tasks to draw")
    now = int(simulator.now()[world])
    lanes = _lanes(simulator, world, now)
    ends = [bar.end for lane in lanes for bar in lane.bars]
    metrics = {name: float(value[world]) for name, value in simulator.metrics().items()}
    scenario, sizes = simulator.scenario, simulator.sizes
    side, servers, devices, radius = _map(simulator, world)
    return Chart(
        title=f"{scenario.name} ({scenario.workload}): {sizes.devices} devices, "
        f"{sizes.servers} servers",
        question=_question(simulator, world),
        facts=(
            ("time", f"{now / 1e9:.3f} s"),
            ("decided", f"{metrics['decisions']:.0f}"),
            ("finished", f"{metrics['applications_finished']:.0f}"),
            ("makespan", f"{metrics['mean_makespan_s']:.3f} s"),
            ("energy", f"{metrics['device_energy_j']:.2f} J"),
            ("offloaded", f"{metrics['offloaded_share']:.0%}"),
            ("sent", f"{metrics['sent_mb']:.2f} MB"),
        ),
        lanes=lanes,
        end=max([now, 1, *ends]),
        now=now,
        air=_air(simulator, world),
        side=side,
        servers=servers,
        devices=devices,
        radius=radius,
    )


def _lanes(simulator: MECOffloadingSimulator, world: int, now: int) -> tuple[Lane, ...]:
    state = simulator.state()
    tasks, n, m = state.tasks[world], simulator.sizes.devices, simulator.sizes.servers
    names = [f"dev {u}" for u in range(n)] + [f"srv {k}" for k in range(m)] + ["cloud"]
    bars: list[list[Bar]] = [[] for _ in names]
    waiting = [0] * len(names)
    for row in tasks.tolist():
        task_state, node = row[t.T_STATE], row[t.T_NODE]
        if not t.PLACED <= task_state <= t.DONE:
            continue
        p = row[t.T_DEVICE] if node == t.HOME else n + node
        if task_state < t.RUNNING:
            waiting[p] += 1
            continue
        end = row[t.T_END] if task_state == t.DONE else max(row[t.T_END], now)
        bars[p].append(Bar(row[t.T_DEVICE], row[t.T_SLOT], row[t.T_START], end))
    lanes = [Lane(*one) for one in zip(names, map(tuple, bars), waiting, strict=True)]
    busy = sorted(range(len(lanes)), key=lambda p: (not lanes[p].bars, p))[:SHOWN]
    kept = set(busy if len(lanes) > SHOWN else range(len(lanes)))
    return tuple(lane for p, lane in enumerate(lanes) if p in kept)


def _question(simulator: MECOffloadingSimulator, world: int) -> str:
    state = simulator.state()
    asked = [int(task) for task in state.asked[world] if task != t.NOBODY]
    if not asked:
        return "nothing is asked"
    words = []
    for task in asked[:4]:
        row = state.tasks[world, task]
        words.append(f"task {row[t.T_SLOT]} of device {row[t.T_DEVICE]}")
    more = f" and {len(asked) - 4} more" if len(asked) > 4 else ""
    return f"where do {', '.join(words)}{more} run?" if asked[1:] else f"where does {words[0]} run?"


def _air(simulator: MECOffloadingSimulator, world: int) -> tuple[Air, ...]:
    cells = simulator.world.i["radio"][world, t.R_CELL].tolist()
    n = simulator.sizes.devices
    return tuple(Air(r % n, cell, r < n) for r, cell in enumerate(cells) if cell != t.NOBODY)


def _map(
    simulator: MECOffloadingSimulator, world: int
) -> tuple[
    float,
    tuple[tuple[float, float], ...],
    tuple[tuple[float, float], ...],
    tuple[float, ...],
]:
    """Side of the map, positions of servers and devices on it, and radii."""
    workload = simulator.workloads[world]
    if not isinstance(workload, MECWorkload):
        return 0.0, (), (), ()
    at = min(int(simulator.world.ints[world, t.POSITION]), len(workload.devices.track) - 1)
    servers, devices = workload.network.position, workload.devices.track[at]
    low = workload.devices.track.min(axis=(0, 1))
    high = workload.devices.track.max(axis=(0, 1))
    low, high = servers.min(axis=0).clip(max=low), servers.max(axis=0).clip(min=high)
    side = max(float((high - low).max()), 1.0)

    def placed(points: t.Float64) -> tuple[tuple[float, float], ...]:
        return tuple((float(x), float(y)) for x, y in points - low)

    return side, placed(servers), placed(devices), tuple(workload.network.radius.tolist())
