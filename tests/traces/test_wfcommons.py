"""Workflows in WfFormat: files become data, faults are named."""

import gzip
import json

import pytest

from fleetgym.traces.errors import TraceError
from fleetgym.traces.formats.graph_rule import SCALE, GraphRule
from fleetgym.traces.formats.wfcommons import read

RULE = GraphRule(cycles_per_s=1000.0)


def document():
    """``a`` makes f for ``b`` and ``c``, which makes the result r; ``a`` reads x."""
    tasks = [
        {"id": "a", "parents": [], "children": ["b", "c"], "inputFiles": ["x"],
         "outputFiles": ["f"]},
        {"id": "b", "parents": ["a"], "children": ["c"], "inputFiles": ["f"], "outputFiles": []},
        {"id": "c", "parents": ["a", "b"], "children": [], "inputFiles": ["f"],
         "outputFiles": ["r"]},
    ]  # fmt: skip
    files = [{"id": "x", "sizeInBytes": 120}, {"id": "f", "sizeInBytes": 2400}]
    files += [{"id": "r", "sizeInBytes": 0}]
    execution = [
        {"id": "c", "runtimeInSeconds": 3, "avgCPU": 50.0, "memoryInBytes": 1200},
        {"id": "a", "runtimeInSeconds": 2.5},
        {"id": "b", "runtimeInSeconds": 0.0, "avgCPU": 80},
    ]
    return {
        "name": "w",
        "schemaVersion": "1.5",
        "workflow": {
            "specification": {"tasks": tasks, "files": files},
            "execution": {"tasks": execution},
        },
    }


@pytest.fixture
def write(tmp_path):
    def to_file(content):
        path = tmp_path / "flow.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return to_file


def test_files_are_sent_once(write):
    graph, report = read(write(document()), RULE)
    assert graph.name == "flow"
    assert graph.edges.tolist() == [[0, 1], [0, 2], [1, 2]]
    assert graph.cycles.tolist() == [2500, 1, 1500], "runtime x CPU x cycles_per_s"
    assert graph.memory.tolist() == [0, 0, 1200 * SCALE]
    assert graph.data_bytes.tolist() == [1, 20, 0, 0], "x, f, r, and b before c without a file"
    assert graph.data_producer.tolist() == [-1, 0, 2, 1]
    assert graph.data_result.tolist() == [False, False, True, False]
    uses = sorted(zip(graph.use_data.tolist(), graph.use_task.tolist(), strict=True))
    assert uses == [(0, 0), (1, 1), (1, 2), (3, 2)], "f is one piece of data that two tasks read"
    assert report.repaired == (
        "1 tasks of less than a millisecond: 0.001 s",
        "1 dependences without a file: 0 bytes",
    )


def test_gzip(write, tmp_path):
    plain, _ = read(write(document()))
    packed = tmp_path / "flow.json.gz"
    packed.write_bytes(gzip.compress(json.dumps(document()).encode()))
    assert read(packed)[0].digest == plain.digest


def spoil(change):
    spoilt = document()
    change(spoilt["workflow"]["specification"], spoilt["workflow"]["execution"], spoilt)
    return spoilt


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s, e, d: d.update(schemaVersion="1.3"), "is 1.3; WfFormat 1.5 is read"),
        (lambda s, e, d: d.pop("schemaVersion"), "'schemaVersion' is missing"),
        (lambda s, e, d: d.update(workflow=[]), "expected an object"),
        (lambda s, e, d: (s["tasks"].clear(), e["tasks"].clear()), "at least one task"),
        (lambda s, e, d: s["tasks"][0]["parents"].append("c"), "the graph has a cycle"),
        (lambda s, e, d: s["tasks"][1]["parents"].append("z"), "the parent 'z' is not in"),
        (lambda s, e, d: s["tasks"][1]["children"].append("z"), "the child 'z' is not in"),
        (lambda s, e, d: s["tasks"][1]["inputFiles"].append("q"), "the file 'q' is not in"),
        (lambda s, e, d: s["tasks"][1]["outputFiles"].append("f"), "is written by two tasks"),
        (lambda s, e, d: s["tasks"][1].update(id="a"), "the id 'a' is there twice"),
        (lambda s, e, d: s["files"][1].update(sizeInBytes=-4), "expected a number, 0 or more"),
        (lambda s, e, d: s["files"][1].pop("sizeInBytes"), "'sizeInBytes' is missing"),
        (lambda s, e, d: e["tasks"][0].update(runtimeInSeconds=-1), r"tasks\[0\].*0 or more"),
        (lambda s, e, d: e["tasks"][0].update(runtimeInSeconds="3"), "0 or more, got '3'"),
        (lambda s, e, d: e["tasks"].pop(), "task 'b' was never executed"),
        (lambda s, e, d: e["tasks"][0].update(id="z"), "the task 'z' is not in"),
    ],
)
def test_faults_are_named(write, change, message):
    with pytest.raises(TraceError, match=message):
        read(write(spoil(change)))


def test_cut_off(write):
    with pytest.raises(TraceError, match="not JSON, or cut off"):
        read(write(json.dumps(document())[:-9]))


@pytest.mark.parametrize(
    ("name", "tasks", "edges"),
    [
        ("pegasus/montage/montage-chameleon-2mass-005d-001", 58, 114),
        ("pegasus/seismology/seismology-chameleon-200p-001", 201, 200),
        ("nextflow/cutandrun-dirt02-001", 120, 196),
    ],
)
def test_real_workflows(real, name, tasks, edges):
    graph, _ = read(real(f"mec/wfinstances/{name}.json.gz"))
    assert (graph.num_tasks, len(graph.edges)) == (tasks, edges)
    assert (graph.data_producer[graph.use_data] < 0).any(), "something comes from outside"
    assert graph.data_result.any()
