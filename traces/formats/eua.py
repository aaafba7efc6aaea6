"""Reader of the EUA data set: where base stations and users are, in latitude and longitude, CSV.

Positions become metres east and north of the middle of the stations (equirectangular, to a
centimetre). Each station has a server; wires, which the data lacks, join each station to its
``NEAREST`` nearest ones, and join all of them as a minimum spanning tree does. All else is
`EdgeRule`'s and `DeviceRule`'s.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fleetgym.traces.errors import TraceError
from fleetgym.traces.formats.edge_rule import (
    DEFAULT_DEVICE,
    DEFAULT_EDGE,
    DeviceRule,
    EdgeRule,
)
from fleetgym.traces.formats.tables import check_range, read_csv
from fleetgym.traces.report import ReadReport
from fleetgym.traces.schema_mec import DeviceFleet, EdgeNetwork

Float64 = NDArray[np.float64]

EARTH_M = 6_371_000.0  # mean radius
NEAREST = 2


class City(NamedTuple):
    """Stations with servers, and devices that at least one of them covers."""

    network: EdgeNetwork
    devices: DeviceFleet


def read(
    sites: str | Path,
    users: str | Path,
    *,
    servers: int | None = None,
    devices: int | None = None,
    edge: EdgeRule = DEFAULT_EDGE,
    device: DeviceRule = DEFAULT_DEVICE,
    seed: int = 0,
) -> tuple[City, ReadReport]:
    """A part of the city: some of its stations, and users that these cover.

    Args:
        sites: CSV with ``LATITUDE`` and ``LONGITUDE``.
        users: CSV with ``Latitude`` and ``Longitude``.
        servers: stations drawn, all if left out.
        devices: users drawn among those covered, all of these if left out.
        edge: what stations are like.
        device: what devices are like.
        seed: of what is drawn.

    Raises:
        TraceError: a file is not found or malformed, a coordinate is out of range, or there are
            fewer stations or covered users than asked for.
    """
    stations = read_coordinates(sites, "LATITUDE", "LONGITUDE")
    origin = (stations.max(axis=0) + stations.min(axis=0)) / 2
    rng = np.random.default_rng(seed)
    at = project(stations, origin)
    at = at[_choice(rng, len(at), servers, sites, "stations")]
    people = project(read_coordinates(users, "Latitude", "Longitude"), origin)
    distance = np.linalg.norm(people[:, None] - at[None], axis=2)
    covered = np.flatnonzero((distance <= edge.radius).any(axis=1))
    what = f"users within {edge.radius:g} m of a station"
    chosen = covered[_choice(rng, len(covered), devices, users, what)]
    name = f"eua-{Path(sites).name.split('.')[0]}"
    city = City(
        edge.network(name, at, wires(at) * edge.link_rate),
        device.fleet(name, people[chosen], rng),
    )
    kept = (f"{len(at)} of {len(stations)} stations", f"{len(chosen)} of {len(people)} users")
    outside = len(people) - len(covered)
    dropped = (f"{outside} users in no cell",) if outside else ()
    return city, ReadReport(f"{sites}, {users}", kept, dropped)


def read_coordinates(path: str | Path, latitude: str, longitude: str) -> Float64:
    """``(n, 2)`` latitude and longitude, degrees.

    Raises:
        TraceError: not found, malformed, no row, or a coordinate out of range.
    """
    table = read_csv(path, {latitude: pl.Float64, longitude: pl.Float64})
    if not len(table):
        raise TraceError(f"{path}: holds no position")
    check_range(path, table, latitude, -90, 90)
    check_range(path, table, longitude, -180, 180)
    return np.asarray(table.to_numpy(), np.float64)


def project(degrees: Float64, origin: Float64) -> Float64:
    """``(n, 2)`` metres east and north of an origin, from ``(n, 2)`` latitude and longitude."""
    north, east = np.radians(degrees - origin).T * EARTH_M
    east = east * np.cos(np.radians(origin[0]))
    return np.asarray(np.round(np.stack([east, north], axis=1), 2))


def wires(position: Float64) -> Float64:
    """``(M, M)`` 1 where two stations are joined: to the nearest, and so that all are."""
    m = len(position)
    distance = np.linalg.norm(position[:, None] - position[None], axis=2)
    order = np.argsort(distance + np.where(np.eye(m, dtype=np.bool_), np.inf, 0), axis=1)
    joined = np.zeros((m, m))
    for near in range(min(NEAREST, m - 1)):
        joined[np.arange(m), order[:, near]] = 1
    inside = np.zeros(m, np.bool_)
    inside[:1] = True
    while not inside.all():
        across = np.where(inside[:, None] & ~inside[None], distance, np.inf)
        a, b = divmod(int(np.argmin(across)), m)
        joined[a, b] = 1
        inside[b] = True
    return np.maximum(joined, joined.T)


def _choice(
    rng: np.random.Generator, there: int, count: int | None, path: str | Path, what: str
) -> NDArray[np.int64]:
    """Rows drawn without repetition, in the file's order."""
    wanted = there if count is None else count
    if not 1 <= wanted <= there:
        raise TraceError(f"{path}: {wanted} {what} asked for, there are {there}")
    return np.sort(rng.choice(there, wanted, replace=False))
