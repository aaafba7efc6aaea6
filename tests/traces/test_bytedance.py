import gzip
import json
import tracemalloc

import numpy as np
import pytest

from fleetgym.traces import reading
from fleetgym.traces.errors import TraceError
from fleetgym.traces.formats.bytedance import read, read_with_report


def cluster(document, index=0):
    return document["cluster_list"][index]


def test_small_file(document, written):
    fleet, report = read_with_report(written(document))
    assert fleet.name == "small"
    assert fleet.pm_ids == ("pm_0", "pm_1", "pm_2")
    assert fleet.pm_rack.tolist() == [0, 1, 2]  # rack 7 of c1 is not rack 7 of c2
    assert fleet.vm_double.tolist() == [False, True, False]
    assert fleet.vm_pm.tolist() == [0, 1, 2]
    assert fleet.vm_numa.tolist() == [1, 0, 0]
    assert fleet.vm_cores.tolist() == [8, 16, 4]
    cores, memory, _ = fleet.free()
    assert cores.tolist() == [44, 36, 28, 28, 40, 44]
    assert memory.tolist() == [1000, 900, 800, 800, 950, 1000]
    assert report.kept == ("3 PMs", "3 VMs", "3 racks")
    assert "free cores of 6 of 6 NUMA nodes" in report.repaired[0]
    assert "free memory of 6 of 6 NUMA nodes" in str(report)


def test_right_free_figures_are_not_reported(document, written):
    for node, cores, memory in ((0, 40.0, 950.0), (1, 44.0, 1000.0)):
        numa = cluster(document, 1)["host_info"][0]["numa"][node]
        numa["free_cpu"], numa["memory_huge_free_mb"] = cores, memory
    _, report = read_with_report(written(document))
    assert "free cores of 4 of 6" in report.repaired[0]
    assert "free memory of 4 of 6" in report.repaired[1]


def test_machine_with_one_node(document, written):
    host = cluster(document, 1)["host_info"][0]
    del host["numa"][1]
    assert read(written(document)).slot_cores.tolist() == [44, 44, 44, 44, 44, 0]


def test_deployment_sets(document, written):
    sets = [
        {"instance_ids": ["vm_0", "vm_2"], "max_per_host": 2},
        {"instance_ids": ["vm_1"]},
    ]
    cluster(document)["other_requirement"]["deployment_set"] = sets
    fleet = read(written(document))
    assert fleet.vm_group.tolist() == [0, 1, 0]
    assert fleet.group_max_per_pm.tolist() == [2, 1]


@pytest.mark.parametrize(
    ("file", "pms", "vms", "racks", "cores"),
    [("medium", 279, 2089, 20, 0.9432), ("large", 1176, 4546, 80, 0.8186)],
)
def test_real_files(real, file, pms, vms, racks, cores):
    fleet, report = read_with_report(real(f"vm/bytedance_{file}.json.gz"))
    assert (fleet.num_pms, fleet.num_vms, len(np.unique(fleet.pm_rack))) == (pms, vms, racks)
    used = 1 - fleet.free()[0].sum() / fleet.slot_cores.sum()
    assert used == pytest.approx(cores, abs=1e-4)
    assert len(report.repaired) == 1
    assert "memory" in report.repaired[0]


def spoil(document, change):
    """Applies a change written as a statement on h(ost), v(m), c(luster)."""
    c = cluster(document)
    scope = {"c": c, "h": c["host_info"][0], "v": c["vm_instance"][0], "w": c["vm_instance"][1]}
    exec(change, scope)
    return document


MALFORMED = {
    "del c['cluster_name']": "'cluster_name' is missing",
    "del c['host_info']": "'host_info' is missing",
    "del h['node_id']": r"host_info\[0\]: 'node_id' is missing",
    "del h['rack_id']": "'rack_id' is missing",
    "del h['numa'][0]['total_cpu']": r"numa\[0\]: 'total_cpu' is missing",
    "del v['numa']": r"vm_instance\[0\]: 'numa' is missing",
    "del v['allow_migration']": "'allow_migration' is missing",
    "c['host_info'] = 3": "expected a list, got '3'",
    "c['host_info'][0] = []": "expected an object",
    "h['node_id'] = None": "expected text, got 'None'",
    "h['numa'] = []": "expected one or two of the nodes",
    "h['numa'][1]['node'] = 0": r"nodes 0 and 1, got \[0, 0\]",
    "h['numa'][1]['node'] = 2": r"nodes 0 and 1, got \[0, 2\]",
    "h['numa'][0]['total_cpu'] = '44'": "expected a whole number, got '44'",
    "h['numa'][0]['total_cpu'] = True": "expected a whole number",
    "h['numa'][0]['total_cpu'] = -44": "expected a number from 0",
    "h['numa'][0]['total_cpu'] = 10**12": "expected a number from 0",
    "v['numa'][0]['cpu'] = 1.5": "expected a whole number, got '1.5'",
    "v['numa'][0]['cpu'] = -8": r"vm_instance\[0\].numa\[0\].cpu: expected a number from 0",
    "v['numa'][0]['cpu'] = float('nan')": "holds NaN",
    "v['numa'][0]['mem_mb'] = float('inf')": "holds Infinity",
    "v['numa'][0].update(cpu=0, mem_mb=0)": "'vm_0' asks for nothing",
    "v['numa'][0]['cpu'] = 45": "node 1 of PM pm_0 is overfull by 1 cores",
    "v['numa'][0]['mem_mb'] = 1001": "overfull by 1 memory",
    "v['host_id'] = 'pm_9'": "'vm_0' is on the unknown PM 'pm_9'",
    "v['allow_migration'] = 'yes'": "expected true or false",
    "v['instance_id'] = 'vm_1'": "instance_id 'vm_1' is there twice",
    "h['node_id'] = 'pm_1'": "node_id 'pm_1' is there twice",
    "w['numa'][1]['cpu'] = 8": "halves of double-NUMA VM 'vm_1' differ",
    "c['other_requirement']['deployment_set'] = [{}]": "'instance_ids' is missing",
    "c['other_requirement']['deployment_set'] = [{'instance_ids': ['x']}]": "'x' is no VM",
    "c['other_requirement']['deployment_set'] = [{'instance_ids': ['vm_0', 'vm_0']}]": "in two",
    "c['other_requirement']['deployment_set'] = [{'instance_ids': [], 'max_per_host': 0}]": (
        "at least 1"
    ),
}


@pytest.mark.parametrize("change", MALFORMED)
def test_malformed(document, written, change):
    path = written(spoil(document, change))
    with pytest.raises(TraceError, match=MALFORMED[change]) as caught:
        read(path)
    assert "small" in str(caught.value)


@pytest.mark.parametrize("text", ["", "[", "{}", "[]", "null", '"x"', '{"cluster_list": 1}'])
def test_not_the_document(written, text):
    with pytest.raises(TraceError, match=r"small\.json"):
        read(written(text))


def test_number_too_large_for_a_float(document, written):
    text = json.dumps(document).replace('"cpu": 8', '"cpu": 1e999', 1)
    with pytest.raises(TraceError, match="expected a whole number, got 'inf'"):
        read(written(text))


def test_deep_nesting(written):
    with pytest.raises(TraceError, match="not JSON"):
        read(written("[" * 200_000))


def test_not_utf8(tmp_path):
    path = tmp_path / "small.json"
    path.write_bytes(b'{"cluster_list": "\xff\xfe"}')
    with pytest.raises(TraceError, match="not JSON"):
        read(path)


def test_truncated_json(document, written):
    text = json.dumps(document)
    with pytest.raises(TraceError, match="cut off, at line 1 column"):
        read(written(text[: len(text) // 2]))


@pytest.mark.parametrize("spoiled", ["cut", "changed"])
def test_spoilt_gzip(document, tmp_path, spoiled):
    packed = bytearray(gzip.compress(json.dumps(document).encode()))
    if spoiled == "cut":
        del packed[len(packed) // 2 :]
    else:
        packed[len(packed) // 2] ^= 0xFF
    path = tmp_path / "small.json.gz"
    path.write_bytes(packed)
    with pytest.raises(TraceError, match="cut off or corrupt"):
        read(path)


def test_gzip_bomb(tmp_path):
    path = tmp_path / "bomb.json.gz"
    path.write_bytes(gzip.compress(b" " * 10_000_000))
    tracemalloc.start()
    with pytest.raises(TraceError, match="more than 1000000 bytes uncompressed"):
        reading.read_bytes(path, limit=1_000_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5_000_000
    assert len(reading.read_bytes(path, limit=10_000_000)) == 10_000_000


def test_not_found(tmp_path):
    with pytest.raises(TraceError, match="fleetgym traces fetch"):
        read(tmp_path / "nothing.json")


def test_a_folder(tmp_path):
    with pytest.raises(TraceError, match="cannot be read"):
        read(tmp_path)
