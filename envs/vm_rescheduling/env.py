"""The Gymnasium environments of VM rescheduling."""

from fleetgym.envs.core.env import FleetEnv
from fleetgym.envs.core.vector import FleetVectorEnv
from fleetgym.envs.vm_rescheduling import FAMILY


class VMReschedulingEnv(FleetEnv):
    """Placeholder."""

    family = FAMILY


class VMReschedulingVectorEnv(FleetVectorEnv):
    """B fleets at once; see `VMReschedulingEnv`."""

    family = FAMILY
