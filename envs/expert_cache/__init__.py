"""Expert caching: which experts of a mixture-of-experts model stay in GPU memory."""

from fleetgym.envs.core.registration import Family

FAMILY = Family(
    id="fleetgym/ExpertCache-v0",
    folder="expert_cache",
    summary="Which experts stay in GPU memory, and which are computed on the CPU (HybriMoE).",
    scenario_type="scenario:ExpertCacheScenario",
    simulator="simulator:ExpertCacheSimulator",
    source="workloads:source_of",
    env="env:ExpertCacheEnv",
    vector_env="env:ExpertCacheVectorEnv",
)
