"""How fast RLlib samples: by its own multi-agent runner, and by ours over the batch.

The same environments, agents and network; both by wall-clock time in this process. What is counted
are decisions: steps of agents that had a task to place. The peer is RLlib's ``MultiAgentEnvRunner``
over ``ParallelPettingZooEnv``.
"""

import logging
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from fleetgym.scripts.bench.figure import Figure

ID, SCENARIO = "fleetgym/MECOffloading-v0", "cluster"
WORLDS = 64
ROLE = "device"


def measure(quick: bool) -> list[Figure]:
    """Decisions per second of both; nothing where RLlib is not installed."""
    try:
        import pettingzoo  # noqa: F401
        import ray  # noqa: F401
    except ImportError:
        return []
    import torch

    torch.set_num_threads(1)
    logging.getLogger("ray").setLevel(logging.ERROR)
    seconds = 1.0 if quick else 15.0
    ours, theirs = _per_second(_batch(), seconds), _per_second(_parallel(), seconds)
    name = "RLlib sampling, 8 agents, decisions"
    peer = "MultiAgentEnvRunner over ParallelPettingZooEnv"
    return [Figure(name, ours, "decisions/s", peer, theirs)]


def _per_second(sample: Callable[[], int], seconds: float) -> float:
    """Decisions per second, after one sample that is not counted."""
    sample()
    began, decisions = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        decisions += sample()
    return decisions / (time.perf_counter() - began)


def _batch() -> Callable[[], int]:
    from fleetgym.agents.rllib.batch_runner import BatchEnvRunner
    from fleetgym.agents.rllib.config import ClusterPPO, SharedConfig
    from fleetgym.agents.rllib.train_shared import algorithm_config

    ppo = ClusterPPO(worlds=WORLDS)
    config = SharedConfig("bench", "rllib-shared", ID, SCENARIO, ppo=ppo)
    runner: Any = BatchEnvRunner(config=algorithm_config(config))
    return lambda: sum(len(episode) for episode in runner.sample(num_timesteps=1))


def _parallel() -> Callable[[], int]:
    from ray.rllib.algorithms.ppo import PPOConfig
    from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
    from ray.rllib.core.rl_module.rl_module import RLModuleSpec
    from ray.rllib.env.multi_agent_env_runner import MultiAgentEnvRunner
    from ray.rllib.env.wrappers.pettingzoo_env import ParallelPettingZooEnv

    from fleetgym.agents.rllib.offloading import OffloadModule
    from fleetgym.envs.core.registration import parallel_env

    spec = RLModuleSpec(module_class=OffloadModule, model_config={"width": 64})
    config = (
        PPOConfig()
        .environment(lambda context: ParallelPettingZooEnv(parallel_env(ID, SCENARIO)))
        .env_runners(num_envs_per_env_runner=WORLDS)
        .multi_agent(policies={ROLE}, policy_mapping_fn=lambda agent, *args, **kwargs: ROLE)
        .rl_module(rl_module_spec=MultiRLModuleSpec(rl_module_specs={ROLE: spec}))
    )
    runner: Any = MultiAgentEnvRunner(config=config)

    def sample() -> int:
        episodes = runner.sample(num_timesteps=8 * WORLDS)
        decided = [
            np.asarray(agent.get_actions()) > 0
            for episode in episodes
            for agent in episode.agent_episodes.values()
        ]
        return int(sum(each.sum() for each in decided))

    return sample
