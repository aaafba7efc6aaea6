"""Loading a workload into the rows of one world."""

import numpy as np

from fleetgym.envs.core.errors import WorkloadError
from fleetgym.envs.hardware.cpu import SHARES
from fleetgym.envs.hardware.edge import routes
from fleetgym.envs.hardware.radio import mean_snr, noise_w_hz, path_gain
from fleetgym.envs.mec_offloading import types as t
from fleetgym.envs.mec_offloading.layout import Sizes, World
from fleetgym.envs.mec_offloading.ranks import costs_of, critical_path, ranks
from fleetgym.envs.mec_offloading.scenario import MECOffloadingScenario
from fleetgym.envs.mec_offloading.types import Float64, Int64
from fleetgym.envs.mec_offloading.workloads import MECWorkload
from fleetgym.traces.schema_mec import TaskGraph

KEY_BITS = 16  # of a key, for the task's place in topological order: ties go to the earlier one
MOST_RANK = 2**46


def write_rules(head: Int64, scenario: MECOffloadingScenario) -> None:
    """Writes what a scenario says into the heads of worlds ``(B, HEAD)``."""
    for at, value in {
        t.RULE_DELAY: round(scenario.view_delay_ms * 1e6),
        t.RULE_PLANNED: scenario.planned,
        t.RULE_SHARED: scenario.discipline == "ps",
        t.RULE_BLOCK: round(scenario.block_ms * 1e6) if scenario.fading else 0,
        t.RULE_MOVE: round(scenario.move_ms * 1e6),
        t.RULE_RADIO: round(scenario.radio_ms * 1e6),
        t.RULE_MESSAGE: 8 * scenario.message_bytes,
        t.RULE_HORIZON: round(scenario.horizon_s * 1e9),
        t.RULE_CONTINUOUS: scenario.action == "continuous",
        t.RULE_DISTRIBUTED: scenario.control == "distributed",
    }.items():
        head[:, at] = value


def load(
    world: World, workload: MECWorkload, scenario: MECOffloadingScenario, sizes: Sizes
) -> None:
    """Loads a workload into the one world of freshly allocated rows.

    Raises:
        WorkloadError: it does not fit the rows, or has a task that no place can hold.
    """
    check_fits(workload, sizes)
    head = world.ints[0]
    write_rules(world.ints, scenario)
    _load_sizes(world, workload, scenario, sizes)
    _load_machines(world, workload, scenario)
    _load_places(world, workload, scenario)
    events = _load_applications(world, workload, scenario)
    events += [
        (int(when), t.FAIL, int(server))
        for server, start, end in workload.failures
        for when in (start, end)
    ]
    if head[t.N_POSITIONS] > 1:
        events.append((int(head[t.RULE_MOVE]), t.MOVE, 0))
    events.sort()
    world.i["events"][0, : len(events)] = [(when, kind * 2**32 + k) for when, kind, k in events]
    head[t.EVENTS_END] = len(events)
    head[t.AIR_END] = t.NEVER


def check_fits(workload: MECWorkload, sizes: Sizes) -> None:
    """Raises WorkloadError where a workload is larger than its source's capacity says."""
    where = f"workload {workload.name!r} (seed {workload.seed})"
    graphs = workload.applications.graphs
    for what, size, due in (
        ("devices", workload.devices.num_devices, sizes.devices),
        ("servers", workload.network.num_servers, sizes.servers),
    ):
        if size != due:
            raise WorkloadError(f"{where} has {size} {what}, its source's capacity says {due}")
    tasks = np.array([graph.num_tasks for graph in graphs])
    of_device = np.bincount(workload.applications.device, weights=tasks)
    uses = sum(len(graph.use_data) + int(graph.data_result.sum()) for graph in graphs)
    for what, size, most in (
        ("tasks", int(tasks.sum()), sizes.tasks),
        ("tasks of one device", int(of_device.max()), sizes.device_tasks),
        ("data", sum(len(graph.data_bytes) for graph in graphs), sizes.data),
        ("uses and results", uses, sizes.uses),
        ("applications", len(graphs), sizes.apps),
        ("positions", len(workload.devices.track), sizes.positions),
        ("tasks (a key has room for)", int(tasks.sum()), 2**KEY_BITS),
        ("servers (a set has room for)", sizes.servers, t.MAX_SERVERS),
        ("failures", len(workload.failures), sizes.failures),
    ):
        if size > most:
            raise WorkloadError(
                f"{where} has {size} {what}, its source's capacity allows {most}: raise it"
            )


def _load_sizes(
    world: World, workload: MECWorkload, scenario: MECOffloadingScenario, sizes: Sizes
) -> None:
    head, graphs = world.ints[0], workload.applications.graphs
    tasks = sum(graph.num_tasks for graph in graphs)
    for at, value in {
        t.N_TASKS: tasks,
        t.N_DATA: sum(len(graph.data_bytes) for graph in graphs),
        t.N_USES: sum(len(graph.use_data) + int(graph.data_result.sum()) for graph in graphs),
        t.N_APPS: len(graphs),
        t.N_DEVICES: sizes.devices,
        t.N_SERVERS: sizes.servers,
        t.N_LEVELS: world.i["levels"].shape[1],
        t.N_SYMBOLS: scenario.symbols,
        t.N_AGENTS: world.i["asked"].shape[1],
        t.N_EVENTS: world.i["events"].shape[1],
        t.N_MESSAGES: sizes.uses,
        t.N_POSITIONS: len(workload.devices.track),
        t.RULE_SEED: workload.channel[0],
        t.RULE_STEPS: 4 * tasks + 64,
        t.APPS_LEFT: len(graphs),
    }.items():
        head[at] = value
    levels = scenario.dvfs if scenario.action == "place" else (1.0,)
    world.i["levels"][0] = [max(1, round(level * SHARES)) for level in levels]
    world.i["asked"][0] = t.NOBODY
    messages = world.i["uses"][0, sizes.uses :]
    messages[:, t.U_TASK], messages[:, t.U_TARGET] = t.MESSAGE, t.HOME


def _load_machines(world: World, workload: MECWorkload, scenario: MECOffloadingScenario) -> None:
    """Processors, links and radios."""
    network, fleet = workload.network, workload.devices
    u = fleet.num_devices
    processors, floats = world.i["processors"][0], world.f["device_floats"][0]
    cores = np.concatenate([np.ones(u, np.int64), network.cores, [t.UNLIMITED]])
    memory = np.concatenate([fleet.memory, network.memory, [t.UNLIMITED_BYTES]])
    processors[:, t.P_CORES] = processors[:, t.P_FREE] = cores
    if scenario.discipline == "ps":
        processors[u:, t.P_FREE] = t.UNLIMITED
    processors[:, t.P_MEMORY] = processors[:, t.P_CAPACITY] = memory
    processors[:, [t.P_HEAD, t.P_TAIL]] = t.NOBODY
    cloud = scenario.cloud_ghz * 1e9
    world.f["speeds"][0] = np.concatenate([fleet.speed, network.speed, [cloud]])
    world.f["band"][0] = network.bandwidth
    world.f["link_rate"][0] = network.link_rate * 1e-9
    world.i["delay"][0] = network.link_latency
    world.i["following"][0], world.i["route"][0] = routes(network)
    floats[:, t.FD_KAPPA], floats[:, t.FD_POWER] = fleet.kappa, fleet.power
    radio = world.i["radio"][0]
    radio[t.R_END] = t.NEVER
    radio[[t.R_CELL, t.R_HEAD, t.R_TAIL]] = t.NOBODY
    world.i["devices"][0, :, t.V_SERVING] = t.NOBODY


def _load_places(world: World, workload: MECWorkload, scenario: MECOffloadingScenario) -> None:
    """Coverage and gains at every position, and those of the first one."""
    network, fleet = workload.network, workload.devices
    apart = fleet.track[:, :, None] - network.position
    metres = np.hypot(apart[..., 0], apart[..., 1])  # (positions, U, M)
    covered = metres <= network.radius
    steps, n = len(fleet.track), network.num_servers
    world.h["cover"][0, :steps] = (covered * (1 << np.arange(n))).sum(axis=2)
    nearest = np.where(covered, metres, np.inf).argmin(axis=2)
    serving = np.where(covered.any(axis=2), nearest, t.NOBODY)
    world.h["serving"][0, :steps] = serving
    gain, noise = path_gain(metres), noise_w_hz()
    up = mean_snr(gain, fleet.power[:, None], network.bandwidth, noise)
    down = mean_snr(gain, np.full((1, 1), scenario.station_w), network.bandwidth, noise)
    radio = world.g["radio"][0]
    for way, snr in enumerate((up, down)):
        radio[:steps, way] = snr
        radio[:steps, 2 + way] = np.float32(np.log2(1 + snr))
    # Where the episode begins is no handover.
    world.i["devices"][0, :, t.V_SERVING] = serving[0]


def _load_applications(
    world: World, workload: MECWorkload, scenario: MECOffloadingScenario
) -> list[tuple[int, int, int]]:
    """Fills the hidden tables; returns the events of the applications' arrivals."""
    apps, events = workload.applications, []
    at = Counters()
    for app, graph in enumerate(apps.graphs):
        device, arrival = int(apps.device[app]), int(apps.arrival[app])
        rates = Rates.of(world, device)
        cost = costs_of(graph, rates.speeds, rates.bits_per_ns)
        order = graph.order.astype(np.int64)
        home = graph.cycles * 1e9 / rates.speeds[0]
        alone = critical_path(order, cost.edges, home)
        deadline = arrival + round(scenario.deadline_factor * alone)
        fastest = critical_path(order, cost.edges, cost.run.min(axis=1))
        rank = ranks(scenario.priority, graph, cost, deadline)
        row = world.h["apps"][0, app]
        if scenario.planned:
            rank = _parents_first(rank, graph)
        _load_graph(world, graph, app, device, rank, at, workload)
        row[t.A_DEVICE], row[t.A_ARRIVAL], row[t.A_FINISH] = device, arrival, -1
        row[t.A_DEADLINE], row[t.A_CRITICAL] = deadline, int(fastest)
        row[t.A_LEFT] = graph.num_tasks + int(graph.data_result.sum())
        row[t.A_UNIT] = max(1, round(float(home.mean())))
        kappa, speed = workload.devices.kappa[device], workload.devices.speed[device]
        joules = kappa * speed**2 * float(graph.cycles.sum())
        world.g["app_floats"][0, app] = 1 / float(home.sum()), 1 / max(joules, 1e-9)
        events.append((arrival, t.APPEAR, app))
    return events


def _parents_first(rank: Int64, graph: TaskGraph) -> Int64:
    """No rank above a parent's: a processor that keeps to an order must not wait for a later task.

    HEFT's ranks are such by themselves; those of PEFT and AHP are not.
    """
    least = rank.copy()
    place = np.argsort(graph.order)
    for parent, child in graph.edges[np.argsort(place[graph.edges[:, 0]], kind="stable")].tolist():
        least[child] = min(least[child], least[parent])
    return least


class Counters:
    """How much of the tables is filled."""

    def __init__(self) -> None:
        self.tasks = self.data = self.uses = self.inputs = 0
        self.slots: dict[int, int] = {}


class Rates:
    """What a device's places are like, for the priorities.

    Attributes:
        speeds: ``(P,)`` Hz of the device, the servers, the cloud.
        bits_per_ns: of its own serving cell with nobody else in it, else of the mean link.
    """

    def __init__(self, speeds: Float64, bits_per_ns: float) -> None:
        self.speeds, self.bits_per_ns = speeds, bits_per_ns

    @classmethod
    def of(cls, world: World, device: int) -> "Rates":
        """The rates of a device where it is at the start."""
        devices = world.i["devices"].shape[1]
        every = world.f["speeds"][0]
        serving = int(world.h["serving"][0, 0, device])
        links = world.f["link_rate"][0]
        rate = float(links[links > 0].mean())
        if serving >= 0:
            mean = float(world.g["radio"][0, 0, 2, device, serving])
            rate = max(world.f["band"][0, serving] * mean * 1e-9, 1e-9)
        return cls(np.concatenate([every[device : device + 1], every[devices:]]), rate)


def _load_graph(
    world: World,
    graph: TaskGraph,
    app: int,
    device: int,
    rank: Int64,
    at: Counters,
    workload: MECWorkload,
) -> None:
    """Writes the tasks, data and uses of one application, data in the order of its makers."""
    n, d = graph.num_tasks, len(graph.data_bytes)
    order = np.argsort(graph.data_producer, kind="stable")
    place = np.empty(d, np.int64)
    place[order] = np.arange(d)
    producer = graph.data_producer[order].astype(np.int64)
    # Uses by data: its readers in their order, then its way home.
    results = np.flatnonzero(graph.data_result[order])
    of_data = np.concatenate([place[graph.use_data], results])
    of_task = np.concatenate([graph.use_task, np.full(len(results), t.RESULT)])
    sort = np.lexsort((np.where(of_task == t.RESULT, n, of_task), of_data))
    of_data, of_task = of_data[sort].astype(np.int64), of_task[sort].astype(np.int64)
    _check_memory(world, graph, device, workload)
    tasks = world.h["tasks"][0, at.tasks : at.tasks + n]
    data = world.h["data"][0, at.data : at.data + d]
    uses = world.h["uses"][0, at.uses : at.uses + len(of_data)]
    uses[:, t.U_DATA] = at.data + of_data
    uses[:, t.U_TASK] = np.where(of_task == t.RESULT, t.RESULT, at.tasks + of_task)
    uses[:, [t.U_TARGET, t.U_NEXT]] = t.NOBODY
    data[:, t.D_BYTES] = graph.data_bytes[order]
    data[:, t.D_PRODUCER] = np.where(producer < 0, t.NOBODY, at.tasks + producer)
    data[:, t.D_DEVICE], data[:, t.D_APP] = device, app
    data[:, t.D_FIRST] = at.uses + np.searchsorted(of_data, np.arange(d))
    data[:, t.D_LAST] = at.uses + np.searchsorted(of_data, np.arange(d), side="right")
    tasks[:, t.T_STATE], tasks[:, t.T_NODE] = t.BLOCKED, t.NOBODY
    tasks[:, t.T_DEVICE], tasks[:, t.T_APP] = device, app
    first = at.slots.get(device, 0)
    tasks[:, t.T_SLOT] = first + np.arange(n)
    at.slots[device] = first + n
    tasks[:, t.T_MEMORY], tasks[:, t.T_CYCLES] = graph.memory, graph.cycles
    made = of_task != t.RESULT
    waits = made & (producer[of_data] >= 0)
    tasks[:, t.T_WAITING] = np.bincount(of_task[waits], minlength=n)
    tasks[:, t.T_NEXT] = t.NOBODY
    number = at.tasks + np.argsort(graph.order)
    tasks[:, t.T_KEY] = (-np.clip(rank, -MOST_RANK, MOST_RANK) << KEY_BITS) + number
    by_task = np.argsort(of_task[made], kind="stable")
    readers = of_task[made][by_task]
    count = len(readers)
    world.h["inputs"][0, at.inputs : at.inputs + count] = at.uses + np.flatnonzero(made)[by_task]
    tasks[:, t.T_IN] = at.inputs + np.searchsorted(readers, np.arange(n))
    tasks[:, t.T_IN_END] = at.inputs + np.searchsorted(readers, np.arange(n), side="right")
    tasks[:, t.T_OUT] = at.data + np.searchsorted(producer, np.arange(n))
    tasks[:, t.T_OUT_END] = at.data + np.searchsorted(producer, np.arange(n), side="right")
    row = world.h["apps"][0, app]
    row[t.A_TASKS], row[t.A_TASKS_END] = at.tasks, at.tasks + n
    row[t.A_DATA], row[t.A_DATA_END] = at.data, at.data + d
    at.tasks, at.data, at.uses, at.inputs = (
        at.tasks + n,
        at.data + d,
        at.uses + len(of_data),
        at.inputs + count,
    )


def _check_memory(world: World, graph: TaskGraph, device: int, workload: MECWorkload) -> None:
    """Raises WorkloadError for a task that could never be placed: out of every cell, too large."""
    need, has = int(graph.memory.max()), int(workload.devices.memory[device])
    if need > has and (world.h["cover"][0, :, device] == 0).all():
        raise WorkloadError(
            f"workload {workload.name!r}: device {device} is in no cell and has {has} bytes, a "
            f"task of {graph.name!r} needs {need}: give the device memory, or a cell"
        )
