"""What can go wrong between a user and a simulator."""

from fleetgym.traces.errors import FleetGymError


class ScenarioError(FleetGymError):
    """An unknown scenario, or a field that is unknown, mistyped or out of range."""


class WorkloadError(FleetGymError):
    """A workload that does not fit its scenario, or an unknown workload name."""


class IllegalActionError(FleetGymError):
    """An action that the mask the policy saw forbids, with ``illegal_action="raise"``."""


class RecordError(FleetGymError):
    """An episode record that is malformed, altered, or does not replay."""


class PolicyError(FleetGymError):
    """An unknown policy, or one that answered in the wrong shape."""


class MissingExtraError(FleetGymError):
    """An optional dependency is not installed; the message names the extra."""
