"""What importing the package loads, and what it leaves alone."""

import subprocess
import sys

HEAVY = {"numba", "torch", "ray", "scipy", "polars", "pettingzoo", "stable_baselines3"}
FOLDERS = {"traces", "envs", "baselines", "agents", "scripts"}
LOADED = "import sys, fleetgym; print(*sorted({name.split('.')[0] for name in sys.modules}))"


def loaded(code, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    return set(done.stdout.split())


def test_import_is_light_and_registers(tmp_path):
    assert not loaded(LOADED, tmp_path) & (HEAVY | FOLDERS)
    spec = "import gymnasium, fleetgym; print(*gymnasium.registry)"
    assert "fleetgym/VMRescheduling-v0" in loaded(spec, tmp_path)


def test_making_an_environment_needs_no_agents(tmp_path):
    make = LOADED.replace(
        "print", "import gymnasium as g; g.make('fleetgym/VMRescheduling-v0').reset(seed=0); print"
    )
    modules = loaded(make, tmp_path)
    assert not modules & ((HEAVY | FOLDERS) - {"numba", "scipy", "polars"})


def test_no_folder_is_imported_by_its_bare_name():
    """Tests of the whole run share this process, whatever they imported."""
    for name in FOLDERS:
        file = getattr(sys.modules.get(name), "__file__", None) or ""
        assert "fleetgym" not in file
        assert name not in sys.modules, f"{name} was imported from {file}"
