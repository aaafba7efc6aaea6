"""Learning by MaskablePPO (sb3-contrib), from a fresh network or one that imitation has taught.

Every so many rollouts (``PPO.fresh``) all worlds begin fresh episodes, whose seeds and all other
draws follow from the number of steps so far: a run that was killed goes on from there as if nothing
had happened.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sb3_contrib import MaskablePPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure
from stable_baselines3.common.utils import set_random_seed

from fleetgym.agents.checkpoint import read_checkpoint, write_checkpoint
from fleetgym.agents.config import PPO, Batch, TrainConfig
from fleetgym.agents.networks.experts import ExpertNet
from fleetgym.agents.sb3.advised import AdvisedVecEnv
from fleetgym.agents.sb3.focused import FocusedVecEnv
from fleetgym.agents.sb3.joined import JoinedVecEnv
from fleetgym.agents.sb3.policy import POLICIES, TablePolicy
from fleetgym.agents.sb3.styled import StyledVecEnv
from fleetgym.agents.sb3.timed_buffer import TimedRolloutBuffer
from fleetgym.agents.sb3.vec_env import FleetVecEnv
from fleetgym.agents.sb3.watched import WatchedVecEnv
from fleetgym.agents.weights import Network
from fleetgym.envs.core.registration import family_of
from fleetgym.envs.core.vector import FleetVectorEnv

Report = Callable[[str, int, int], None]
CRITIC = ("network.critic.", "network.value.")  # parameters of the value alone
Curve = list[dict[str, str | float]]


class Rollouts(BaseCallback):
    """Begins rollouts afresh, and writes a checkpoint before each that does."""

    model: MaskablePPO

    def __init__(
        self, checkpoint: Path, seed: list[int], ppo: PPO, report: Report, curve: Curve
    ) -> None:
        super().__init__()
        self.checkpoint, self.seed, self.report = checkpoint, seed, report
        self.measure, self.total, self.fresh = ppo.measure, ppo.total_steps, ppo.fresh
        self.critic_rollouts = ppo.critic_rollouts
        self.curve = curve
        self.ended: list[float] = []

    def _on_rollout_start(self) -> None:
        model = self.model
        name = text = f"PPO {self.seed[1]}"
        if self.ended:
            mean = float(np.mean(self.ended))
            model.logger.record(f"rollout/{self.measure}", mean)
            self.curve.append({"course": name, "step": model.num_timesteps, self.measure: mean})
            text = f"{name}: {self.measure} {mean:.4f} at the end of episodes"
            self.ended.clear()
        self.report(text, model.num_timesteps, self.total)
        actor_learns = model.num_timesteps >= self.critic_rollouts * model.n_steps * model.n_envs
        for name, parameter in model.policy.named_parameters():
            parameter.requires_grad_(actor_learns or name.startswith(CRITIC))
        if model.num_timesteps % (self.fresh * model.n_steps * model.n_envs) == 0:
            self._begin()

    def _begin(self) -> None:
        """Leaves a checkpoint; then all worlds begin anew, and so do all draws."""
        self.save()
        model = self.model
        rng = np.random.default_rng([*self.seed, model.num_timesteps])
        set_random_seed(int(rng.integers(2**31)))
        env = model.env
        assert env is not None
        env.seed(int(rng.integers(2**31)))
        model._last_obs = env.reset()  # type: ignore[assignment]
        model._last_episode_starts = np.ones(env.num_envs, np.bool_)
        buffer: Any = model.rollout_buffer
        if isinstance(buffer, TimedRolloutBuffer):
            buffer.begin()

    def save(self) -> None:
        """Writes a checkpoint."""
        model = self.model
        about = {
            "num_timesteps": model.num_timesteps,
            "n_updates": model._n_updates,
            "curve": self.curve,
        }
        write_checkpoint(self.checkpoint, model.policy, model.policy.optimizer, about)

    def _on_step(self) -> bool:
        for info in self.locals["infos"]:
            if "episode_metrics" in info:
                self.ended.append(info["episode_metrics"][self.measure])
        return True


def improve(
    config: TrainConfig, phase: int, network: Network, folder: Path, report: Report, curve: Curve
) -> Network:
    """MaskablePPO from the network's weights on, or from the checkpoint in the folder.

    Args:
        config: of the run.
        phase: which of ``config.ppo``.
        network: what was learnt before.
        folder: of the run.
        report: told of progress.
        curve: to which the means of rollouts are added.
    """
    ppo = config.ppo[phase]
    model = _model(config, ppo, network)
    policy = model.policy
    assert isinstance(policy, TablePolicy)
    policy.network.load_state_dict(network.state_dict())
    checkpoint = folder / f"ppo-{phase}.safetensors"
    about = read_checkpoint(checkpoint, policy, policy.optimizer)
    own: Curve = []
    if about is not None:
        model.num_timesteps, model._n_updates = about["num_timesteps"], about["n_updates"]
        own = about["curve"]
    model.set_logger(configure(str(folder / "tensorboard" / f"ppo-{phase}"), ["tensorboard"]))
    left = ppo.total_steps - model.num_timesteps
    if left > 0:
        callback = Rollouts(checkpoint, [config.seed, phase], ppo, report, own)
        model.learn(left, callback, reset_num_timesteps=False)
        callback.save()
    curve.extend(own)
    network.load_state_dict(policy.network.state_dict())
    return network.eval()


def _model(config: TrainConfig, ppo: PPO, network: Network) -> MaskablePPO:
    """MaskablePPO over all batches of the phase, with a fresh network."""
    family = family_of(config.id)
    env = JoinedVecEnv([part for batch in ppo.batches for part in _parts(config, batch, network)])
    timed: dict[str, Any] = {}
    if ppo.horizon_s > 0:
        kwargs = {"clock": env.now, "horizon_s": ppo.horizon_s}
        timed = {"rollout_buffer_class": TimedRolloutBuffer, "rollout_buffer_kwargs": kwargs}
    return MaskablePPO(
        POLICIES[family.folder],
        env,
        learning_rate=lambda left: ppo.learning_rate * max(0.1, left),
        n_steps=ppo.rollout_steps,
        batch_size=ppo.batch_size,
        n_epochs=ppo.epochs,
        gamma=ppo.gamma,
        gae_lambda=ppo.gae_lambda,
        clip_range=ppo.clip,
        ent_coef=ppo.entropy,
        vf_coef=ppo.value_weight,
        target_kl=ppo.target_kl,
        policy_kwargs={"width": config.width},
        seed=config.seed,
        device="cpu",
        **timed,
    )


def _parts(config: TrainConfig, batch: Batch, network: Network) -> list[FleetVecEnv]:
    """The batch as one part; as one for each world where these take steps of their own."""
    if isinstance(network, ExpertNet):
        single = Batch(batch.scenario, batch.overrides, 1)
        return [StyledVecEnv(_worlds(config, single), network) for _ in range(batch.worlds)]
    return [_batch(config, batch)]


def _worlds(config: TrainConfig, batch: Batch) -> FleetVectorEnv:
    family = family_of(config.id)
    fields = {**batch.overrides, "split": "train"}
    make = family.load(family.vector_env)
    env: FleetVectorEnv = make(batch.worlds, batch.scenario, autoreset_mode="SameStep", **fields)
    return env


def _batch(config: TrainConfig, batch: Batch) -> FleetVecEnv:
    family, env = family_of(config.id), _worlds(config, batch)
    if family.folder == "expert_cache":
        return WatchedVecEnv(env)
    if family.folder == "request_preemption":
        return AdvisedVecEnv(env)
    if family.folder == "mec_offloading":
        return FocusedVecEnv(env)
    return FleetVecEnv(env)
