"""The wheel holds what the tree holds, and works without the extras."""

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, distribution, files
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("traces", "envs", "baselines", "agents", "scripts")
SHIPPED = {".py", ".toml", ".json", ".safetensors", ".html"}
EXTRAS = ("torch", "stable_baselines3", "sb3_contrib", "pettingzoo", "matplotlib", "safetensors")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy of what the package is made of, so that the tree stays as it is."""
    copy, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", ".pkg", *FOLDERS):
        if (ROOT / name).exists():
            (copy / name).symlink_to(ROOT / name)
    if not (copy / "README.md").exists():
        (copy / "README.md").write_text("fleetgym\n")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, copy],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (path,) = out.glob("*.whl")
    return path


def in_tree():
    """Every file of the package, by the name it must have in the wheel."""
    found = {f"fleetgym/{path.name}" for path in (ROOT / ".pkg").iterdir() if path.is_file()}
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in SHIPPED and "__pycache__" not in path.parts:
                found.add(f"fleetgym/{path.relative_to(ROOT).as_posix()}")
    return found


def test_wheel_holds_the_tree_and_nothing_else(wheel):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if not name.endswith("/")}
    inside = {name for name in names if name.startswith("fleetgym/")}
    assert inside == in_tree()
    assert "fleetgym/py.typed" in inside
    elsewhere = {name.split("/")[0] for name in names - inside}
    assert all(re.fullmatch(r"fleetgym-[^/]+\.dist-info", name) for name in elsewhere)


@pytest.fixture(scope="module")
def bare(wheel, tmp_path_factory):
    """A site of the wheel and of its core dependencies only, as after a plain ``pip install``."""
    site = tmp_path_factory.mktemp("site")
    zipfile.ZipFile(wheel).extractall(site)
    for name in needed(core_dependencies()):
        for path in files(name) or ():
            top = path.parts[0]
            target = Path(distribution(name).locate_file(top))
            if top not in ("..", "__pycache__") and not (site / top).exists():
                (site / top).symlink_to(target)
    return site


def core_dependencies():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [plain(text) for text in project["dependencies"]]


def plain(requirement):
    return re.match(r"[\w.-]+", requirement)[0]


def needed(names):
    """The distributions and all they require, extras left out."""
    todo, found = list(names), set()
    while todo:
        name = todo.pop()
        try:
            requires = distribution(name).requires or []
        except PackageNotFoundError:  # of another platform or Python
            continue
        if name.lower() not in found:
            found.add(name.lower())
            todo += [plain(text) for text in requires if "extra ==" not in text]
    return found


def run(site, code):
    """Runs code with nothing on the path but the standard library and the site."""
    variables = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    variables |= {name: os.environ[name] for name in ("XDG_CACHE_HOME",) if name in os.environ}
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.append({str(site)!r})\n{code}"],
        capture_output=True,
        text=True,
        check=False,
        env=variables | {"OMP_NUM_THREADS": "1"},
        cwd=site,
    )


STEP = """
import importlib.util
for name in {extras!r}:
    assert importlib.util.find_spec(name) is None, name
import gymnasium, fleetgym
assert fleetgym.__file__.startswith({site!r}), fleetgym.__file__
env = gymnasium.make("fleetgym/VMRescheduling-v0", scenario="toy")
observation, info = env.reset(seed=0)
print(env.step(int(observation["action_mask"].argmax()))[4]["reward_terms"]["fragment"])
print(len(fleetgym.evaluate("random", "VMRescheduling", "toy", [0, 1])))
print(fleetgym.list_scenarios("VMRescheduling"))
"""


def test_wheel_works_without_extras(bare):
    done = run(bare, STEP.format(extras=EXTRAS, site=str(bare)))
    assert done.returncode == 0, done.stderr
    reward, records, scenarios = done.stdout.splitlines()
    assert float(reward) == 0.0
    assert records == "2"
    assert "medium" in scenarios


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "CONFIG", "--out", "run"],
        ["evaluate", "VMRescheduling", "--scenario", "toy", "--policy", "agent-1"],
    ],
)
def test_command_line_without_extras_names_the_extra(bare, arguments):
    config = str(bare / "fleetgym" / "agents" / "configs" / "vm-rescheduling.toml")
    given = [config if word == "CONFIG" else word for word in arguments]
    code = f"sys.argv = ['fleetgym', *{given!r}]\nfrom fleetgym.scripts.cli import main\nmain()"
    done = run(bare, code)
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "Traceback" not in said, said
    assert "fleetgym[sb3]" in said


def test_plot_without_matplotlib_names_the_extra(bare):
    code = "from fleetgym.scripts.leaderboard import plots\nplots.figure(1.0)"
    assert "MissingExtraError: plots need matplotlib: pip install 'fleetgym[plots]'" in (
        run(bare, code).stderr
    )


def test_constraints_name_one_version_of_every_dependency():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in pins)
    names = [plain(line).lower().replace("_", "-") for line in pins]
    assert len(set(names)) == len(names)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    asked = [*project["dependencies"], *(text for extra in extras for text in extra)]
    missing = {plain(text).lower().replace("_", "-") for text in asked} - set(names)
    assert not missing - {"ray"}
