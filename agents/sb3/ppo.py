"""Learning by MaskablePPO (sb3-contrib) from a network that imitation has taught.

Every rollout begins with fresh episodes whose seeds follow from its number, and all draws are
seeded by it: a run that was killed goes on from its last rollout as if nothing had happened.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from sb3_contrib import MaskablePPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure
from stable_baselines3.common.utils import set_random_seed

from fleetgym.agents.checkpoint import read_checkpoint, write_checkpoint
from fleetgym.agents.config import TrainConfig
from fleetgym.agents.networks.fleet import FleetNet
from fleetgym.agents.sb3.policy import FleetPolicy
from fleetgym.agents.sb3.vec_env import FleetVecEnv
from fleetgym.envs.core.registration import family_of

Report = Callable[[str, int, int], None]


class Rollouts(BaseCallback):
    """Begins each rollout afresh, and writes a checkpoint before it."""

    model: MaskablePPO

    def __init__(self, checkpoint: Path, seed: list[int], total: int, report: Report) -> None:
        super().__init__()
        self.checkpoint, self.seed, self.total, self.report = checkpoint, seed, total, report
        self.ended: list[float] = []

    def _on_rollout_start(self) -> None:
        model = self.model
        if self.ended:
            mean = float(np.mean(self.ended))
            model.logger.record("rollout/objective", mean)
            text = f"PPO {self.seed[1]}: objective {mean:.4f} at the end of episodes"
            self.report(text, model.num_timesteps, self.total)
            self.ended.clear()
        self.save()
        rng = np.random.default_rng([*self.seed, model.num_timesteps])
        set_random_seed(int(rng.integers(2**31)))
        env = model.env
        assert env is not None
        env.seed(int(rng.integers(2**31)))
        model._last_obs = env.reset()  # type: ignore[assignment]
        model._last_episode_starts = np.ones(env.num_envs, np.bool_)

    def save(self) -> None:
        """Writes a checkpoint."""
        model = self.model
        about = {"num_timesteps": model.num_timesteps, "n_updates": model._n_updates}
        write_checkpoint(self.checkpoint, model.policy, model.policy.optimizer, about)

    def _on_step(self) -> bool:
        for info in self.locals["infos"]:
            if "episode_metrics" in info:
                self.ended.append(info["episode_metrics"]["objective"])
        return True


def improve(
    config: TrainConfig, phase: int, network: FleetNet, folder: Path, report: Report
) -> FleetNet:
    """MaskablePPO from the network's weights on, or from the checkpoint in the folder.

    Args:
        config: of the run.
        phase: which of ``config.ppo``.
        network: what was learnt before.
        folder: of the run.
        report: told of progress.
    """
    ppo = config.ppo[phase]
    family = family_of(config.id)
    env = FleetVecEnv(
        family.load(family.vector_env)(
            ppo.worlds,
            ppo.scenario,
            autoreset_mode="SameStep",
            **{**ppo.overrides, "split": "train"},
        )
    )
    model = MaskablePPO(
        FleetPolicy,
        env,
        learning_rate=lambda left: ppo.learning_rate * max(0.1, left),
        n_steps=ppo.rollout_steps,
        batch_size=ppo.batch_size,
        n_epochs=ppo.epochs,
        gamma=ppo.gamma,
        gae_lambda=ppo.gae_lambda,
        clip_range=ppo.clip,
        ent_coef=ppo.entropy,
        target_kl=ppo.target_kl,
        policy_kwargs={"width": config.width},
        seed=config.seed,
        device="cpu",
    )
    policy = model.policy
    assert isinstance(policy, FleetPolicy)
    policy.network.load_state_dict(network.state_dict())
    checkpoint = folder / f"ppo-{phase}.safetensors"
    about = read_checkpoint(checkpoint, policy, policy.optimizer)
    if about is not None:
        model.num_timesteps, model._n_updates = about["num_timesteps"], about["n_updates"]
    model.set_logger(configure(str(folder / "tensorboard" / f"ppo-{phase}"), ["tensorboard"]))
    left = ppo.total_steps - model.num_timesteps
    if left > 0:
        callback = Rollouts(checkpoint, [config.seed, phase], ppo.total_steps, report)
        model.learn(left, callback, reset_num_timesteps=False)
        callback.save()
    network.load_state_dict(policy.network.state_dict())
    return network.eval()
