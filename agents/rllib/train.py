"""Multi-agent PPO of RLlib's new API stack on a serving cluster, resumable without pickles.

RLlib's own checkpoints hold pickled objects; here a checkpoint is a safetensors file of weights and
Adam moments for each network, with how far the run has come.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from fleetgym.agents.checkpoint import read_checkpoint, write_checkpoint
from fleetgym.agents.rllib.cluster_rows import ClusterRows
from fleetgym.agents.rllib.cluster_runner import ClusterRunner
from fleetgym.agents.rllib.config import ClusterConfig
from fleetgym.agents.rllib.modules import ServingModule
from fleetgym.agents.rllib.policy import ClusterPolicy, shape_of
from fleetgym.agents.rllib.session import HomelessPPO, ray_session
from fleetgym.agents.rllib.weights import ClusterNet, save_cluster
from fleetgym.envs.core.errors import PolicyError, ScenarioError
from fleetgym.envs.core.registration import family_of
from fleetgym.envs.core.simulator import Simulator
from fleetgym.envs.core.view import View
from fleetgym.envs.core.workload import Workload
from fleetgym.envs.request_preemption.scenario import RequestPreemptionScenario

Report = Callable[[str, int, int], None]
ROLES = ("router", "instance")
CURVE = ("slo_attainment", "goodput_rps", "ttft_p50_s", "ttft_p99_s", "e2e_mean_s", "preemptions")
LAST_SEED = 2**31  # validation workloads have the seeds below


def train_cluster(config: ClusterConfig, folder: Path, report: Report, address: str = "") -> Path:
    """Runs a configuration, from the checkpoint in the folder on where there is one.

    Args:
        config: of the run.
        folder: of the run: checkpoints, the curve, weights.
        report: told of progress: what, how far, of how much.
        address: of a Ray cluster; a session of its own if empty.

    Returns:
        The path of the weights.

    Raises:
        ScenarioError: the scenario is no cluster under single edits.
    """
    with ray_session(config.ppo.runners, address):
        return _Run(config, folder, report).run()


class _Run:
    """One run."""

    def __init__(self, config: ClusterConfig, folder: Path, report: Report) -> None:
        self.config, self.folder, self.report = config, folder, report
        family = family_of(config.id)
        scenario = family.scenario(config.scenario, {**config.overrides, "split": "train"})
        if not isinstance(scenario, RequestPreemptionScenario) or scenario.instances < 2:
            raise ScenarioError(
                f"{config.name}: {config.id} with scenario {config.scenario!r} is no cluster of "
                "servers: choose one of RequestPreemption with instances above 1"
            )
        self.shape = {"width": config.width, **shape_of(scenario)}
        self.network = ClusterNet(**self.shape)
        self.done, self.curve = 0, list[dict[str, float]]()
        self.judge = Judge(config)
        self.algorithm = HomelessPPO(config=algorithm_config(config, self.shape, self._begun()))

    def run(self) -> Path:
        """Trains to the end, and returns the path of the weights."""
        config = self.config
        self._resume()
        if not self.curve:
            self._judge(0.0)
        while self.done < config.ppo.iterations:
            result = self.algorithm.train()
            self.done += 1
            paid = float(result["env_runners"].get("episode_return_mean", np.nan))
            if self.done % config.every == 0 or self.done == config.ppo.iterations:
                self._judge(paid)
                self._save()
            text = f"iteration {self.done}: return of an episode {paid:.1f}"
            self.report(text, self.done, config.ppo.iterations)
        self._gather()
        self.algorithm.stop()
        shutil.rmtree(self.algorithm.logdir, ignore_errors=True)
        path = self.folder / f"{config.name}.safetensors"
        save_cluster(self.network, path, {"config": asdict(config), "curve": self.curve})
        return path

    def _learner(self, role: str) -> tuple[Any, Any]:
        """The network of a role that learns, and its optimiser."""
        learner = self.algorithm.learner_group._learner
        return learner.module[role].unwrapped().network, learner.get_optimizer(role)

    def _gather(self) -> None:
        """Copies the weights from where they are learnt."""
        for role in ROLES:
            net, _ = self._learner(role)
            getattr(self.network, role).load_state_dict(net.state_dict())

    def _checkpoint(self, role: str) -> Path:
        return self.folder / f"checkpoint-{role}.safetensors"

    def _begun(self) -> int:
        """Iterations that an earlier process of this run has saved."""
        curve = self.folder / "curve.json"
        return int(json.loads(curve.read_text())[-1]["iteration"]) if curve.exists() else 0

    def _save(self) -> None:
        """Writes a checkpoint; the curve comes last, and says how far the run has come."""
        for role in ROLES:
            about = {"iteration": self.done}
            write_checkpoint(self._checkpoint(role), *self._learner(role), about)
        part = self.folder / "curve.part"
        part.write_text(json.dumps(self.curve, indent=1) + "\n", encoding="utf-8")
        part.replace(self.folder / "curve.json")

    def _resume(self) -> None:
        """Goes on from the checkpoints, where there are any.

        Raises:
            PolicyError: those of the two networks are not of one iteration.
        """
        if self._begun() == 0:
            return
        found = [read_checkpoint(self._checkpoint(role), *self._learner(role)) for role in ROLES]
        iterations = {0 if about is None else int(about["iteration"]) for about in found}
        if len(iterations) != 1 or 0 in iterations:
            raise PolicyError(
                f"{self.folder}: checkpoints of {ROLES} are of iterations {sorted(iterations)} (0: "
                "none): name another folder"
            )
        self.done = iterations.pop()
        self.curve = json.loads((self.folder / "curve.json").read_text())
        self.algorithm.env_runner_group.sync_weights(
            from_worker_or_learner_group=self.algorithm.learner_group, inference_only=True
        )

    def _judge(self, paid: float) -> None:
        """Adds a point to the curve: what the policy reaches on the validation workloads."""
        self._gather()
        reached = self.judge.metrics(ClusterPolicy(self.config.name, self.network.eval()))
        self.curve.append({"iteration": self.done, "return": paid, **reached})


def algorithm_config(config: ClusterConfig, shape: dict[str, int], begun: int) -> PPOConfig:
    """RLlib's configuration; episodes differ from those before the run was resumed."""
    ppo = config.ppo
    drawn = np.random.default_rng([config.seed, begun]).integers(2**30)
    played: dict[str, Any] = {
        "id": config.id,
        "scenario": config.scenario,
        "worlds": ppo.worlds,
        "batches": [{**fields, "split": "train"} for fields in loads(config)],
    }
    rows = ClusterRows(config.id, config.scenario, played["batches"][0], worlds=1, seed=[0])
    specs = {
        role: RLModuleSpec(
            module_class=ServingModule,
            observation_space=rows.shown[role],
            action_space=rows.actions[role],
            model_config={"role": role, **shape},
        )
        for role in ROLES
    }
    return (
        PPOConfig()
        .environment(
            "fleetgym",  # a name; the runner makes its own batches
            env_config=played,
            observation_space=rows.observation_space,
            action_space=rows.action_space,
            disable_env_checking=True,
        )
        .framework("torch")
        .env_runners(
            env_runner_cls=ClusterRunner,
            num_env_runners=ppo.runners,
            num_envs_per_env_runner=1,
            rollout_fragment_length="auto",
            batch_mode="complete_episodes",
        )
        .learners(num_learners=0, num_gpus_per_learner=0)
        .multi_agent(
            policies=set(ROLES),
            policy_mapping_fn=lambda agent, *args, **kwargs: agent.split("_")[0],
        )
        .rl_module(rl_module_spec=MultiRLModuleSpec(rl_module_specs=specs))
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
        .debugging(seed=int(drawn), log_level="ERROR")
    )


def loads(config: ClusterConfig) -> list[dict[str, Any]]:
    """Fields of the scenario at each load."""
    scales = config.arrival_scales
    return [{**config.overrides, "arrival_scale": scale} for scale in scales] or [config.overrides]


class Judge:
    """Plays a policy on workloads that the agents do not learn on.

    Args:
        config: of the run.
    """

    def __init__(self, config: ClusterConfig) -> None:
        family = family_of(config.id)
        self._simulators = []
        for fields in loads(config):
            scenario = family.scenario(config.scenario, {**fields, "split": "train"})
            source = family.workloads(scenario)
            drawn = [source.draw(LAST_SEED - 1 - n) for n in range(config.validation)]
            self._simulators.append((family.simulate(scenario, source, len(drawn)), drawn))

    def metrics(self, policy: ClusterPolicy) -> dict[str, float]:
        """Mean metrics at the end of the episodes, of all loads."""
        found = [self._played(policy, *on) for on in self._simulators]
        return {name: float(np.mean([one[name] for one in found])) for name in CURVE}

    def _played(
        self, policy: ClusterPolicy, simulator: Simulator, workloads: list[Workload]
    ) -> Mapping[str, NDArray[np.float64]]:
        simulator.reset(workloads)
        view = View(simulator)
        policy.reset(view, np.arange(simulator.num_worlds))
        while not simulator.over().all():
            simulator.step(policy.act(view))
        return simulator.metrics()
