"""The documentation is true: pages equal what they are made from, and README's code runs."""

import re
from pathlib import Path

import pytest

from fleetgym.envs.core.registration import families
from fleetgym.scripts.docs import page

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("family", families().values(), ids=lambda family: family.folder)
def test_pages_are_made_from_docstrings(family):
    found = (ROOT / "docs" / f"{family.folder}.md").read_text(encoding="utf-8")
    assert found == page(family), "run python -m fleetgym.scripts.docs"


@pytest.mark.parametrize("family", families().values(), ids=lambda family: family.folder)
def test_every_section_of_gymnasium_is_there(family):
    wanted = (
        "Description", "Action Space", "Observation Space", "Rewards", "Starting State",
        "Episode End", "Information", "Arguments", "Version History", "Trace",
        "Baseline scores", "Reference",
    )  # fmt: skip
    assert tuple(re.findall(r"^## (.*)$", page(family), re.MULTILINE))[: len(wanted)] == wanted


def run(index, folder, monkeypatch):
    monkeypatch.chdir(folder)
    names = {"__name__": "__main__"}
    exec(BLOCKS[index], names)
    return names


def test_the_first_episode_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    names = run(0, tmp_path, monkeypatch)
    assert names["over"]
    assert "fragment rate" in capsys.readouterr().out


def test_the_heuristic_of_the_readme_beats_random(tmp_path, monkeypatch, capsys):
    run(1, tmp_path, monkeypatch)
    scores = dict(line.rsplit(" ", 1) for line in capsys.readouterr().out.splitlines())
    assert float(scores["fill-holes"]) < float(scores["random"])
    assert set(scores) == {"fill-holes", "random", "greedy"}


def test_the_trace_of_the_readme_is_played(tmp_path, monkeypatch):
    names = run(2, tmp_path, monkeypatch)
    _, info = names["env"].reset(seed=0)
    assert info["metrics"]["active_pms"] <= 8
    assert (tmp_path / "fleet.npz").is_file()


def test_links_of_the_documents_lead_somewhere():
    for document in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for target in re.findall(r"\]\((?!http)([^)#]+)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_files_that_the_design_names_exist():
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:envs|baselines|tests|traces|scripts)/[\w/.]+)`", text)
    assert len(named) > 5
    for path in named:
        assert (ROOT / path).exists(), path
