"""Expert placement with an agent a layer: forecasts learnt first, then styles by RLlib's PPO.

A checkpoint is a safetensors file of weights and Adam moments, with how far the run has come.
"""

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from fleetgym.agents.checkpoint import read_checkpoint, write_checkpoint
from fleetgym.agents.config import Report, TrainConfig
from fleetgym.agents.load_forecasts import LoadForecaster
from fleetgym.agents.networks.experts import ExpertNet
from fleetgym.agents.rllib.config import LayersConfig
from fleetgym.agents.rllib.layers import LayerModule, LayersEnv
from fleetgym.agents.rllib.session import HomelessPPO, ray_session
from fleetgym.agents.weights import save_weights

ROLE = "layer"  # the policy that all agents share


def train_layers(config: LayersConfig, folder: Path, report: Report, address: str = "") -> Path:
    """Runs a configuration, from the checkpoints in the folder on where there are any.

    Args:
        config: of the run.
        folder: of the run: checkpoints, weights.
        report: told of progress: what, how far, of how much.
        address: of a Ray cluster; a session of its own if empty.

    Returns:
        The path of the weights.
    """
    taught = TrainConfig(
        name=config.name,
        id=config.id,
        seed=config.seed,
        width=config.width,
        validation=config.validation,
        loads=config.loads,
    )
    forecaster = LoadForecaster(taught, folder, report)
    weights = folder / "forecaster.safetensors"
    save_weights(forecaster.run(), weights, {"curve": forecaster.curve})
    with ray_session(config.ppo.runners, address):
        run = _Run(config, folder, weights, report)
        network = run.run()
    path = folder / f"{config.name}.safetensors"
    about = {"config": asdict(config), "curve": forecaster.curve + run.curve}
    save_weights(network, path, about)
    return path


class _Run:
    """The part in which agents learn."""

    def __init__(self, config: LayersConfig, folder: Path, weights: Path, report: Report) -> None:
        self.config, self.report = config, report
        self.checkpoint = folder / "checkpoint-layer.safetensors"
        self.curve: list[dict[str, Any]] = []
        self.algorithm = HomelessPPO(config=_ppo_config(config, weights))

    def run(self) -> ExpertNet:
        """Trains to the end."""
        network, optimizer = self._learner()
        about = read_checkpoint(self.checkpoint, network, optimizer)
        if about is not None:
            self.curve = about["curve"]
            self.algorithm.env_runner_group.sync_weights(
                from_worker_or_learner_group=self.algorithm.learner_group, inference_only=True
            )
        total = self.config.ppo.iterations
        for iteration in range(len(self.curve), total):
            result = self.algorithm.train()
            paid = float(result["env_runners"].get("episode_return_mean", np.nan))
            self.curve.append({"course": "PPO", "iteration": iteration + 1, "return": paid})
            write_checkpoint(self.checkpoint, network, optimizer, {"curve": self.curve})
            self.report(f"return of an episode {paid:.2f}", iteration + 1, total)
        learnt = ExpertNet(self.config.width)
        learnt.load_state_dict(network.state_dict())
        self.algorithm.stop()
        shutil.rmtree(self.algorithm.logdir, ignore_errors=True)
        return learnt.eval()

    def _learner(self) -> tuple[Any, Any]:
        """The network that learns, and its optimiser."""
        learner = self.algorithm.learner_group._learner
        return learner.module[ROLE].unwrapped().network, learner.get_optimizer(ROLE)


def _ppo_config(config: LayersConfig, weights: Path) -> PPOConfig:
    ppo = config.ppo
    played = [
        {"scenario": batch.scenario, "overrides": {**batch.overrides, "split": "train"}}
        for batch in config.batches
    ]
    taught = {"forecaster": str(weights)}
    spec = RLModuleSpec(module_class=LayerModule, model_config=taught)
    return (
        PPOConfig()
        .environment(
            LayersEnv,
            env_config={"id": config.id, "batches": played, **taught},
            disable_env_checking=True,
        )
        .framework("torch")
        .env_runners(
            num_env_runners=ppo.runners,
            num_envs_per_env_runner=ppo.worlds,
            rollout_fragment_length="auto",
            batch_mode="truncate_episodes",
        )
        .learners(num_learners=0, num_gpus_per_learner=0)
        .multi_agent(policies={ROLE}, policy_mapping_fn=lambda agent, *args, **kwargs: ROLE)
        .rl_module(rl_module_spec=MultiRLModuleSpec(rl_module_specs={ROLE: spec}))
        .training(
            lr=ppo.learning_rate,
            gamma=ppo.gamma,
            lambda_=ppo.gae_lambda,
            clip_param=ppo.clip,
            entropy_coeff=ppo.entropy,
            vf_loss_coeff=ppo.value_weight,
            vf_clip_param=float("inf"),
            use_kl_loss=False,
            grad_clip=ppo.max_grad_norm,
            train_batch_size_per_learner=ppo.batch,
            minibatch_size=ppo.minibatch,
            num_epochs=ppo.epochs,
        )
        .debugging(seed=config.seed, log_level="ERROR")
    )
