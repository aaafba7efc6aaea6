"""Gymnasium environments that simulate hardware fleets, so that scheduling them can be learned."""

from fleetgym._version import __version__
from fleetgym.envs.core.registration import register_all

__all__ = ["__version__"]

register_all()
