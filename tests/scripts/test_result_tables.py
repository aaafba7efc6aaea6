"""Tables of results: what they say can be played, and their pages say what was."""

import json
from pathlib import Path

import numpy as np
import pytest

import fleetgym
from fleetgym.agents.shipped import shipped
from fleetgym.baselines.policy import baselines_of
from fleetgym.envs.core.errors import ScenarioError
from fleetgym.envs.core.registration import family_of
from fleetgym.scripts.results.__main__ import DOCS, FOLDER
from fleetgym.scripts.results.page import as_markdown
from fleetgym.scripts.results.tables import BOUND, Row, Table, load_tables, play

FAMILIES = sorted(path.stem for path in FOLDER.glob("*.toml"))
TABLE = Table(
    title="Small",
    id="fleetgym/MECOffloading-v0",
    scenario="small",
    metrics=("mean_makespan_s", "device_energy_j", "miss_rate"),
    seeds=(3, 7),
    overrides={"tasks": 4},
    compared=2,
    reference="all-local",
    policies=("all-local", "greedy-eft"),
    rows=(Row("greedy-eft", "slow wires", {"wire_mbit_s": 1.0}),),
    bound="fleetgym.baselines.mec_offloading.play_bounds:episode_bound",
    note="What for.",
)


@pytest.fixture(scope="module")
def results():
    told = []
    found = play(TABLE, told.append)
    assert [line.strip() for line in told] == ["all-local", "greedy-eft", "slow wires"]
    return found


def test_means_and_paired_differences(results):
    played = {
        name: np.array(
            [
                record.metrics["mean_makespan_s"]
                for record in fleetgym.evaluate(name, TABLE.id, "small", range(3, 7), tasks=4)
            ]
        )
        for name in TABLE.policies
    }
    mean, difference, low, high = results["greedy-eft"]["mean_makespan_s"]
    assert mean == pytest.approx(played["greedy-eft"].mean())
    paired = played["greedy-eft"] - played["all-local"]
    assert difference == pytest.approx(paired.mean())
    assert paired.min() <= low <= difference <= high <= paired.max()
    assert len(results["all-local"]["mean_makespan_s"]) == 1
    assert len(results["greedy-eft"]["miss_rate"]) == 1, "only two are compared"
    assert results["slow wires"] != results["greedy-eft"]
    bound = results[BOUND]["mean_makespan_s"][0]
    assert bound <= min(row["mean_makespan_s"][0] for row in results.values())


def test_the_page_says_it(results):
    page = as_markdown("mec-offloading", [TABLE], {"Small": results})
    assert "4 workloads" in page
    assert "What for." in page
    rows = [line.split("|")[1:-1] for line in page.splitlines() if line.startswith("|")]
    assert [row[0].strip() for row in rows[2:]] == [
        "*all-local*",
        "greedy-eft",
        "slow wires",
        BOUND,
    ]
    assert len({len(row) for row in rows}) == 1
    assert rows[2][2].strip() == ""
    assert "[" in rows[3][2]
    assert rows[5][3].strip() == "", "no bound of the energy is known"


@pytest.mark.parametrize("family", FAMILIES)
def test_tables_name_what_there_is(family):
    for table in load_tables(FOLDER / f"{family}.toml"):
        known = family_of(table.id)
        names = {row.policy for row in table.all_rows()}
        assert names <= set(baselines_of(known)) | set(shipped(known)), table.title
        assert table.reference in {"", *table.names()}, table.title
        for row in table.all_rows():
            known.scenario(table.scenario, {**table.overrides, **row.overrides})


@pytest.mark.parametrize("family", FAMILIES)
def test_the_committed_page_is_that_of_the_committed_results(family):
    tables = load_tables(FOLDER / f"{family}.toml")
    done = json.loads((FOLDER / f"{family}.json").read_text(encoding="utf-8"))
    page = (DOCS / "results" / f"{family}.md").read_text(encoding="utf-8")
    assert page == as_markdown(family, tables, done)


def test_a_wrong_field_is_an_error(tmp_path):
    path = Path(tmp_path) / "wrong.toml"
    path.write_text(
        '[[tables]]\ntitle = "a"\nid = "b"\nscenario = "c"\nmetrics = []\nsedes = [0]\n'
    )
    with pytest.raises(ScenarioError, match="sedes"):
        load_tables(path)
