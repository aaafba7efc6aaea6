"""Policies by name: the baselines, the shipped agents, and a user's own ``module:attribute``."""

import sys
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fleetgym.baselines.policy import Baseline, Policy, baselines_of
from fleetgym.envs.core.errors import PolicyError
from fleetgym.envs.core.registration import Family
from fleetgym.traces.errors import nearest

SHIPPED = "fleetgym.agents.shipped"  # its ``shipped(family)`` names the agents with weights


def policies_of(family: Family) -> Mapping[str, Baseline]:
    """Everything that can be run by name."""
    agents = import_module(SHIPPED).shipped(family) if find_spec(SHIPPED) else {}
    return {**baselines_of(family), **agents}


def make_policy(family: Family, name: str, seconds: float | None = None, seed: int = 0) -> Policy:
    """The policy of a name, or of a user's ``module:attribute``.

    Args:
        family: which environment it plays.
        name: of a baseline or agent; or where a class, an instance or a function that makes one
            stands, in a module of the working folder or on Python's path.
        seconds: budget on decision time of a named policy; its own by default.
        seed: of a named policy.

    Raises:
        PolicyError: there is none; the message names the nearest, or what is missing.
    """
    if ":" in name:
        return _own(name)
    known = policies_of(family)
    if name not in known:
        raise PolicyError(
            f"{family.id} has no policy {name!r}: {nearest(name, known)} (your own: module:attr)"
        )
    baseline = known[name]
    return baseline.make(baseline.seconds if seconds is None else seconds, seed)


def _own(name: str) -> Policy:
    module_name, _, attribute = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not module_name.startswith(error.name):
            raise
        raise PolicyError(f"--policy {name!r}: no module {error.name!r} here ({here})") from error
    found = getattr(module, attribute, None)
    if found is None:
        raise PolicyError(f"--policy {name!r}: {nearest(attribute, _public(module))}")
    ready = hasattr(found, "act") and not isinstance(found, type)
    if not (ready or callable(found)):
        raise PolicyError(f"--policy {name!r}: {found!r} is no class, instance or function")
    policy: Policy = found if ready else found()
    missing = [
        field for field in ("name", "information", "reset", "act") if not hasattr(policy, field)
    ]
    if missing:
        raise PolicyError(f"--policy {name!r}: {policy!r} has no {', '.join(missing)}")
    if policy.information not in ("online", "clairvoyant"):
        raise PolicyError(
            f"--policy {name!r}: information is {policy.information!r}, "
            "it must be 'online' or 'clairvoyant'"
        )
    return policy


def _public(module: Any) -> list[str]:
    return [name for name in vars(module) if not name.startswith("_")]
