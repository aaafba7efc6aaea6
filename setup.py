"""Maps the top-level folders to subpackages of ``fleetgym``; all else is in pyproject.toml."""

from pathlib import Path

from setuptools import find_namespace_packages, setup

FOLDERS = ("traces", "envs", "baselines", "agents", "scripts")
here = Path(__file__).parent

packages = ["fleetgym"]
package_dir = {"fleetgym": ".pkg"}
for folder in FOLDERS:
    package_dir[f"fleetgym.{folder}"] = folder
    packages.append(f"fleetgym.{folder}")
    # Namespace packages too: a folder of data without an ``__init__.py`` is shipped as well.
    inside = find_namespace_packages(str(here / folder), exclude=["*__pycache__*"])
    packages += [f"fleetgym.{folder}.{name}" for name in inside]

setup(packages=packages, package_dir=package_dir)
