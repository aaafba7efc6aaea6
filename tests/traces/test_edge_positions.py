"""Networks and positions: Topo4MEC's nodes, links and tasks; EUA's stations and users."""

import json

import numpy as np
import pytest

from fleetgym.traces.errors import TraceError
from fleetgym.traces.formats import eua, topo4mec
from fleetgym.traces.formats.edge_rule import EdgeRule

SITES = "SITE_ID,LATITUDE,LONGITUDE\n1,-37.81,144.96\n2,-37.82,144.96\n3,-37.815,144.97\n"
USERS = "Latitude,Longitude\n-37.8101,144.9601\n-37.8199,144.9601\n-37.75,144.96\n"
TASKS = "TaskName,GenerationTime,TaskID,TaskSize,CyclesPerBit,TransBitRate,DDL,SrcName\n"


def config():
    node = {"MaxCpuFreq": 1900, "MaxBufferSize": 190, "IdleEnergyCoef": 0.01}
    nodes = [{"NodeName": f"n{i}", "NodeId": i} | node for i in range(3)]
    pairs = [(0, 1), (1, 2), (2, 0)]
    edges = [{"SrcNodeID": a, "DstNodeID": b, "Bandwidth": 1000.0} for a, b in pairs]
    return {"Nodes": nodes, "Edges": edges}


@pytest.fixture
def write(tmp_path):
    def to_file(name, content):
        path = tmp_path / "ring" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return to_file


def test_network(write):
    network = topo4mec.read_network(write("config.json", config()), seed=4)
    assert network.name == "ring"
    assert network.speed.tolist() == [1.9e9] * 3
    assert network.memory.tolist() == [190 * 1_000_000 // 8] * 3
    assert network.cores.tolist() == [1, 1, 1]
    one_way = (network.link_rate[:3, :3] == 1e9).tolist()
    assert one_way == [[False, True, False], [False, False, True], [True, False, False]]
    assert (network.link_rate[:, 3] > 0).sum() == (network.link_rate[3] > 0).sum() == 1
    again = topo4mec.read_network(write("config.json", config()), seed=5)
    assert (again.position != network.position).any()


def test_tasks(write):
    network = topo4mec.read_network(write("config.json", config()))
    rows = "t1,2.5,1,8,100,10,60,n2\nt0,1.0,0,16,50,10,57,n0\nt2,4,2,8,1,10,20,n2\n"
    tasks, report = topo4mec.read_tasks(write("testset.csv", TASKS + rows), network)
    asked = tasks.applications
    assert asked.arrival.tolist() == [10**9, 25 * 10**8, 4 * 10**9]
    assert asked.device.tolist() == [0, 1, 1]
    assert tasks.deadline.tolist() == [57 * 10**9, 60 * 10**9, 20 * 10**9]
    assert [int(graph.cycles[0]) for graph in asked.graphs] == [8 * 10**8, 8 * 10**8, 8 * 10**6]
    assert asked.graphs[0].data_bytes.tolist() == [2_000_000]
    assert (tasks.devices.track[0] == network.position[[0, 2]]).all(), "beside their node"
    assert report.kept == ("3 tasks of 2 sources",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["Nodes"].clear(), "at least one node"),
        (lambda d: d["Nodes"][1].update(NodeId=0), "each NodeId once"),
        (lambda d: d["Nodes"][1].pop("MaxCpuFreq"), "'MaxCpuFreq' is missing"),
        (lambda d: d["Nodes"][1].update(MaxCpuFreq=0), "a number above 0, got '0'"),
        (lambda d: d["Edges"][0].update(DstNodeID=9), "node 9 is not among the nodes"),
        (lambda d: d["Edges"][0].update(DstNodeID=0), "links a node to itself"),
        (lambda d: d["Edges"][0].update(Bandwidth=-1), "a number above 0"),
        (lambda d: d["Edges"].pop(), "node 0 cannot be reached from node 1"),
        (lambda d: d.pop("Edges"), "'Edges' is missing"),
    ],
)
def test_networks_that_do_not_fit(write, change, message):
    spoilt = config()
    change(spoilt)
    with pytest.raises(TraceError, match=message):
        topo4mec.read_network(write("config.json", spoilt))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TASKS, "holds no task"),
        (TASKS + "t,1,0,0,9,9,9,n0\n", "line 2: TaskSize must be from 1"),
        (TASKS + "t,1,0,5,-9,9,9,n0\n", "CyclesPerBit must be from 1"),
        (TASKS + "t,-1,0,5,9,9,9,n0\n", "GenerationTime must be from 0"),
        (TASKS + "t,1,0,5,9,9,9,n3\n", "SrcName must be n0 to n2"),
        (TASKS + "t,1,0,5,9,9,9,x\n", "SrcName must be n0 to n2"),
        ("TaskName,TaskSize\nt,5\n", "columns"),
    ],
)
def test_tasks_that_do_not_fit(write, text, message):
    network = topo4mec.read_network(write("config.json", config()))
    with pytest.raises(TraceError, match=message):
        topo4mec.read_tasks(write("testset.csv", text), network)


def test_a_city(write):
    sites, users = write("sites.csv", SITES), write("users.csv", USERS)
    city, report = eua.read(sites, users, edge=EdgeRule(radius=400.0))
    network, devices = city
    north = network.position[0, 1] - network.position[1, 1]
    assert north == pytest.approx(0.01 * 111_195, abs=0.5), "a degree of latitude is 111,195 m"
    east = network.position[2, 0] - network.position[0, 0]
    assert east == pytest.approx(0.01 * 111_195 * np.cos(np.radians(37.815)), abs=0.5)
    assert devices.num_devices == 2
    assert report.dropped == ("1 users in no cell",)
    near = np.linalg.norm(devices.track[0, 0] - network.position[0])
    assert near == pytest.approx(14.2, abs=0.2)


def test_wires_join_all():
    rng = np.random.default_rng(0)
    for m in (1, 2, 3, 20):
        position = rng.uniform(0, 1000, (m, 2))
        joined = eua.wires(position)
        assert (joined == joined.T).all()
        assert not joined.diagonal().any()
        reach = np.linalg.matrix_power(joined + np.eye(m), m)
        assert (reach > 0).all()
        assert joined.sum(axis=1).min(initial=9) >= min(2, m - 1)


@pytest.mark.parametrize(
    ("sites", "users", "options", "message"),
    [
        ("LATITUDE\n1\n", USERS, {}, r"columns \['LONGITUDE'\] are missing"),
        ("LATITUDE,LONGITUDE\n", USERS, {}, "holds no position"),
        ("LATITUDE,LONGITUDE\n-97,144\n", USERS, {}, "LATITUDE must be from -90 to 90"),
        (SITES, "Latitude,Longitude\n1,999\n", {}, "Longitude must be from -180"),
        (SITES, "Latitude,Longitude\n0,0\n", {}, "users within 300 m of a station asked for"),
        (SITES, USERS, {"servers": 4}, "4 stations asked for, there are 3"),
        (SITES, USERS, {"devices": 3}, "3 users within 300 m .* there are 2"),
    ],
)
def test_cities_that_do_not_fit(write, sites, users, options, message):
    with pytest.raises(TraceError, match=message):
        eua.read(write("sites.csv", sites), write("users.csv", users), **options)


@pytest.mark.parametrize(
    ("name", "servers", "tasks"),
    [("25N50E", 25, 800), ("50N50E", 50, 1600), ("100N150E", 100, 3200),
     ("MilanCityCenter", 30, 1400)],
)  # fmt: skip
def test_real_networks(real, name, servers, tasks):
    network = topo4mec.read_network(real(f"mec/topo4mec/{name}/config.json"))
    assert network.num_servers == servers
    asked, _ = topo4mec.read_tasks(real(f"mec/topo4mec/{name}/testset.csv"), network)
    assert len(asked.applications.graphs) == tasks


def test_real_city(real):
    sites, users = (
        real("mec/eua/site-optus-melbCBD.csv"),
        real("mec/eua/users-melbcbd-generated.csv"),
    )
    (network, devices), report = eua.read(sites, users)
    assert (network.num_servers, devices.num_devices) == (125, 816)
    assert report.dropped == ()
    (part, few), _ = eua.read(sites, users, servers=8, devices=32, seed=1)
    assert (part.num_servers, few.num_devices) == (8, 32)
    distance = np.linalg.norm(few.track[0][:, None] - part.position, axis=2)
    assert (distance.min(axis=1) <= part.radius[0]).all()
    assert {tuple(at) for at in part.position} <= {tuple(at) for at in network.position}
