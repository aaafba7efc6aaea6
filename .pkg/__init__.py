"""Gymnasium environments that simulate hardware fleets, so that scheduling them can be learned."""

from fleetgym._version import __version__

__all__ = ["__version__"]
