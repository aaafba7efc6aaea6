"""VM rescheduling: which few VMs should move, and where to, so that large VMs fit again."""

from fleetgym.envs.core.registration import Family

FAMILY = Family(
    id="fleetgym/VMRescheduling-v0",
    folder="vm_rescheduling",
    summary="Few live migrations that undo CPU fragmentation on NUMA machines (VMR2L).",
    scenario_type="scenario:VMReschedulingScenario",
    simulator="racks:simulator_of",
    source="workloads:source_of",
    env="env:VMReschedulingEnv",
    vector_env="env:VMReschedulingVectorEnv",
)
