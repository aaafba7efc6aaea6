"""DDPG over a batch of distributed worlds, resumable.

A checkpoint holds networks, targets, moments and the curve. The replay is not kept: a resumed run
fills it anew, from other workloads, before it learns on.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from fleetgym.agents.checkpoint import read_checkpoint, write_checkpoint
from fleetgym.agents.com_ddpg.config import ComDDPGConfig
from fleetgym.agents.com_ddpg.memory import Memory, vectors
from fleetgym.agents.com_ddpg.networks import Sizes, Team
from fleetgym.agents.com_ddpg.policy import ComPolicy, chosen, quantised, save_team
from fleetgym.agents.com_ddpg.replay import Replay
from fleetgym.agents.config import Report
from fleetgym.envs.core.errors import ScenarioError
from fleetgym.envs.core.registration import family_of
from fleetgym.envs.core.view import View
from fleetgym.envs.mec_offloading.scenario import MECOffloadingScenario
from fleetgym.envs.mec_offloading.simulator import DEVICE

WORKLOADS = 2**31  # seeds are drawn below this; validation workloads have the last ones
CURVE = ("mean_makespan_s", "device_energy_j", "miss_rate", "server_load_cv")
LEAST_NOISE = 0.1  # of the noise, in the end
WORST = -20.0  # a step is paid no less: slowest speeds make episodes of minutes
CALM = 1e-2  # weight of the squared logits of scores in the actor's loss: keeps them off the edges
Float32 = NDArray[np.float32]


def train_com_ddpg(config: ComDDPGConfig, folder: Path, report: Report) -> Path:
    """Runs a configuration, from the checkpoint in the folder on where there is one.

    Returns:
        The path of the weights.

    Raises:
        ScenarioError: the environment is no offloading.
    """
    run = _Run(config, folder, report)
    team, path = run.run(), folder / f"{config.name}.safetensors"
    save_team(team, path, {"config": asdict(config), "curve": run.curve})
    return path


class _Run:
    """One run."""

    def __init__(self, config: ComDDPGConfig, folder: Path, report: Report) -> None:
        torch.manual_seed(config.seed)
        self.config, self.report = config, report
        self.checkpoint = folder / "checkpoint.safetensors"
        family = family_of(config.id)
        fixed = {"split": "train", "control": "distributed", "action": "continuous"}
        scenario = family.scenario(config.scenario, {**config.overrides, **fixed})
        if not isinstance(scenario, MECOffloadingScenario):
            raise ScenarioError(f"{config.name}: {config.id} is no offloading of tasks")
        self._source = family.workloads(scenario)
        self._simulator = family.simulate(scenario, self._source, config.worlds)
        self._judged = family.simulate(scenario, self._source, config.validation)
        self._view = View(self._simulator)
        self._memory = Memory(config.worlds, config.history, round(scenario.view_delay_ms * 1e6))
        self._replay = Replay(config.kept, config.history)
        self._episode = np.arange(config.worlds)
        self.team = Team(self._sizes(scenario))
        self.optimizer = torch.optim.Adam(
            [
                {"params": self.team.actor.parameters(), "lr": config.actor_rate},
                {"params": self.team.critic.parameters(), "lr": config.critic_rate},
            ]
        )
        self.done, self.curve = 0, list[dict[str, float]]()

    def _sizes(self, scenario: MECOffloadingScenario) -> Sizes:
        config, shown = self.config, vectors(self._view)
        return Sizes(
            agents=shown.shape[1],
            inputs=shown.shape[2],
            actions=scenario.places + 2,
            width=config.width,
            history=config.history,
            communicates=int(config.communicates),
            joint=int(config.critic == "joint"),
        )

    def run(self) -> Team:
        """Learns to the end."""
        config = self.config
        about = read_checkpoint(self.checkpoint, self.team, self.optimizer)
        if about is not None:
            self.done, self.curve = about["steps"], about["curve"]
        rng = np.random.default_rng([config.seed, self.done, 0xC033])
        begun = self.done
        self._begin(np.arange(config.worlds), rng)
        while self.done < config.steps:
            fresh = self.done - begun < config.warm_up
            self._step(rng, uniform=fresh and begun == 0)
            if not fresh:
                for _ in range(config.updates):
                    self._learn(rng)
            self.done += 1
            if self.done % config.every == 0 or self.done == config.steps:
                self._judge()
        return self.team.eval()

    def _begin(self, worlds: NDArray[np.int64], rng: np.random.Generator) -> None:
        most = WORKLOADS - self.config.validation
        drawn = [self._source.draw(int(rng.integers(most))) for _ in worlds]
        self._simulator.reset(drawn, [int(world) for world in worlds])
        self._memory.forget(worlds)
        self._episode[worlds] += self.config.worlds

    def _step(self, rng: np.random.Generator, *, uniform: bool) -> None:
        """A step of every world, kept in the replay."""
        config, seen = self.config, vectors(self._view)
        lag = self._memory.note(seen, self._view.now())
        if uniform:
            sizes = self.team.sizes
            shape = (config.worlds, sizes.agents, sizes.actions)
            action = rng.random(shape, np.float32)
        else:
            action = chosen(self.team, self._memory.windows(lag))
            left = 1.0 - (1.0 - LEAST_NOISE) * self.done / config.steps
            noise = config.noise * left * rng.standard_normal(action.shape, np.float32)
            action = np.clip(action + noise, 0.0, 1.0)
        result = self._simulator.step({DEVICE: quantised(action)})
        paid = result.reward * config.scale
        fields = {
            "seen": seen,
            "action": action,
            "reward": np.maximum(paid, WORST).astype(np.float32),
            "goes_on": (~result.terminated).astype(np.float32),
        }
        self._replay.add(fields, lag, self._episode)
        over = np.flatnonzero(self._simulator.over())
        if len(over):
            self._begin(over, rng)

    def _learn(self, rng: np.random.Generator) -> None:
        """One update of critic and actor (Lillicrap et al. 2016, equations 4 to 6)."""
        config, team = self.config, self.team
        seen = self._replay.draw(config.batch, rng)
        with torch.no_grad():
            following = team.actor_target(seen.next_now, seen.next_heard)
            value = team.critic_target(seen.next_now, following)
            target = seen.reward + config.gamma * seen.goes_on.unsqueeze(1) * value
        critic_loss = functional.smooth_l1_loss(team.critic(seen.now, seen.action), target)
        action = team.actor(seen.now, seen.heard)
        edges = torch.logit(action[..., :-2], eps=1e-6).square().mean()
        actor_loss = CALM * edges - team.critic(seen.now, action).mean()
        for loss, learner in ((critic_loss, team.critic), (actor_loss, team.actor)):
            parameters = list(learner.parameters())
            gradients = torch.autograd.grad(loss, parameters)
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        self.optimizer.step()
        team.follow(config.tau)

    def _judge(self) -> None:
        """Adds a point to the curve, and leaves a checkpoint."""
        simulator, view = self._judged, View(self._judged)
        count = self.config.validation
        simulator.reset([self._source.draw(WORKLOADS - 1 - n) for n in range(count)])
        policy: Any = ComPolicy(self.config.name, self.team)
        policy.reset(view, np.arange(count))
        while not simulator.over().all():
            simulator.step(policy.act(view), ~simulator.over())
        found = simulator.metrics()
        point = {name: float(found[name].mean()) for name in CURVE}
        self.curve.append({"step": self.done, **point})
        write_checkpoint(
            self.checkpoint, self.team, self.optimizer, {"steps": self.done, "curve": self.curve}
        )
        text = f"mean makespan {point['mean_makespan_s']:.3f} s"
        self.report(text, self.done, self.config.steps)
