import sqlite3
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from fleetgym.traces.errors import TraceError
from fleetgym.traces.formats import azure_packing, huawei_east1
from fleetgym.traces.generators.vm_fleet import empty, matched
from fleetgym.traces.schema_requests import VMRequests, snapshot

HUAWEI = """vmid,cpu,memory,time,type
0,4,16,0.0,0
1,8,16,2.0,0
2,16,32,2.0,0
0,4,16,40.0,1
3,1,1,55.0,0
4,2,4,83.0,0
2,16,32,90.0,1
"""
TYPES = [
    (0, 7, 1, 0.5, 0.25),
    (1, 8, 1, 0.0208, 0.01),
    (2, 8, 2, 0.1, 0.1),
    (3, 9, 2, 1.0, 1.0),
    (4, 6, 1, 0.1, 0.1),
]
VMS = [(10, 0, 7, 0, -1.5, 2.0), (11, 0, 8, 1, 0.25, None), (12, 1, 9, 0, 0.5, 1.0)]


@pytest.fixture
def huawei(tmp_path):
    def write(text=HUAWEI):
        path = tmp_path / "Huawei-East-1.csv"
        path.write_text(text)
        return path

    return write


@pytest.fixture
def azure(tmp_path):
    def write(types=TYPES, vms=VMS):
        path = tmp_path / "packing.sqlite"
        path.unlink(missing_ok=True)
        with sqlite3.connect(path) as database:
            database.execute(
                "CREATE TABLE vmType (id INTEGER, vmTypeId INTEGER, machineId INTEGER, "
                "core REAL, memory REAL, hdd REAL, ssd REAL, nic REAL)"
            )
            database.execute(
                "CREATE TABLE vm (vmId INTEGER, tenantId INTEGER, vmTypeId INTEGER, "
                "priority INTEGER, starttime REAL, endtime REAL)"
            )
            database.executemany("INSERT INTO vmType VALUES (?,?,?,?,?,0,0,0)", types)
            database.executemany("INSERT INTO vm VALUES (?,?,?,?,?,?)", vms)
        database.close()
        return path

    return write


def test_huawei(huawei):
    requests, report = huawei_east1.read_with_report(huawei())
    assert requests.ids == ("0", "1", "2", "3", "4")
    assert requests.arrival_s.tolist() == [0, 2, 2, 55, 83]
    assert requests.departure_s.tolist() == [40, np.inf, 90, np.inf, np.inf]
    assert requests.cores.tolist() == [4, 8, 16, 1, 2]
    assert requests.memory.tolist() == [16384, 16384, 32768, 1024, 4096]
    assert requests.cores.dtype == requests.memory.dtype == np.int32
    assert report.kept == ("5 requests",)
    assert report.dropped == ()


def test_huawei_drops(huawei):
    text = HUAWEI + "9,1,1,99,1\n5,1,1,99,0\n5,1,1,99,1\n"
    requests, report = huawei_east1.read_with_report(huawei(text))
    assert len(requests) == 5
    assert report.dropped == (
        "1 deletions of VMs never created",
        "1 VMs deleted in the second of their creation",
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("vmid,cpu", "vmid,cores", r"columns \['cpu'\] are missing"),
        ("1,8,16", "1,eight,16", "not the CSV expected"),
        ("1,8,16", "1,-8,16", "line 3: cpu must be from 1"),
        ("1,8,16", "1,nan,16", "line 3: cpu must be from 1"),
        ("1,8,16", "1,1.5,16", "line 3: cpu must be a whole number"),
        ("1,8,16", "1,,16", "line 3: cpu must be from 1"),
        ("1,8,16", "1,8,inf", "line 3: memory must be from 0"),
        ("1,8,16,2.0", "1,8,16,-2.0", "line 3: time must be from 0"),
        ("1,8,16,2.0,0", "1,8,16,2.0,2", "line 3: type must be from 0 to 1"),
        ("1,8,16,2.0,0", "0,8,16,2.0,0", "created or deleted twice"),
        ("2,16,32,90.0,1", "2,16,32,1.0,1", "VM 2 is deleted at 1.0 s, before its creation"),
        ("1,8,16,2.0,0", "1,8,16,2.0,0,7,7", "not the CSV expected"),
    ],
)
def test_huawei_malformed(huawei, old, new, message):
    with pytest.raises(TraceError, match=message):
        huawei_east1.read(huawei(HUAWEI.replace(old, new)))


def test_azure(azure):
    requests, report = azure_packing.read_with_report(
        azure(), machine_cores=48, machine_memory=1000
    )
    assert requests.ids == ("10", "11")
    assert requests.arrival_s.tolist() == [-1.5 * 86400, 0.25 * 86400]
    assert requests.departure_s.tolist() == [2 * 86400, np.inf]
    assert requests.cores.tolist() == [24, 1]
    assert requests.memory.tolist() == [250, 10]
    assert report.dropped == ("1 requests whose type machineId 1 has not",)
    other = azure_packing.read(azure(), machine=2, machine_cores=48, machine_memory=1000)
    assert other.ids == ("11", "12")
    assert other.cores.tolist() == [5, 48]


def test_azure_in_its_zip(azure, tmp_path):
    path = azure()
    packed = tmp_path / "trace.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(path, "packing_trace_zone_a_v1.sqlite")
    assert azure_packing.read(packed).ids == azure_packing.read(path).ids
    whole = packed.read_bytes()
    spoilt = bytearray(whole)
    spoilt[200] ^= 0xFF
    packed.write_bytes(spoilt)
    with pytest.raises(TraceError, match="cut off or corrupt"):
        azure_packing.read(packed)
    packed.write_bytes(whole[:-30])
    with pytest.raises(TraceError, match="not the Azure packing trace"):
        azure_packing.read(packed)
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("readme.txt", "nothing")
    with pytest.raises(TraceError, match=r"expected one \.sqlite file"):
        azure_packing.read(packed)


def test_azure_zip_bomb(azure, tmp_path, monkeypatch):
    packed = tmp_path / "trace.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.sqlite", b"\0" * 1_000_000)
    monkeypatch.setattr(azure_packing, "MAX_DATABASE", 100_000)
    with pytest.raises(TraceError, match="over 100000 bytes"):
        azure_packing.read(packed)


@pytest.mark.parametrize(
    ("types", "vms", "message"),
    [
        ([(0, 7, 1, 1.5, 0.1)], VMS, "share of cores not in 0 to 1"),
        ([(0, 7, 1, -0.5, 0.1)], VMS, "share of cores not in 0 to 1"),
        ([(0, 7, 1, None, 0.1)], VMS, "share of cores not in 0 to 1"),
        ([(0, 7, 1, 0.5, 2)], VMS, "share of memory not in 0 to 1"),
        ([(0, 7, 1, "much", 0.1)], VMS, "not the Azure packing trace"),
        ([], VMS, "no VM type for machineId None"),
        (TYPES, [(10, 0, 7, 0, None, 2.0)], "starts at no finite time"),
        (TYPES, [("x", 0, 7, 0, 1.0, 2.0)], "not the Azure packing trace"),
    ],
)
def test_azure_malformed(azure, types, vms, message):
    with pytest.raises(TraceError, match=message):
        azure_packing.read(azure(types, vms))


def test_azure_drops_what_ends_at_once(azure):
    vms = [*VMS, (13, 0, 7, 0, 3.0, 3.0), (14, 0, 7, 0, 3.0, 2.0)]
    requests, report = azure_packing.read_with_report(azure(vms=vms))
    assert requests.ids == ("10", "11")
    assert "2 requests that end no later than they start" in report.dropped


def test_azure_files(azure, tmp_path):
    with pytest.raises(TraceError, match="traces fetch azure-packing"):
        azure_packing.read(tmp_path / "nothing.sqlite")
    (tmp_path / "text.sqlite").write_text("no database at all, but long enough to look" * 9)
    with pytest.raises(TraceError, match="not the Azure packing trace"):
        azure_packing.read(tmp_path / "text.sqlite")
    with pytest.raises(TraceError, match=r"no VM type for machineId 5; it has \[1, 2\]"):
        azure_packing.read(azure(), machine=5)
    with pytest.raises(TraceError, match="a machine of 0"):
        azure_packing.read(azure(), machine_cores=0)


def test_snapshot(huawei):
    requests = huawei_east1.read(huawei())
    machines = empty(1, 1, cores=16, memory=65536)
    fleet, report = snapshot(requests, 60, machines)
    assert fleet.vm_ids == ("1", "2", "3")  # 0 has left
    assert fleet.vm_pm.tolist() == [0, 0, 0]
    assert fleet.vm_numa.tolist() == [0, 1, 0]
    assert fleet.name == "Huawei-East-1-60s"
    assert report.dropped == ()
    later, _ = snapshot(requests, 90, machines)
    assert later.vm_ids == ("1", "3", "4")  # the deletion at 90 s has happened
    assert snapshot(requests, 83, machines)[0].vm_ids == ("1", "2", "3", "4")  # 4 has just come
    assert snapshot(requests, -1, machines)[0].num_vms == 0


def test_replay_frees_what_left():
    """On a machine of one VM: b finds no room, c arrives as a leaves, d after c left."""
    requests = VMRequests(
        "r",
        np.array([0.0, 1.0, 5.0, 9.0]),
        np.array([5.0, 6.0, 7.0, np.inf]),
        np.full(4, 16, np.int32),
        np.full(4, 1024, np.int32),
        ("a", "b", "c", "d"),
    ).validate()
    machine = replace(
        empty(1, 1), slot_cores=np.array([16, 0], np.int32), slot_gpu=np.zeros(2, np.int32)
    )
    for time, here, dropped in ((1, "a", 1), (5, "c", 1), (6, "c", 0), (8, "", 0), (9, "d", 0)):
        fleet, report = snapshot(requests, time, machine)
        assert "".join(fleet.vm_ids) == here
        assert len(report.dropped) == dropped


def test_snapshot_double_numa_and_misfits(huawei):
    requests = huawei_east1.read(huawei())
    fleet, _ = snapshot(requests, 60, empty(2, 1, cores=12, memory=65536))
    assert fleet.vm_double.tolist() == [False, True, False]  # 16 cores exceed a node
    assert fleet.vm_cores.tolist() == [8, 8, 1]
    fleet, _ = snapshot(requests, 60, empty(2, 1, cores=16, memory=65536), double_from=8)
    assert fleet.vm_double.tolist() == [True, True, False]
    fleet, report = snapshot(requests, 60, empty(1, 1, cores=9, memory=65536))
    assert fleet.vm_ids == ("1", "3")
    assert report.dropped == ("1 VMs that fitted nowhere when they arrived",)


def test_snapshot_conserves():
    rng = np.random.default_rng(0)
    arrival = np.sort(rng.uniform(0, 100, 300))
    requests = VMRequests(
        name="drawn",
        arrival_s=arrival,
        departure_s=arrival + rng.exponential(20, 300),
        cores=rng.integers(1, 60, 300).astype(np.int32),
        memory=rng.integers(0, 300_000, 300).astype(np.int32),
    ).validate()
    fleet, report = snapshot(requests, 50.0, empty(100, 2))
    alive = np.flatnonzero((requests.arrival_s <= 50) & (requests.departure_s > 50))
    assert report.dropped == ()
    assert fleet.vm_ids == tuple(map(str, alive))
    nodes = np.where(fleet.vm_double, 2, 1)
    assert (fleet.vm_cores * nodes - requests.cores[alive]).max() <= 1
    assert (fleet.vm_cores * nodes >= requests.cores[alive]).all()


def test_snapshot_refuses_machines_with_vms(huawei):
    with pytest.raises(TraceError, match="expected none"):
        snapshot(huawei_east1.read(huawei()), 60, matched(num_pms=2, racks=1, seed=0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arrival_s": np.array([0.0, np.nan])}, "request b arrives at no finite time"),
        ({"arrival_s": np.array([1.0, 0.0])}, "request b arrives before"),
        ({"departure_s": np.array([5.0, 0.5])}, "request b leaves no later"),
        ({"departure_s": np.array([np.nan, 5.0])}, "request a leaves no later"),
        ({"cores": np.array([0, 1], np.int32)}, "request a has cores not in"),
        ({"memory": np.array([1, -1], np.int32)}, "request b has MiB not in"),
        ({"cores": np.ones(3, np.int32)}, "2 arrivals, but 3 cores"),
        ({"ids": ("a",)}, "2 arrivals, but 1 ids"),
    ],
)
def test_requests_are_validated(changes, message):
    requests = VMRequests(
        "r",
        np.array([0.0, 1.0]),
        np.array([5.0, np.inf]),
        np.ones(2, np.int32),
        np.ones(2, np.int32),
        ("a", "b"),
    ).validate()
    with pytest.raises(TraceError, match=message):
        replace(requests, **changes).validate()
