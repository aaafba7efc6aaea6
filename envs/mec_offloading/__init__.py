"""Mobile edge computing: on the device, on an edge server, or in the cloud?"""

from fleetgym.envs.core.registration import Family

FAMILY = Family(
    id="fleetgym/MECOffloading-v0",
    folder="mec_offloading",
    summary="Where dependent tasks of mobile devices run: device, edge server or cloud (Com-DDPG).",
    scenario_type="scenario:MECOffloadingScenario",
    simulator="simulator:MECOffloadingSimulator",
    source="workloads:source_of",
    env="env:MECOffloadingEnv",
    vector_env="env:MECOffloadingVectorEnv",
)
