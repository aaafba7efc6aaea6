"""LLM request preemption: who runs, who waits, and who is preempted when KV memory is short."""

from fleetgym.envs.core.registration import Family

FAMILY = Family(
    id="fleetgym/RequestPreemption-v0",
    folder="request_preemption",
    summary="Scheduling of LLM requests on GPUs with a paged KV cache that is too small.",
    scenario_type="scenario:RequestPreemptionScenario",
    simulator="simulator:RequestPreemptionSimulator",
    source="workloads:source_of",
    env="env:RequestPreemptionEnv",
    vector_env="env:RequestPreemptionVectorEnv",
)
