"""Where the tables of a world lie in its rows, and views that show them by name and shape."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fleetgym.envs.core.errors import WorkloadError
from fleetgym.envs.core.simulator import read_only
from fleetgym.envs.mec_offloading import types as t
from fleetgym.envs.mec_offloading.scenario import MECOffloadingScenario
from fleetgym.envs.mec_offloading.types import Float64, Int64, Shown, State

LINE = 8  # numbers of 64 bits in a line of cache
SLACK = 64  # events, so that the list is seldom moved to its start


@dataclass(frozen=True)
class Sizes:
    """Upper sizes of the workloads; devices and servers exactly."""

    devices: int
    servers: int
    tasks: int
    device_tasks: int
    data: int
    uses: int
    apps: int
    positions: int
    failures: int

    @classmethod
    def of(cls, capacity: Mapping[str, int]) -> "Sizes":
        """From a workload source's ``capacity``."""
        try:
            return cls(**{field: int(capacity[field]) for field in cls.__dataclass_fields__})
        except KeyError as error:
            raise WorkloadError(
                f"the workload source's capacity lacks {error}; it needs "
                f"{', '.join(cls.__dataclass_fields__)}"
            ) from error

    @property
    def nodes(self) -> int:
        """M + 1: servers and the cloud."""
        return self.servers + 1

    @property
    def events(self) -> int:
        """Room of the list of events: one for each flight, task, application, device, failure."""
        of_world = self.uses + self.tasks + self.apps + self.devices
        return of_world + 2 * self.failures + 2 * SLACK


class Row(NamedTuple):
    """One table: the head entry that says where it begins, and its shape."""

    at: int
    shape: tuple[int, ...]


def int_rows(sizes: Sizes, agents: int, levels: int) -> dict[str, Row]:
    """The tables of the row of integers, in their order."""
    u, m, nodes = sizes.devices, sizes.servers, sizes.nodes
    uses = sizes.uses + u
    return {
        "tasks": Row(t.AT_TASKS, (sizes.tasks, t.TASK)),
        "data": Row(t.AT_DATA, (sizes.data, t.DATUM)),
        "uses": Row(t.AT_USES, (uses, t.USE)),
        "inputs": Row(t.AT_INPUTS, (sizes.uses,)),
        "apps": Row(t.AT_APPS, (sizes.apps, t.APP)),
        "devices": Row(t.AT_DEVICES, (u, t.DEVICE)),
        "processors": Row(t.AT_PROCESSORS, (u + nodes, t.PROCESSOR)),
        "cells": Row(t.AT_CELLS, (2, m)),
        "radio": Row(t.AT_RADIO, (t.RADIO, 2 * u)),
        "links": Row(t.AT_LINKS, (nodes, nodes)),
        "following": Row(t.AT_NEXT, (nodes, nodes)),
        "delay": Row(t.AT_DELAY, (nodes, nodes)),
        "route": Row(t.AT_ROUTE, (nodes, nodes)),
        "events": Row(t.AT_EVENTS, (sizes.events, 2)),
        "ready": Row(t.AT_READY, (sizes.tasks,)),
        "seen": Row(t.AT_SEEN, (2, m, t.SEEN)),
        "asked": Row(t.AT_ASKED, (agents,)),
        "levels": Row(t.AT_LEVELS, (levels,)),
        "touched": Row(t.AT_TOUCHED, (sizes.tasks,)),
    }


def float_rows(sizes: Sizes) -> dict[str, Row]:
    """The tables of the row of floats, in their order."""
    u, m, nodes = sizes.devices, sizes.servers, sizes.nodes
    return {
        "remain": Row(t.FA_REMAIN, (sizes.tasks,)),
        "speeds": Row(t.FA_SPEED, (u + nodes,)),
        "rates": Row(t.FA_RATE, (u + nodes,)),
        "band": Row(t.FA_BAND, (m,)),
        "link_rate": Row(t.FA_LINKS, (nodes, nodes)),
        "device_floats": Row(t.FA_DEVICES, (u, t.FD)),
        "air": Row(t.FA_RADIO, (2, 2 * u)),
        "snr": Row(t.FA_SNR, (2, u, m)),
        "mean": Row(t.FA_MEAN, (2, u, m)),
        "app_floats": Row(t.FA_APPS, (sizes.apps, 2)),
        "paid": Row(t.FA_PAID, (u, 3)),
        "fetch": Row(t.FA_FETCH, (2, nodes + 1)),
    }


def hidden_rows(sizes: Sizes) -> dict[str, Row]:
    """The tables of the hidden row of integers, behind its head."""
    return {
        "tasks": Row(t.HT_TASKS, (sizes.tasks, t.TASK)),
        "data": Row(t.HT_DATA, (sizes.data, t.DATUM)),
        "uses": Row(t.HT_USES, (sizes.uses, t.USE)),
        "inputs": Row(t.HT_INPUTS, (sizes.uses,)),
        "apps": Row(t.HT_APPS, (sizes.apps, t.APP)),
        "cover": Row(t.HT_COVER, (sizes.positions, sizes.devices)),
        "serving": Row(t.HT_SERVING, (sizes.positions, sizes.devices)),
    }


def hidden_float_rows(sizes: Sizes) -> dict[str, Row]:
    """The tables of the hidden row of floats; their offsets stand in the hidden integers' head."""
    return {
        "app_floats": Row(t.HG_APPS, (sizes.apps, 2)),
        "radio": Row(t.HG_RADIO, (sizes.positions, 4, sizes.devices, sizes.servers)),
    }


def length(rows: Mapping[str, Row], head: int = 0) -> int:
    """Numbers in a row that holds the tables behind a head."""
    return _padded(head) + sum(_padded(int(np.prod(row.shape))) for row in rows.values())


def _padded(numbers: int) -> int:
    """So many numbers and those that fill their last line of cache: tables share no line."""
    return -(-numbers // LINE) * LINE


def _aligned(b: int, numbers: int, dtype: type) -> NDArray[Any]:
    """Zeros ``(b, numbers)`` that begin at a line of cache."""
    room: NDArray[Any] = np.zeros(b * numbers + LINE, dtype)
    first = -(room.ctypes.data // room.itemsize) % LINE
    return room[first : first + b * numbers].reshape(b, numbers)


def views(array: NDArray[np.generic], rows: Mapping[str, Row], head: int = 0) -> dict[str, Int64]:
    """Each table of B rows ``(B, length)`` by name, ``(B, *shape)``, as a view."""
    found, at = {}, _padded(head)
    for name, row in rows.items():
        size = int(np.prod(row.shape))
        found[name] = array[:, at : at + size].reshape(len(array), *row.shape)
        at += _padded(size)
    return found  # type: ignore[return-value]


def write_offsets(head: Int64, rows: Mapping[str, Row], start: int = 0) -> None:
    """Writes where each table begins into the heads ``(B, HEAD)`` of rows."""
    at = _padded(start)
    for row in rows.values():
        head[:, row.at] = at
        at += _padded(int(np.prod(row.shape)))


@dataclass(frozen=True)
class World:
    """B worlds: four rows each, and views of their tables.

    Attributes:
        ints, floats: what policies may see in part, and what moves.
        hidden, hidden_floats: what is still to come.
        i, f, h, g: the tables of each, by name.
    """

    ints: Int64
    floats: Float64
    hidden: Int64
    hidden_floats: Float64
    i: Mapping[str, Int64]
    f: Mapping[str, Float64]
    h: Mapping[str, Int64]
    g: Mapping[str, Float64]


def allocate(sizes: Sizes, agents: int, levels: int, b: int) -> World:
    """B empty worlds with their offsets and sizes written."""
    ints, floats = int_rows(sizes, agents, levels), float_rows(sizes)
    hidden, hidden_floats = hidden_rows(sizes), hidden_float_rows(sizes)
    rows = (
        _aligned(b, length(ints, t.HEAD), np.int64),
        _aligned(b, length(floats), np.float64),
        _aligned(b, length(hidden, t.HIDDEN), np.int64),
        _aligned(b, length(hidden_floats), np.float64),
    )
    write_offsets(rows[0], ints, t.HEAD)
    write_offsets(rows[0], floats)
    write_offsets(rows[2], hidden, t.HIDDEN)
    write_offsets(rows[2], hidden_floats)
    return World(
        *rows,
        i=views(rows[0], ints, t.HEAD),
        f=views(rows[1], floats),  # type: ignore[arg-type]
        h=views(rows[2], hidden, t.HIDDEN),
        g=views(rows[3], hidden_floats),  # type: ignore[arg-type]
    )


def display(sizes: Sizes, scenario: MECOffloadingScenario, agents: int, b: int) -> Shown:
    """Empty displays of B worlds."""
    distributed, continuous = scenario.control == "distributed", scenario.action == "continuous"
    levels = 1 if continuous else len(scenario.dvfs)
    places, width = levels + sizes.nodes, scenario.symbols
    actions = places + (distributed and not continuous) + width
    f32, u = np.float32, sizes.devices
    return Shown(
        tasks=np.zeros((b, u, sizes.device_tasks, len(t.TASK_FEATURES)), f32),
        places=np.zeros((b, agents, places, len(t.PLACE_FEATURES)), f32),
        progress=np.zeros((b, agents, len(t.PROGRESS)), f32),
        heard=np.zeros((b, u, width), f32),
        focus=np.zeros((b, u), f32),
        mask=np.zeros((b, agents, actions), np.int8),
        reward=np.zeros((b, agents, len(t.TERMS) + 1)),
        flags=np.zeros((b, 2), np.int8),
        status=np.zeros((b, agents), np.int8),
    )


def state_of(world: World) -> State:
    """What policies that share everything may see: read-only views."""
    shown = {
        "tasks": world.i["tasks"],
        "data": world.i["data"],
        "uses": world.i["uses"],
        "inputs": world.i["inputs"],
        "devices": world.i["devices"],
        "device_floats": world.f["device_floats"],
        "processors": world.i["processors"],
        "speeds": world.f["speeds"],
        "cells": world.i["cells"],
        "links": world.i["links"],
        "seen": world.i["seen"][:, 0],
        "asked": world.i["asked"],
        "clock": world.ints[:, t.CLOCK],
        **{name: world.i[name] for name in ("apps", "levels", "delay", "following")},
        **{name: world.f[name] for name in ("band", "mean", "link_rate")},
    }
    return State(**{name: read_only(array) for name, array in shown.items()})
