"""The ``gymnasium.vector.VectorEnv`` face of any simulator: B worlds in one call."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from fleetgym.envs.core.env import Face
from fleetgym.envs.core.errors import IllegalActionError, ScenarioError
from fleetgym.envs.core.registration import Family
from fleetgym.envs.core.simulator import ILLEGAL, Simulator
from fleetgym.envs.core.workload import WorkloadSource

Observation = dict[str, NDArray[Any]]


class FleetVectorEnv(VectorEnv[Observation, Any, NDArray[Any]]):
    """B worlds behind Gymnasium's vector interface.

    ``reset(seed=[s0, s1, ...])`` gives world i the episode of the single face's
    ``reset(seed=s_i)``; an int s means s + i. ``copy=False`` returns read-only views that the next
    step overwrites.
    """

    family: ClassVar[Family]

    def __init__(
        self,
        num_envs: int = 1,
        scenario: str = "small",
        *,
        workload: str | WorkloadSource | None = None,
        illegal_action: str = "noop",
        decision_latency: str = "none",
        copy: bool = True,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        **overrides: Any,
    ) -> None:
        if num_envs < 1:
            raise ScenarioError(f"num_envs is {num_envs}, it must be at least 1")
        if render_mode is not None:
            raise ScenarioError("the vector face does not render: render one world by gym.make")
        self._face = Face(
            self.family, scenario, num_envs, workload, illegal_action, decision_latency, overrides
        )
        try:
            self._mode = AutoresetMode(autoreset_mode)
        except ValueError as error:
            raise ScenarioError(
                f"autoreset_mode is {autoreset_mode!r}: "
                f"valid: {', '.join(mode.value for mode in AutoresetMode)}"
            ) from error
        self.metadata = {"autoreset_mode": self._mode, "render_modes": []}
        self.num_envs = num_envs
        self.single_observation_space = self._face.role.observation_space
        self.single_action_space = self._face.role.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._copy = copy
        self._rngs = [seeding.np_random()[0] for _ in range(num_envs)]
        self._over = np.zeros(num_envs, np.bool_)
        self._begun = False
        observation = self.simulator.observation()[self._face.role_name]
        self._views = {name: view[:, 0] for name, view in observation.items()}

    @property
    def simulator(self) -> Simulator:
        """The machine itself, of B worlds."""
        return self._face.simulator

    @property
    def scenario(self) -> Any:
        """The resolved scenario."""
        return self._face.scenario

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Observation, dict[str, Any]]:
        """Starts every world, or those of ``options["reset_mask"]``.

        Args:
            seed: int s (world i gets s + i) or one for each world.
            options: ``workload_seed``: one for each world; ``reset_mask``: ``(B,)`` bool.
        """
        chosen = dict(options or {})
        mask = chosen.pop("reset_mask", None)
        wanted = chosen.pop("workload_seed", None)
        if chosen:
            raise ScenarioError(
                f"unknown reset option {next(iter(chosen))!r}: valid: reset_mask, workload_seed"
            )
        if seed is not None:
            seeds = [seed + i for i in range(self.num_envs)] if isinstance(seed, int) else seed
            if len(seeds) != self.num_envs:
                raise ScenarioError(f"{len(seeds)} seeds for {self.num_envs} worlds")
            for i, one in enumerate(seeds):
                if one is not None and (mask is None or mask[i]):
                    self._rngs[i] = seeding.np_random(one)[0]
        worlds = np.arange(self.num_envs) if mask is None else np.flatnonzero(mask)
        self._over[worlds] = False
        self._begun = True
        info = self._start(worlds, wanted)
        info["metrics"] = {name: value.copy() for name, value in self.simulator.metrics().items()}
        observation = self._observe()
        return observation, info | {"action_mask": observation["action_mask"]}

    def _start(self, worlds: NDArray[np.int64], wanted: Any = None) -> dict[str, Any]:
        """Resets the named worlds and returns what ``info`` says of them."""
        workloads = [
            self._face.draw(self._rngs[i], None if wanted is None else wanted[i]) for i in worlds
        ]
        self.simulator.reset(workloads, [int(i) for i in worlds])
        seeds = np.zeros(self.num_envs, np.uint64)
        seeds[worlds] = [workload.seed for workload in workloads]
        began = np.zeros(self.num_envs, np.bool_)
        began[worlds] = True
        return {"workload_seed": seeds, "_workload_seed": began}

    def step(
        self, actions: Any
    ) -> tuple[
        Observation, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]
    ]:
        """Applies one action in each world; worlds that are over follow the autoreset mode.

        Raises:
            IllegalActionError: reset was never called; the actions are of another shape; or the
                mask forbids one and ``illegal_action="raise"``.
        """
        given = self._face.actions(actions)
        if not self._begun or (self._over.any() and self._mode is AutoresetMode.DISABLED):
            raise IllegalActionError("worlds are over or were never begun: call reset()")
        info: dict[str, Any] = {}
        active = ~self._over
        if not active.all():
            info |= self._start(np.flatnonzero(self._over))
        self._face.elapse()
        reward, terminated, truncated, status = self.simulator.step(given, active)
        if self._face.raises and (status[:, 0] == ILLEGAL).any():
            world = int(np.argmax(status[:, 0] == ILLEGAL))
            self._face.refuse(world, np.asarray(actions)[world])
        reward, terminated, truncated = reward[:, 0].copy(), terminated.copy(), truncated.copy()
        terms = self.simulator.reward_terms()[:, 0].copy()
        info["reward_terms"] = {n: terms[:, i] for i, n in enumerate(self.simulator.term_names)}
        info["_reward_terms"] = active
        self._over = terminated | truncated
        if self._over.any():
            self._finish(info)
        observation = self._observe()
        info["action_mask"] = observation["action_mask"]
        return observation, reward, terminated, truncated, info

    def _finish(self, info: dict[str, Any]) -> None:
        """Says what ended, and resets at once where the mode is SAME_STEP."""
        over = self._over.copy()
        metrics = {name: value.copy() for name, value in self.simulator.metrics().items()}
        info["episode_metrics"], info["_episode_metrics"] = metrics, over
        if self._mode is AutoresetMode.SAME_STEP:
            worlds = np.flatnonzero(over)
            final = np.full(self.num_envs, None, dtype=object)
            for i in worlds:
                final[i] = {name: view[i].copy() for name, view in self._views.items()}
            info["final_obs"], info["_final_obs"] = final, over
            info["final_info"], info["_final_info"] = {"episode_metrics": metrics}, over
            info |= self._start(worlds)
            self._over = np.zeros(self.num_envs, np.bool_)

    def action_masks(self) -> NDArray[np.bool_]:
        """The legal actions as booleans, ``(B, n)``."""
        return self._views["action_mask"].astype(np.bool_)

    def _observe(self) -> Observation:
        if self._copy:
            return {name: view.copy() for name, view in self._views.items()}
        return dict(self._views)
