import copy
import json
import os
from pathlib import Path

import pytest

DATA = Path(os.environ.get("FLEETGYM_DATA", "no-such-folder"))


def _node(number, cores=44, memory=1000):
    return {
        "node": number,
        "total_cpu": cores,
        "free_cpu": 0.0,
        "memory_huge_total_mb": float(memory),
        "memory_huge_free_mb": 0.0,
    }


def _host(name, rack):
    return {"node_id": name, "rack_id": rack, "numa": [_node(0), _node(1)]}


def _vm(name, host, nodes, cores=8, memory=100):
    numa = [{"node": node, "cpu": cores, "mem_mb": float(memory)} for node in nodes]
    return {"instance_id": name, "host_id": host, "numa": numa, "allow_migration": True}


DOCUMENT = {
    "cluster_list": [
        {
            "cluster_name": "c1",
            "host_info": [_host("pm_0", 7), _host("pm_1", 3)],
            "vm_instance": [_vm("vm_0", "pm_0", [1]), _vm("vm_1", "pm_1", [0, 1], 16, 200)],
            "other_requirement": {"deployment_set": []},
        },
        {
            "cluster_name": "c2",
            "host_info": [_host("pm_2", 7)],
            "vm_instance": [_vm("vm_2", "pm_2", [0], 4, 50)],
        },
    ]
}


@pytest.fixture
def document():
    """A small file in ByteDance's published format, to be spoilt at will."""
    return copy.deepcopy(DOCUMENT)


@pytest.fixture
def written(tmp_path):
    """Writes a document as small.json; returns the path."""

    def write(content):
        path = tmp_path / "small.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


@pytest.fixture
def real():
    """The path of a file of real data, or a skip where there is none."""

    def path(name):
        if not (DATA / name).is_file():
            pytest.skip(f"{name} is not in FLEETGYM_DATA")
        return DATA / name

    return path
