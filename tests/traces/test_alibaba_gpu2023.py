import pytest

from fleetgym.traces.errors import TraceError
from fleetgym.traces.formats.alibaba_gpu2023 import (
    read_nodes,
    read_pods,
    snapshot,
    snapshot_with_report,
)

NODES = """sn,cpu_milli,memory_mib,gpu,model
node-0,32000,65536,0,
node-1,64000,262144,2,P100
node-2,96000,393216,4,T4
"""
PODS = """name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,\
creation_time,deletion_time,scheduled_time
pod-0,12000,16384,1,1000,,LS,Running,0,1000,0
pod-1,6000,12288,1,460,,LS,Running,50,1000,100
pod-2,4000,1024,0,0,,BE,Succeeded,60,200,90
pod-3,11908,47104,1,1000,,BE,Pending,70,80,
pod-4,1000,1024,5,1000,T4,LS,Running,80,1000,95
pod-5,0,0,0,0,,LS,Running,80,1000,95
"""


@pytest.fixture
def files(tmp_path):
    def write(nodes=NODES, pods=PODS):
        paths = tmp_path / "nodes.csv", tmp_path / "pods.csv"
        paths[0].write_text(nodes)
        paths[1].write_text(pods)
        return paths

    return write


def test_read(files):
    nodes, pods = files()
    assert read_nodes(nodes)["gpu"].to_list() == [0, 2, 4]
    assert read_pods(pods)["scheduled_time"].to_list() == [0, 100, 90, None, 95, 95]


def test_snapshot(files):
    fleet, report = snapshot_with_report(*files(), seed=0, time_s=150)
    assert fleet.slot_cores.tolist() == [32000, 0, 64000, 0, 96000, 0]
    assert fleet.slot_gpu.tolist() == [0, 0, 2000, 0, 4000, 0]
    assert fleet.pm_rack.tolist() == [0, 1, 2]
    assert fleet.pm_ids == ("node-0", "node-1", "node-2")
    assert fleet.vm_ids == ("pod-0", "pod-2", "pod-1")  # in the order they were scheduled
    assert fleet.vm_pm.tolist() == [1, 0, 1]
    assert fleet.vm_gpu.tolist() == [1000, 0, 460]
    assert not fleet.vm_double.any()
    assert report.kept == ("3 nodes", "3 pods")
    assert report.dropped == (
        "1 pods that ask for nothing",
        "1 of 4 pods alive at 150 s, which fit nowhere",
        "1 gpu_spec, not enforced",
    )
    assert snapshot(*files(), seed=0, time_s=200).vm_ids == ("pod-0", "pod-1")


def test_seeded_instant_and_inflation(files):
    def ids(seed):
        fleet = snapshot(*files(), seed=seed, num_nodes=2, gpu_utilisation=0.7).validate()
        return fleet.pm_ids, fleet.vm_ids, fleet.name

    assert ids(1) == ids(1)
    assert len({ids(seed) for seed in range(6)}) > 3
    fleet = snapshot(*files(), seed=0, gpu_utilisation=0.7)
    assert 0.7 <= 1 - fleet.free()[2].sum() / fleet.slot_gpu.sum() <= 1


def test_real_files(real):
    nodes, pods = (
        real(f"vm/alibaba_gpu2023_{kind}.csv.gz") for kind in ("nodes_all", "pods_default")
    )
    assert (len(read_nodes(nodes)), len(read_pods(pods))) == (1523, 8152)
    fleet = snapshot(nodes, pods, seed=1, num_nodes=100, gpu_utilisation=0.9)
    assert fleet.num_pms == 100
    assert fleet.num_vms > 200


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("cpu_milli,memory", "cpu,memory", r"columns \['cpu_milli'\] are missing"),
        ("node-1,64000", "node-1,many", r"nodes\.csv: not the CSV expected"),
        ("node-1,64000", "node-1,-64000", "line 3: cpu_milli must be from 0"),
        ("node-1,64000", "node-1,", "line 3: cpu_milli must be from 0"),
        ("node-1,64000", ",64000", "line 3: sn is missing"),
        ("node-1", "node-0", "sn is there twice"),
        (",4,T4", ",9999999,T4", "line 4: gpu must be from 0"),
        ("pod-1,6000,12288,1,460", "pod-1,6000,12288,1,1460", "line 3: gpu_milli must be"),
        ("pod-1,6000", "pod-1,nan", r"pods\.csv: not the CSV expected"),
        ("pod-1,", "pod-0,", "name is there twice"),
        ("50,1000,100", "-50,1000,100", "line 3: creation_time must be from 0"),
        ("50,1000,100", "50,1000,-100", "line 3: scheduled_time must be from 0"),
    ],
)
def test_malformed(files, old, new, message):
    assert (old in NODES) or (old in PODS)
    with pytest.raises(TraceError, match=message):
        snapshot(*files(NODES.replace(old, new), PODS.replace(old, new)), seed=0)


def test_empty_files(files):
    with pytest.raises(TraceError, match=r"nodes\.csv: not the CSV expected"):
        snapshot(*files(nodes=""), seed=0)
    with pytest.raises(TraceError, match="no pod was ever scheduled"):
        snapshot(*files(pods=PODS.split("\n")[0] + "\n"), seed=0)


@pytest.mark.parametrize("wrong", [{"num_nodes": 4}, {"num_nodes": -1}, {"gpu_utilisation": 1.5}])
def test_arguments(files, wrong):
    with pytest.raises(TraceError, match="expected a share"):
        snapshot(*files(), seed=0, **wrong)
