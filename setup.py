"""Maps the top-level folders to subpackages of ``fleetgym``; everything else is in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

FOLDERS = ("traces", "envs", "baselines", "agents", "scripts")
here = Path(__file__).parent

packages = ["fleetgym"]
package_dir = {"fleetgym": ".pkg"}
for folder in FOLDERS:
    package_dir[f"fleetgym.{folder}"] = folder
    packages.append(f"fleetgym.{folder}")
    packages += [f"fleetgym.{folder}.{name}" for name in find_packages(str(here / folder))]

setup(packages=packages, package_dir=package_dir)
