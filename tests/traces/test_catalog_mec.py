"""Graphs and networks by name; what was read is kept, and read again if it is damaged."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fleetgym.scripts.cli import app
from fleetgym.traces import catalog, catalog_mec
from fleetgym.traces.errors import TraceError

ROWS = """task_name,instance_num,job_name,task_type,status,start_time,end_time,plan_cpu,plan_mem
M1,1.0,j_1,1,Terminated,1,9,100.0,0.2
R2_1,1.0,j_1,1,Terminated,9,12,50.0,0.2
"""


@pytest.fixture
def folders(tmp_path, monkeypatch):
    monkeypatch.setenv("FLEETGYM_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("FLEETGYM_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def jobs(folders):
    path = folders / "data/mec/alibaba2018_dags/selected_DAGs.csv"
    path.parent.mkdir(parents=True)
    path.write_text(ROWS)
    return path


def test_jobs_are_kept(jobs, folders):
    first = catalog_mec.load_graphs("alibaba-dags")
    (kept,) = (folders / "cache/graphs").iterdir()
    again = catalog_mec.load_graphs("alibaba-dags")
    assert [graph.digest for graph in again] == [graph.digest for graph in first]
    assert catalog_mec.load_graphs(jobs)[0].digest == first[0].digest
    kept.write_bytes(b"damaged")
    assert catalog_mec.load_graphs("alibaba-dags")[0].digest == first[0].digest
    assert kept.read_bytes() != b"damaged"
    assert catalog_mec.load_graphs("alibaba-dags", seed=1)[0].digest != first[0].digest
    assert len(list((folders / "cache/graphs").iterdir())) == 2
    jobs.write_text(ROWS.replace("Terminated,1,9", "Terminated,2,9"))
    assert catalog_mec.load_graphs("alibaba-dags")[0].cycles[0] < first[0].cycles[0]


def test_a_cache_that_cannot_be_written(jobs, folders):
    (folders / "cache").write_text("a file where the folder would be")
    assert len(catalog_mec.load_graphs("alibaba-dags")) == 1


def test_what_holds_graphs(jobs, folders):
    assert catalog_mec.holds_graphs("alibaba-dags")
    assert catalog_mec.holds_graphs("wfcommons")
    assert catalog_mec.holds_graphs(jobs)
    assert not catalog_mec.holds_graphs("bytedance-medium")
    assert not catalog_mec.holds_graphs("nothing.csv")
    other = folders / "other.csv"
    other.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n")
    assert not catalog_mec.holds_graphs(other)
    assert catalog_mec.holds_network("topo4mec-25n50e-network")
    assert not catalog_mec.holds_network("topo4mec-25n50e-tasks")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("alibaba-dag", "did you mean 'alibaba-dags'"),
        ("alibaba-dags", "traces fetch alibaba-dags"),
        ("wfcommons", "traces fetch wfcommons-"),
        ("bytedance-medium", "holds no task graphs but VM rescheduling"),
        (Path("some/file.txt"), "unknown suffix"),
        ("nothing.json", "no such file"),
    ],
)
def test_load_graphs_refuses(folders, name, message):
    with pytest.raises(TraceError, match=message):
        catalog_mec.load_graphs(name)


def test_load_network_refuses(folders):
    with pytest.raises(TraceError, match="is no network but 125 base stations"):
        catalog_mec.load_network("eua-melbourne-sites")
    with pytest.raises(TraceError, match="traces fetch topo4mec-25n50e-network"):
        catalog_mec.load_network("topo4mec-25n50e-network")


def test_a_fleet_it_is_not(folders):
    with pytest.raises(TraceError, match="no fleet but 2,120 batch jobs"):
        catalog.load("alibaba-dags")


def test_real_names(real, monkeypatch, tmp_path):
    folder = real("mec/topo4mec/25N50E/config.json").parents[3]
    monkeypatch.setenv("FLEETGYM_DATA", str(folder))
    monkeypatch.setenv("FLEETGYM_CACHE", str(tmp_path))
    network = catalog_mec.load_network("topo4mec-25n50e-network")
    assert (network.name, network.num_servers) == ("topo4mec-25n50e-network", 25)
    flows = catalog_mec.load_graphs("wfcommons")
    names = [name for name in catalog.entries() if name.startswith("wfcommons-")]
    assert len(flows) == len(names)
    assert catalog_mec.load_graphs(names[0])[0].digest == flows[0].digest


def test_the_command_line(jobs, folders):
    run = CliRunner()
    shown = run.invoke(app, ["traces", "stats", "alibaba-dags"])
    assert shown.exit_code == 0, shown.output
    assert "distinct_graphs" in shown.output
    out = folders / "jobs.npz"
    written = run.invoke(app, ["traces", "convert", "alibaba-dags", str(out), "--seed", "3"])
    assert "1 task graphs, 2 tasks" in " ".join(written.output.split())
    due = catalog_mec.load_graphs("alibaba-dags", seed=3)[0].digest
    shutil.move(out, folders / "moved.npz")
    assert catalog_mec.load_graphs(folders / "moved.npz")[0].digest == due
    assert run.invoke(app, ["traces", "stats", str(folders / "moved.npz")]).exit_code == 0
    refused = run.invoke(app, ["traces", "stats", "alibaba-dags", "--core", "2"])
    assert refused.exit_code != 0
