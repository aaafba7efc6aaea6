"""Devices that share one policy learn by RLlib's PPO or APPO, over the batch, resumable.

A checkpoint is a safetensors file of weights and Adam moments, with how far the run has come.
"""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.appo import APPO, APPOConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from safetensors import safe_open

from fleetgym.agents.checkpoint import read_checkpoint, write_checkpoint
from fleetgym.agents.config import Report
from fleetgym.agents.networks.offloading import OffloadNet
from fleetgym.agents.offloading import OffloadAgent
from fleetgym.agents.rllib.batch_runner import BatchEnvRunner
from fleetgym.agents.rllib.config import SharedConfig
from fleetgym.agents.rllib.offloading import OffloadModule
from fleetgym.agents.rllib.rows import WORKLOADS, AgentRows
from fleetgym.agents.rllib.session import Homeless, HomelessPPO, ray_session
from fleetgym.agents.weights import save_weights
from fleetgym.envs.core.errors import ScenarioError
from fleetgym.envs.core.registration import family_of
from fleetgym.envs.core.view import View
from fleetgym.envs.mec_offloading.scenario import MECOffloadingScenario

CURVE = ("mean_makespan_s", "device_energy_j", "miss_rate", "server_load_cv")


class HomelessAPPO(Homeless, APPO):  # type: ignore[misc]
    """APPO that writes nothing into the home folder."""


def train_shared(config: SharedConfig, folder: Path, report: Report, address: str = "") -> Path:
    """Runs a configuration, from the checkpoint in the folder on where there is one.

    Args:
        config: of the run.
        folder: of the run: checkpoint, weights.
        report: told of progress.
        address: of a Ray cluster; a session of its own if empty.

    Returns:
        The path of the weights.

    Raises:
        ScenarioError: the environment is no offloading.
    """
    with ray_session(config.ppo.runners, address):
        run = _Run(config, folder, report)
        network = run.run()
    path = folder / f"{config.name}.safetensors"
    save_weights(network, path, {"config": asdict(config), "curve": run.curve})
    return path


class _Run:
    """One run."""

    def __init__(self, config: SharedConfig, folder: Path, report: Report) -> None:
        self.config, self.report = config, report
        self.checkpoint = folder / "checkpoint.safetensors"
        family = family_of(config.id)
        fields = {**config.overrides, "split": "train", "control": "distributed"}
        scenario = family.scenario(config.scenario, fields)
        if not isinstance(scenario, MECOffloadingScenario):
            raise ScenarioError(f"{config.name}: {config.id} is no offloading of tasks")
        self._source = family.workloads(scenario)
        self._judged = family.simulate(scenario, self._source, config.validation)
        kind = HomelessAPPO if config.algorithm == "APPO" else HomelessPPO
        self.curve = saved_curve(self.checkpoint)
        self.algorithm: Algorithm = kind(config=algorithm_config(config, len(self.curve)))

    def run(self) -> OffloadNet:
        """Trains to the end."""
        network, optimizer = self._learner()
        if read_checkpoint(self.checkpoint, network, optimizer) is not None:
            self.algorithm.env_runner_group.sync_weights(
                from_worker_or_learner_group=self.algorithm.learner_group, inference_only=True
            )
        learnt = OffloadNet(self.config.width)
        total = self.config.ppo.iterations
        for iteration in range(len(self.curve), total):
            result = self.algorithm.train()
            paid = float(result["env_runners"].get("episode_return_mean", np.nan))
            learnt.load_state_dict(network.state_dict())
            reached = self._judge(learnt.eval())
            self.curve.append({"iteration": iteration + 1, "return": paid, **reached})
            write_checkpoint(self.checkpoint, network, optimizer, {"curve": self.curve})
            text = f"mean makespan {reached['mean_makespan_s']:.3f} s"
            self.report(text, iteration + 1, total)
        # APPO's learner is a thread, which may have gone on: what was saved last is what counts.
        read_checkpoint(self.checkpoint, learnt, torch.optim.Adam(learnt.parameters()))
        self.algorithm.stop()
        shutil.rmtree(self.algorithm.logdir, ignore_errors=True)
        return learnt.eval()

    def _learner(self) -> tuple[Any, Any]:
        """The network that learns, and its optimiser."""
        learner = self.algorithm.learner_group._learner
        module = learner.module[DEFAULT_MODULE_ID].unwrapped()
        return module.network, learner.get_optimizer(DEFAULT_MODULE_ID)

    def _judge(self, network: OffloadNet) -> dict[str, float]:
        """What the policy reaches on training workloads that no agent plays."""
        simulator, view = self._judged, View(self._judged)
        count = self.config.validation
        simulator.reset([self._source.draw(WORKLOADS + n) for n in range(count)])
        policy = OffloadAgent(self.config.name, network)
        policy.reset(view, np.arange(count))
        while not simulator.over().all():
            simulator.step(policy.act(view), ~simulator.over())
        found = simulator.metrics()
        return {name: float(found[name].mean()) for name in CURVE}


def saved_curve(checkpoint: Path) -> list[dict[str, Any]]:
    """The curve of an earlier process of the run, one point an iteration."""
    if not checkpoint.exists():
        return []
    with safe_open(checkpoint, "pt") as file:
        curve: list[dict[str, Any]] = json.loads(file.metadata()["about"])["curve"]
    return curve


def algorithm_config(config: SharedConfig, begun: int = 0) -> AlgorithmConfig:
    """RLlib's configuration of a run of which so many iterations are done.

    The learning rate falls to a tenth, linearly.
    """
    ppo = config.ppo
    first, last = (1.0 - 0.9 * done / ppo.iterations for done in (begun, ppo.iterations))
    left = (ppo.iterations - begun) * ppo.batch
    falling = [[0, first * ppo.learning_rate], [max(1, left), last * ppo.learning_rate]]
    played: dict[str, Any] = {
        "id": config.id,
        "scenario": config.scenario,
        "overrides": {**config.overrides, "split": "train"},
        "worlds": ppo.worlds,
    }
    rows = AgentRows(**{**played, "worlds": 1}, seed=0)
    spec = RLModuleSpec(module_class=OffloadModule, model_config={"width": config.width})
    made = APPOConfig() if config.algorithm == "APPO" else PPOConfig()
    made = (
        made.environment(
            "fleetgym",  # a name; the runner makes its own batch
            env_config=played,
            observation_space=rows.single_observation_space,
            action_space=rows.single_action_space,
            disable_env_checking=True,
        )
        .framework("torch")
        .env_runners(
            env_runner_cls=BatchEnvRunner,
            num_env_runners=ppo.runners,
            num_envs_per_env_runner=1,
            rollout_fragment_length="auto",
            batch_mode="complete_episodes",
        )
        .learners(num_learners=0, num_gpus_per_learner=0)
        .rl_module(rl_module_spec=spec)
        .training(
            lr=falling,
            gamma=ppo.gamma,
            lambda_=ppo.gae_lambda,
            clip_param=ppo.clip,
            entropy_coeff=ppo.entropy,
            vf_loss_coeff=ppo.value_weight,
            use_kl_loss=False,
            grad_clip=ppo.max_grad_norm,
            train_batch_size_per_learner=ppo.batch,
        )
        .debugging(seed=config.seed + begun, log_level="ERROR")
    )
    if config.algorithm == "PPO":
        made.training(
            minibatch_size=ppo.minibatch, num_epochs=ppo.epochs, vf_clip_param=float("inf")
        )
    return made
