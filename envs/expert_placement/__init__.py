"""Expert placement: which experts get replicas, on which GPU, and when moving them pays."""

from fleetgym.envs.core.registration import Family

FAMILY = Family(
    id="fleetgym/ExpertPlacement-v0",
    folder="expert_placement",
    summary="Replicas of drifting experts on GPUs, against the stall of moving them (EPLB).",
    scenario_type="scenario:ExpertPlacementScenario",
    simulator="simulator:ExpertPlacementSimulator",
    source="workloads:source_of",
    env="env:ExpertPlacementEnv",
    vector_env="env:ExpertPlacementVectorEnv",
)
