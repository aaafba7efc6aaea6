"""Gymnasium environments that simulate hardware fleets, so that scheduling them can be learned."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fleetgym._version import __version__
from fleetgym.envs.core.registration import register_all
from fleetgym.traces.errors import FleetGymError

if TYPE_CHECKING:
    from fleetgym.envs.core.episode import EpisodeRecord
    from fleetgym.envs.core.registration import parallel_env
    from fleetgym.envs.core.replay import replay
    from fleetgym.envs.core.view import View
    from fleetgym.scripts.leaderboard.evaluate import evaluate
    from fleetgym.scripts.listing import list_baselines, list_scenarios

__all__ = [
    "EpisodeRecord",
    "FleetGymError",
    "View",
    "__version__",
    "evaluate",
    "list_baselines",
    "list_scenarios",
    "parallel_env",
    "replay",
]

_LAZY = {
    "EpisodeRecord": "fleetgym.envs.core.episode",
    "View": "fleetgym.envs.core.view",
    "evaluate": "fleetgym.scripts.leaderboard.evaluate",
    "list_baselines": "fleetgym.scripts.listing",
    "list_scenarios": "fleetgym.scripts.listing",
    "parallel_env": "fleetgym.envs.core.registration",
    "replay": "fleetgym.envs.core.replay",
}


def __getattr__(name: str) -> Any:
    """Loads what is named only when it is asked for: ``import fleetgym`` stays light."""
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'fleetgym' has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)


register_all()
