"""Real graphs as applications: in the scenario's units, and no test graph in training."""

import gzip

import numpy as np
import pytest

from fleetgym.envs.core.errors import WorkloadError
from fleetgym.envs.core.registration import family_of
from fleetgym.envs.mec_offloading.real import real_source
from fleetgym.traces.errors import TraceError
from fleetgym.traces.splits_graphs import keys

FAMILY = family_of("mec-offloading")
HEAD = "task_name,instance_num,job_name,task_type,status,start_time,end_time,plan_cpu,plan_mem\n"


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    """A file of 60 forks of two to six tasks."""
    monkeypatch.setenv("FLEETGYM_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    rows = []
    for job in range(60):
        for task in range(1, 3 + job % 5):
            name = f"M{task}" if task == 1 else f"R{task}_1"
            end = 1 + int(rng.integers(1, 500))
            rows.append(f"{name},1,j{job},1,Terminated,1,{end},100,0.5\n")
    path = tmp_path / "jobs.csv.gz"
    path.write_bytes(gzip.compress((HEAD + "".join(rows)).encode()))
    return str(path)


def drawn(source, seeds):
    return [g for seed in seeds for g in source.draw(seed).applications.graphs]


def test_units_and_splits(jobs):
    scenario = FAMILY.scenario("cluster", {"workload": jobs, "tasks": 5})
    train, validation, test = (
        real_source(scenario, split) for split in ("train", "validation", "test")
    )
    graphs = drawn(train, range(40))
    assert {g.num_tasks for g in graphs} <= {2, 3, 4, 5}
    cycles = np.concatenate([g.cycles for g in graphs])
    assert cycles.mean() == pytest.approx(scenario.mcycles * 1e6, rel=0.3)
    met = [set(keys(drawn(s, range(40)), cycles=False).tolist()) for s in (train, test)]
    assert met[0] == met[1], "shapes are few here"
    met = [{(g.name, g.num_tasks) for g in drawn(s, range(40))} for s in (train, validation, test)]
    assert not met[0] & met[1]
    assert not met[0] & met[2]
    assert not met[1] & met[2]


def test_through_the_scenario(jobs):
    scenario = FAMILY.scenario("cluster", {"workload": jobs, "split": "test"})
    source = FAMILY.workloads(scenario)
    made = FAMILY.simulate(scenario, source, 2)
    made.reset([source.draw(0), source.draw(1)])
    assert source.draw(0).digest == source.draw(0).digest != source.draw(1).digest
    (role,) = made.roles
    while not made.over().all():
        mask = made.action_mask()[role]
        made.step({role: mask.argmax(axis=2)}, ~made.over())
    assert (made.metrics()["applications_finished"] == 8).all()


def test_nothing_small_enough(jobs):
    with pytest.raises(WorkloadError, match="no train graph of 2 to 1 tasks; raise tasks"):
        FAMILY.workloads(FAMILY.scenario("cluster", {"workload": jobs, "tasks": 1}))


def test_unknown_names(monkeypatch, tmp_path):
    monkeypatch.setenv("FLEETGYM_DATA", str(tmp_path))
    monkeypatch.setenv("FLEETGYM_CACHE", str(tmp_path))
    with pytest.raises(WorkloadError, match="did you mean 'alibaba-dags'"):
        FAMILY.workloads(FAMILY.scenario("cluster", {"workload": "alibaba-dag"}))
    with pytest.raises(TraceError, match="traces fetch alibaba-dags"):
        FAMILY.workloads(FAMILY.scenario("cluster", {"workload": "alibaba-dags"}))


def test_real_jobs(real_jobs):
    scenario = FAMILY.scenario("cluster", {"workload": real_jobs})
    sources = [real_source(scenario, split) for split in ("train", "test")]
    met = [set(keys(drawn(source, range(60))).tolist()) for source in sources]
    assert not met[0] & met[1]


@pytest.fixture
def real_jobs():
    import os
    from pathlib import Path

    path = Path(os.environ.get("FLEETGYM_DATA", "no")) / "mec/alibaba2018_dags/selected_DAGs.csv.gz"
    if not path.is_file():
        pytest.skip("the trace is not in FLEETGYM_DATA")
    return str(path)
