"""Servers and devices at real base stations, and in published networks."""

import numpy as np
import pytest

from fleetgym.envs.core.errors import WorkloadError
from fleetgym.envs.core.registration import family_of
from fleetgym.traces import catalog
from fleetgym.traces.errors import TraceError

FAMILY = family_of("mec-offloading")


def _drawn(seed=0, **fields):
    scenario = FAMILY.scenario("cluster", fields)
    return FAMILY.workloads(scenario).draw(seed)


def _needs(name):
    try:
        catalog.find(name)
    except TraceError as error:
        pytest.skip(str(error))


def test_stations_of_melbourne_cover_their_users():
    _needs("eua-melbourne-sites")
    first, other = (_drawn(seed, sites="eua-melbourne") for seed in (0, 1))
    assert not np.array_equal(first.network.position, other.network.position)
    again = _drawn(0, sites="eua-melbourne")
    assert again.digest == first.digest
    for workload in (first, other):
        network, at = workload.network, workload.devices.track[0]
        assert network.num_servers == 4
        distance = np.linalg.norm(at[:, None] - network.position[None], axis=2)
        assert (distance <= network.radius).any(axis=1).all()
        assert network.position.mean(axis=0) == pytest.approx(np.full(2, 200.0))


def test_devices_are_in_the_cells_of_a_published_network():
    name = "topo4mec-25n50e-network"
    _needs(name)
    workload = _drawn(sites=name, servers=25)
    network, at = workload.network, workload.devices.track[0]
    assert network.num_servers == 25
    assert (network.link_rate[:25, :25] > 0).sum() == 100, "50 links, both ways"
    distance = np.linalg.norm(at[:, None] - network.position[None], axis=2)
    assert (distance <= network.radius).any(axis=1).all()
    with pytest.raises(WorkloadError, match="set servers=25"):
        _drawn(sites=name)


def test_what_cannot_be_had_is_refused():
    with pytest.raises(WorkloadError, match="sites are 'melbourne'"):
        _drawn(sites="melbourne")
    _needs("eua-melbourne-sites")
    with pytest.raises(WorkloadError, match="lower devices"):
        _drawn(sites="eua-melbourne", servers=1, radius_m=10.0)


def test_episodes_at_real_stations_end():
    _needs("eua-melbourne-sites")
    import fleetgym

    (record,) = fleetgym.evaluate(
        "greedy-eft", "mec-offloading", "cluster", [0], sites="eua-melbourne"
    )
    assert record.metrics["applications_finished"] == 8
