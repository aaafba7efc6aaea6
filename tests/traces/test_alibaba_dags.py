"""Jobs of Alibaba's batch_task as graphs: names parsed, faults named, repairs counted."""

import gzip

import numpy as np
import pytest

from fleetgym.traces.errors import TraceError
from fleetgym.traces.formats.alibaba_dags import read
from fleetgym.traces.formats.graph_rule import GraphRule

HEAD = "task_name,instance_num,job_name,task_type,status,start_time,end_time,plan_cpu,plan_mem\n"
RULE = GraphRule(cycles_per_s=100.0)


def row(name, job="j", status="Terminated", start=10, end=12, cpu=100.0, mem=0.5):
    return f"{name},1.0,{job},1,{status},{start},{end},{cpu},{mem}\n"


@pytest.fixture
def file(tmp_path):
    def write(*rows, head=HEAD):
        path = tmp_path / "batch.csv.gz"
        path.write_bytes(gzip.compress((head + "".join(rows)).encode()))
        return path

    return write


def test_a_job(file):
    (graph,), report = read(
        file(row("R3_2_1", end=15), row("M1", cpu=50.0), row("J2_1", mem=0.25)), RULE
    )
    assert graph.edges.tolist() == [[0, 1], [0, 2], [1, 2]], "by number, not by row"
    assert graph.cycles.tolist() == [100, 200, 500], "seconds x cores x cycles_per_s"
    assert graph.memory.tolist() == [1 << 27, 1 << 26, 1 << 27]
    given = graph.data_producer == -1
    assert graph.use_task[np.isin(graph.use_data, np.flatnonzero(given))].tolist() == [0]
    assert graph.data_producer[graph.data_result].tolist() == [2]
    assert "1 jobs, 3 tasks" in str(report)


def test_sizes_are_drawn_from_the_seed_and_the_content(file):
    rows = [row("M1", "a"), row("R2_1", "a"), row("M1", "b"), row("R2_1", "b"), row("M1", "c")]
    (a, b, c), _ = read(file(*rows), RULE)
    assert a.data_bytes.tolist() == b.data_bytes.tolist(), "equal jobs stay equal"
    assert a.digest == b.digest != c.digest
    (again, *_), _ = read(file(*reversed(rows)), RULE)
    assert again.name == "c"
    assert read(file(*reversed(rows)), RULE)[0][2].digest == a.digest
    other, _ = read(file(*rows), GraphRule(cycles_per_s=100.0, seed=1))
    assert (other[0].data_bytes != a.data_bytes).any()
    assert other[0].cycles.tolist() == a.cycles.tolist()


def test_repairs_are_counted(file):
    (graph,), report = read(
        file(
            row("M1", end=10),
            row("M2", end=20),
            row("M3", end=14),
            row("M4", status="Running", end=0),
            row("M5", status="Failed", end=99),
            row("R6_1_1_2"),
            row("R7_6", cpu="", mem=""),
            row("task_Nzg3ODc4"),
        ),
        RULE,
    )
    # The median of 0.5, 2, 2, 2, 4 and 10 s is 2.
    assert graph.cycles.tolist()[:5] == [50, 1000, 400, 200, 200]
    assert graph.edges.tolist() == [[0, 5], [1, 5], [5, 6]]
    assert report.repaired == (
        "1 tasks ended in the second they began: 0.5 s",
        "2 tasks did not end well: the median of their job",
        "1 tasks without a plan of cores or memory: the trace's medians",
        "1 tasks name a parent twice: once",
        "1 names of tasks say nothing of parents: none",
    )


CUT = "J91_52_54_56_58_60_61_63_65_67_69_71_73_75_77_79_8"  # of the trace: an 8, an 80 or an 81
WHOLE = "J28_4_5_6_7_8_10_11_12_14_15_16_17_19_20_22_23_24_"  # of the trace


@pytest.mark.parametrize(("name", "kept"), [(CUT, 15), (WHOLE, 17), (CUT[:-2], 15)])
def test_names_cut_off(file, name, kept):
    """A number at the 50th character may lack its last digit, and is left out."""
    numbers = [int(number) for number in name.strip("_").split("_")[1:]]
    rows = [row(f"M{number}") for number in numbers]
    (graph,), report = read(file(*rows, row(name)), RULE)
    assert len(graph.edges) == kept
    assert ("1 names of tasks cut off" in str(report)) == (len(name) == 50)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "holds no task"),
        ([row("M1_3"), row("R2_1"), row("R3_2")], r"tasks \[0, 1, 2\] wait for one another"),
        ([row("M1_1")], "wait for one another"),
        ([row("M1"), row("R2_7")], "job j: task 2 reads from 7, which the job does not have"),
        ([row("M1"), row("R1")], "job j has two tasks of one number"),
        ([row("M1", cpu=0.0)], "task M1 plans 0 cores"),
        ([row("M1", cpu=-50.0)], r"plans -0\.5 cores"),
        ([row("M1", mem=-1.0)], "-1 of memory"),
        ([row("M1", start="soon")], "not the CSV expected"),
    ],
)
def test_faults_are_named(file, rows, message):
    with pytest.raises(TraceError, match=message):
        read(file(*rows))


def test_missing_columns_and_files(file, tmp_path):
    with pytest.raises(TraceError, match=r"columns \['job_name', 'plan_cpu'.* are missing"):
        read(file("M1,Terminated,1,2\n", head="task_name,status,start_time,end_time\n"))
    path = file(row("M1"))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(TraceError, match="cut off or corrupt"):
        read(path)
    with pytest.raises(TraceError, match="no such file"):
        read(tmp_path / "nothing.csv")


def test_bad_jobs_can_be_left_out(file):
    path = file(row("M1", "good"), row("M1_2", "ring"), row("R2_1", "ring"), row("R1_9", "lost"))
    graphs, report = read(path, bad_jobs="drop")
    assert [graph.name for graph in graphs] == ["good"]
    assert "dropped: ring: tasks [0, 1] wait" in str(report)
    assert "dropped: job lost: task 1 reads from 9" in str(report)
    with pytest.raises(TraceError, match="none of its jobs is a DAG"):
        read(file(row("M1_1")), bad_jobs="drop")


def test_the_real_jobs(real):
    path = real("mec/alibaba2018_dags/selected_DAGs.csv.gz")
    graphs, report = read(path)
    assert len(graphs) == 2120
    assert sum(graph.num_tasks for graph in graphs) == 55_874
    said = str(report)
    for words in (
        "650 tasks ended in the second they began",
        "880 tasks did not end well",
        "330 names of tasks cut off",
        "354 tasks without a plan",
    ):
        assert words in said
    sizes = np.concatenate([graph.data_bytes for graph in graphs])
    assert sizes.min() > 0
    rule = GraphRule()
    edges = np.concatenate([g.data_bytes[(g.data_producer != -1) & ~g.data_result] for g in graphs])
    assert np.median(edges) == pytest.approx(rule.median_bytes, rel=0.02)
    assert np.log(edges).std() == pytest.approx(rule.sigma, rel=0.02)
