"""The ``gymnasium.vector.VectorEnv`` face of any simulator: B worlds in one call."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from fleetgym.envs.core.errors import IllegalActionError, ScenarioError
from fleetgym.envs.core.face import CentralFace
from fleetgym.envs.core.registration import Family
from fleetgym.envs.core.simulator import Simulator
from fleetgym.envs.core.status import ILLEGAL
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
        self._face = CentralFace(
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
        self._look()

    def _look(self) -> None:
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
            if isinstance(seed, (int, np.integer)):
                seed = [int(seed) + i for i in range(self.num_envs)]
            if len(seed) != self.num_envs:
                raise ScenarioError(f"{len(seed)} seeds for {self.num_envs} worlds")
            for i, one in enumerate(seed):
                if one is not None and (mask is None or mask[i]):
                    self._rngs[i] = seeding.np_random(one)[0]
        worlds = np.arange(self.num_envs) if mask is None else np.flatnonzero(mask)
        self._over[worlds] = False
        self._begun = True
        info = self._start(worlds, wanted)
        observation = self._observe()
        began = info["_workload_seed"]
        return observation, info | _about({"action_mask": observation["action_mask"]}, began)

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
        return _about({"workload_seed": seeds, "metrics": self._metrics()}, began)

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
        self._face.elapse(active)
        reward, terminated, truncated, status = self.simulator.step(given, active)
        if self._face.raises and (status[:, 0] == ILLEGAL).any():
            world = int(np.argmax(status[:, 0] == ILLEGAL))
            self._face.refuse(world, np.asarray(actions)[world])
        reward, terminated, truncated = reward[:, 0].copy(), terminated.copy(), truncated.copy()
        terms = self.simulator.reward_terms()[:, 0].copy()
        rewarded = {n: terms[:, i] for i, n in enumerate(self.simulator.term_names)}
        said = {"reward_terms": rewarded}
        self._over = terminated | truncated
        if self._over.any():
            ended = {"episode_metrics": self._metrics()}
            if self._mode is AutoresetMode.SAME_STEP:
                active &= ~self._over
                info |= self._begin_again(said | ended)
            else:
                info |= _about(ended, self._over)
        if active.any():
            info |= _about(said, active)
        observation = self._observe()
        everywhere = np.ones(self.num_envs, np.bool_)
        info |= _about({"action_mask": observation["action_mask"]}, everywhere)
        return observation, reward, terminated, truncated, info

    def _begin_again(self, said: dict[str, Any]) -> dict[str, Any]:
        """Resets the worlds that are over at once, and returns what ended and what began."""
        over, self._over = self._over, np.zeros(self.num_envs, np.bool_)
        last = np.full(self.num_envs, None, dtype=object)
        worlds = np.flatnonzero(over)
        for i in worlds:
            last[i] = {name: view[i].copy() for name, view in self._views.items()}
        said = said | {"action_mask": self._views["action_mask"].copy()}
        ended = _about({"final_info": said}, over) | {"final_obs": last, "_final_obs": over}
        return ended | self._start(worlds)

    def _metrics(self) -> dict[str, NDArray[np.float64]]:
        return {name: value.copy() for name, value in self.simulator.metrics().items()}

    def action_masks(self) -> NDArray[np.bool_]:
        """The legal actions as booleans, ``(B, n)``."""
        return self._views["action_mask"].astype(np.bool_)

    def _observe(self) -> Observation:
        if self._copy:
            return {name: view.copy() for name, view in self._views.items()}
        return dict(self._views)

    def __getstate__(self) -> dict[str, Any]:
        """Without the views of the simulator's arrays: a copy makes its own."""
        return {name: value for name, value in self.__dict__.items() if name != "_views"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._look()


def _about(said: dict[str, Any], worlds: NDArray[np.bool_]) -> dict[str, Any]:
    """Gymnasium's form of a batch's infos: beside each entry, a mask of the worlds it is about."""
    info: dict[str, Any] = {}
    for name, value in said.items():
        info[name] = _about(value, worlds) if isinstance(value, dict) else value
        info[f"_{name}"] = worlds
    return info
