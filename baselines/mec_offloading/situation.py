"""What an application still needs, as a static problem: what planners plan on.

What is already placed stays where it is, what others placed keeps cores busy, and data takes as
long as it does alone on wires, in a cell with as many users as there are now or on average.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fleetgym.baselines.mec_offloading.problem import FORBIDDEN, Float64, Int64, Problem, make
from fleetgym.baselines.mec_offloading.wires import Ways
from fleetgym.envs.hardware.radio import FADE
from fleetgym.envs.mec_offloading.scenario import MECOffloadingScenario
from fleetgym.envs.mec_offloading.types import (
    A_DATA,
    A_DATA_END,
    A_DEADLINE,
    A_DEVICE,
    A_TASKS,
    A_TASKS_END,
    D_BYTES,
    D_FIRST,
    D_LAST,
    D_PRODUCER,
    D_WHERE,
    DONE,
    FD_KAPPA,
    FD_POWER,
    NOBODY,
    P_BACKLOG,
    P_CAPACITY,
    P_CORES,
    PLACED,
    RUNNING,
    S_BACKLOG,
    S_FAILED,
    T_CYCLES,
    T_EXEC,
    T_KNOWN,
    T_MEMORY,
    T_NODE,
    T_START,
    T_STATE,
    U_DATA,
    U_TASK,
    V_SERVING,
    State,
)

MOST_CORES = 16  # of the cloud, which has enough of them, that a plan reckons with


class Situation(NamedTuple):
    """A problem whose places are the device, the servers and the cloud."""

    problem: Problem
    task: Int64  # (N,) row of each of its tasks
    deadline: Float64  # (1,) ns from now


class Graph(NamedTuple):
    """The part of an application that is not known to have finished; data and uses are whole."""

    task: Int64  # (N,) rows, parents before children
    bits: Float64  # (D,)
    maker: Int64  # (D,) index into ``task``, -1 for what is there
    where: Int64  # (D,) set of nodes, as D_WHERE
    use_data: Int64  # (E,)
    use_task: Int64  # (E,) index into ``task``, -1 for a result


class Looker:
    """Reads situations off the state of worlds.

    Args:
        scenario: of the worlds.
        full: whether all is seen at once; else, of other devices and of servers, what servers last
            said, and of own tasks elsewhere nothing but that they were sent there.
        best: whether the channel is at its best and nobody else is on the air, for bounds.
    """

    def __init__(self, scenario: MECOffloadingScenario, *, full: bool, best: bool = False) -> None:
        self.scenario, self.full = scenario, full
        self._fade = 0.0
        if best:
            self._fade = float(FADE.max()) if scenario.fading else 1.0

    def ways(self, state: State, b: int, device: int) -> Ways:
        """How data travels between a device, the servers and the cloud."""
        return Ways(state, b, device, self.scenario.radio_ms * 1e6, self._fade)

    def look(self, state: State, b: int, app: int, ways: Ways | None = None) -> Situation | None:
        """The situation of an application that has arrived; None where nothing is left.

        Args:
            state: of the worlds.
            b: which world.
            app: which application.
            ways: how its data travels; as things stand if left out.
        """
        graph = graph_of(state, b, app)
        if not len(graph.task):
            return None
        u = int(state.apps[b, app, A_DEVICE])
        ways = ways or self.ways(state, b, u)
        tasks = state.tasks[b, graph.task]
        placed = (tasks[:, T_STATE] >= PLACED) & (tasks[:, T_STATE] <= DONE)
        duration = self._durations(state, b, u, tasks)
        release, tail = _ends(graph, ways)
        for i in np.flatnonzero(placed):
            duration[i], release[i, :] = FORBIDDEN, release[i]
            place = int(tasks[i, T_NODE]) + 1
            duration[i, place] = tasks[i, T_EXEC]
            if tasks[i, T_STATE] == RUNNING and (self.full or place == 0):
                ran = int(state.clock[b] - tasks[i, T_START])
                duration[i, place], release[i] = max(0, int(tasks[i, T_EXEC]) - ran), 0
        edges, bits = _edges(graph)
        cores, free = self._cores(state, b, u, tasks, placed)
        per_ns, per_joule = self._weights(state, b, u, app)
        problem = make(
            duration,
            edges,
            ways.times(bits),
            cores=cores,
            release=release,
            tail=tail,
            price=_joules(state, b, u, tasks, graph, ways) * per_joule,
            free=free,
            weight=[per_ns],
        )
        deadline = float(state.apps[b, app, A_DEADLINE] - state.clock[b])
        return Situation(problem, graph.task, np.array([deadline]))

    def _durations(self, state: State, b: int, u: int, tasks: Int64) -> Int64:
        """``(N, M + 2)`` ns where there is memory, coverage, and no failure that was seen."""
        own = [u, *range(len(state.devices[b]), len(state.speeds[b]))]
        speed = state.speeds[b, own]
        duration = np.ceil(tasks[:, T_CYCLES, None] * 1e9 / speed).astype(np.int64)
        room = state.processors[b, own, P_CAPACITY]
        closed = tasks[:, T_MEMORY, None] > room
        closed[:, 1:-1] |= state.seen[b, :, S_FAILED] == 1
        closed[:, 1:] |= state.devices[b, u, V_SERVING] == NOBODY
        closed[closed.all(axis=1), 0] = False  # it waits at home for memory, or for a cell
        return np.where(closed, FORBIDDEN, duration)

    def _cores(
        self, state: State, b: int, u: int, tasks: Int64, placed: NDArray[np.bool_]
    ) -> tuple[Int64, Int64]:
        """Cores of each place, and when each is free of what the problem does not hold, ns."""
        own = [u, *range(len(state.devices[b]), len(state.speeds[b]))]
        rows = state.processors[b, own]
        cores = np.minimum(rows[:, P_CORES], MOST_CORES)
        backlog = rows[:, P_BACKLOG].copy()
        if not self.full:
            backlog[1:-1] = state.seen[b, :, S_BACKLOG]
        np.subtract.at(backlog, tasks[placed, T_NODE] + 1, tasks[placed, T_EXEC])
        backlog[-1] = 0
        return cores, np.repeat(np.maximum(backlog, 0) // cores, cores)

    def _weights(self, state: State, b: int, u: int, app: int) -> tuple[float, float]:
        """What a nanosecond and a joule of the application cost."""
        row = state.apps[b, app]
        cycles = float(state.tasks[b, row[A_TASKS] : row[A_TASKS_END], T_CYCLES].sum())
        speed = float(state.speeds[b, u])
        joules = float(state.device_floats[b, u, FD_KAPPA]) * speed**2 * cycles
        return (
            self.scenario.weight_time / (cycles * 1e9 / speed),
            self.scenario.weight_energy / max(joules, 1e-9),
        )


def graph_of(state: State, b: int, app: int) -> Graph:
    """The tasks of an application that are not known to have finished, and all its data."""
    row = state.apps[b, app]
    first, end = int(row[A_TASKS]), int(row[A_TASKS_END])
    data = state.data[b, row[A_DATA] : row[A_DATA_END]]
    uses = np.zeros((0, state.uses.shape[2]), np.int64)
    if len(data):
        uses = state.uses[b, data[0, D_FIRST] : data[-1, D_LAST]]
    maker = np.where(data[:, D_PRODUCER] == NOBODY, -1, data[:, D_PRODUCER] - first)
    use_data = uses[:, U_DATA] - row[A_DATA]
    use_task = np.where(uses[:, U_TASK] < 0, -1, uses[:, U_TASK] - first)
    level = np.zeros(end - first, np.int64)
    inner = (use_task >= 0) & (maker[use_data] >= 0)
    parent, child = maker[use_data[inner]], use_task[inner]
    for _ in range(end - first):
        before = level.copy()
        np.maximum.at(level, child, level[parent] + 1)
        if (level == before).all():
            break
    order = np.argsort(level, kind="stable")
    left = order[state.tasks[b, first + order, T_KNOWN] == 0]
    index = np.full(end - first + 1, -1)
    index[left] = np.arange(len(left))
    kept = (use_task < 0) | (index[use_task] >= 0)
    return Graph(
        task=first + left,
        bits=8 * data[:, D_BYTES].astype(np.float64),
        maker=index[maker],
        where=data[:, D_WHERE],
        use_data=use_data[kept],
        use_task=index[use_task[kept]],
    )


def _edges(graph: Graph) -> tuple[Int64, Float64]:
    """``(edges, 2)`` parent and child, and the bits between them."""
    maker = graph.maker[graph.use_data]
    inner = (maker >= 0) & (graph.use_task >= 0)
    pairs = np.stack([maker[inner], graph.use_task[inner]], axis=1)
    edges, at = np.unique(pairs, axis=0, return_inverse=True)
    bits = np.bincount(at.ravel(), graph.bits[graph.use_data[inner]], minlength=len(edges))
    return edges.reshape(-1, 2), bits.astype(np.float64)


def _ends(graph: Graph, ways: Ways) -> tuple[Int64, Int64]:
    """``(N, M + 2)`` ns until what is already made is at a place; and until results are home."""
    times = ways.times(graph.bits)
    places = times.shape[1]
    release = np.zeros((len(graph.task), places), np.int64)
    tail = np.zeros_like(release)
    for d, i in zip(graph.use_data, graph.use_task, strict=True):
        maker, where = graph.maker[d], int(graph.where[d])
        if i < 0 and maker >= 0:
            np.maximum(tail[maker], times[d, :, 0], out=tail[maker])
        elif i >= 0 and maker < 0 and where != 0:
            sources = [place for place in range(places) if (where >> place) & 1]
            np.maximum(release[i], times[d, sources].min(axis=0), out=release[i])
    return release, tail


def _joules(state: State, b: int, u: int, tasks: Int64, graph: Graph, ways: Ways) -> Float64:
    """``(N, M + 2)`` J of the device: computing at home, sending elsewhere what only it has."""
    floats = state.device_floats[b, u]
    joules = np.zeros((len(tasks), len(ways.up_per_bit)))
    joules[:, 0] = floats[FD_KAPPA] * state.speeds[b, u] ** 2 * tasks[:, T_CYCLES]
    sent = np.zeros(len(tasks))
    alone = (graph.where[graph.use_data] == 1) & (graph.use_task >= 0)
    np.add.at(sent, graph.use_task[alone], graph.bits[graph.use_data[alone]])
    joules[:, 1:] = floats[FD_POWER] * sent[:, None] * ways.up_per_bit[1:] * 1e-9
    return np.minimum(joules, 1e12)
