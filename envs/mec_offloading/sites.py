"""Where servers and devices are: generated, at real base stations, or in a published network."""

from functools import cache

import numpy as np

from fleetgym.envs.core.errors import WorkloadError
from fleetgym.envs.mec_offloading.scenario import MECOffloadingScenario
from fleetgym.traces import catalog, catalog_mec
from fleetgym.traces.generators import edge_fleet
from fleetgym.traces.schema_mec import EdgeNetwork, Float64

EUA = "eua-melbourne"
TRIES = 100  # neighbourhoods that are drawn in search of one with enough users


def located(
    scenario: MECOffloadingScenario, area: edge_fleet.Area, rng: np.random.Generator
) -> tuple[EdgeNetwork, Float64 | None]:
    """The network, and ``(U, 2)`` m where devices start; None: anywhere in the square.

    Args:
        scenario: ``sites`` is empty (a grid), "eua-melbourne" (base stations around a random one,
            and users that these cover) or the name of a network of Topo4MEC.
        area: what stations are like, where the data does not say.
        rng: of all draws.

    Raises:
        WorkloadError: unknown sites, too few users, or a network of another size.
        TraceError: the data is not here (names ``fleetgym traces fetch``) or is malformed.
    """
    if not scenario.sites:
        return edge_fleet.network(area, scenario.servers, rng), None
    if scenario.sites == EUA:
        return _neighbourhood(scenario, area, rng)
    if catalog_mec.holds_network(scenario.sites):
        network = _network(scenario.sites)
        if network.num_servers != scenario.servers:
            raise WorkloadError(
                f"sites {scenario.sites!r} are {network.num_servers} servers, not "
                f"{scenario.servers}: set servers={network.num_servers}"
            )
        return network, _near(network, scenario.devices, rng)
    raise WorkloadError(
        f"sites are {scenario.sites!r}: leave them empty, or name {EUA!r} or a network of "
        "Topo4MEC that `fleetgym traces list` shows"
    )


def _neighbourhood(
    scenario: MECOffloadingScenario, area: edge_fleet.Area, rng: np.random.Generator
) -> tuple[EdgeNetwork, Float64]:
    """The stations nearest to a random one, and some of the users within their radius."""
    stations, users = _melbourne()
    if scenario.servers > len(stations):
        raise WorkloadError(f"{EUA} has {len(stations)} stations, not {scenario.servers}")
    for _ in range(TRIES):
        away = np.hypot(*(stations - stations[rng.integers(len(stations))]).T)
        near = stations[np.argsort(away, kind="stable")[: scenario.servers]]
        distance = np.linalg.norm(users[:, None] - near[None], axis=2)
        covered = np.flatnonzero((distance <= area.radius_m).any(axis=1))
        if len(covered) >= scenario.devices:
            chosen = users[rng.choice(covered, scenario.devices, replace=False)]
            shift = area.side_m / 2 - near.mean(axis=0)
            return edge_fleet.place_network(EUA, near + shift, area, rng), chosen + shift
    raise WorkloadError(
        f"no {scenario.servers} neighbouring stations of {EUA} cover {scenario.devices} users "
        f"within {area.radius_m:g} m: lower devices, or raise servers or radius_m"
    )


def _near(network: EdgeNetwork, devices: int, rng: np.random.Generator) -> Float64:
    """Positions at random in the cells of random stations."""
    at = rng.integers(network.num_servers, size=devices)
    away = network.radius[at] * np.sqrt(rng.random(devices))
    angle = 2 * np.pi * rng.random(devices)
    offset = np.stack((away * np.cos(angle), away * np.sin(angle)), axis=1)
    found: Float64 = network.position[at] + 0.99 * offset
    return found


@cache
def _melbourne() -> tuple[Float64, Float64]:
    """Stations and users, metres east and north of the middle of the stations."""
    from fleetgym.traces.formats import eua  # polars is slow to import

    sites, users = (catalog.find(f"{EUA}-{name}") for name in ("sites", "users"))
    stations = eua.read_coordinates(sites, "LATITUDE", "LONGITUDE")
    origin = (stations.max(axis=0) + stations.min(axis=0)) / 2
    people = eua.read_coordinates(users, "Latitude", "Longitude")
    return eua.project(stations, origin), eua.project(people, origin)


@cache
def _network(name: str) -> EdgeNetwork:
    return catalog_mec.load_network(name)
