"""What can go wrong between a user and the command line."""

from fleetgym.traces.errors import FleetGymError


class CommandError(FleetGymError):
    """An argument or a file that a command cannot use."""


class LeaderboardError(FleetGymError):
    """A suite, a submission or a folder of records that the leaderboard cannot use."""
