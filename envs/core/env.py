"""The ``gymnasium.Env`` face of any simulator: one world."""

from typing import Any, ClassVar

import gymnasium
import numpy as np
from numpy.typing import NDArray

from fleetgym.envs.core.errors import IllegalActionError, ScenarioError
from fleetgym.envs.core.face import RENDER_MODES, CentralFace, only
from fleetgym.envs.core.registration import Family
from fleetgym.envs.core.simulator import Role, Simulator
from fleetgym.envs.core.status import ILLEGAL
from fleetgym.envs.core.workload import WorkloadSource


class FleetEnv(gymnasium.Env[dict[str, NDArray[Any]], Any]):
    """One world behind Gymnasium's interface; families subclass it for docstring and id."""

    family: ClassVar[Family]
    metadata: dict[str, Any] = {"render_modes": list(RENDER_MODES), "render_fps": 4}  # noqa: RUF012

    def __init__(
        self,
        scenario: str = "small",
        *,
        workload: str | WorkloadSource | None = None,
        illegal_action: str = "noop",
        decision_latency: str = "none",
        copy: bool = True,
        render_mode: str | None = None,
        **overrides: Any,
    ) -> None:
        if render_mode not in (None, *RENDER_MODES):
            raise ScenarioError(f"render_mode is {render_mode!r}, not one of {RENDER_MODES}")
        self._face = CentralFace(
            self.family, scenario, 1, workload, illegal_action, decision_latency, overrides
        )
        self.observation_space: gymnasium.Space[Any] = self.role.observation_space
        self.action_space = self.role.action_space
        self.render_mode = render_mode
        self._copy = copy
        self._done = True
        self._look()

    def _look(self) -> None:
        observation = self.simulator.observation()[self._face.role_name]
        self._views: dict[str, NDArray[Any]] = {n: view[0, 0] for n, view in observation.items()}
        self._terms = self.simulator.reward_terms()[0, 0]

    def __getstate__(self) -> dict[str, Any]:
        """Without the views of the simulator's arrays: a copy makes its own."""
        return {k: v for k, v in self.__dict__.items() if k not in ("_views", "_terms")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._look()

    @property
    def simulator(self) -> Simulator:
        """The machine itself, of one world."""
        return self._face.simulator

    @property
    def role(self) -> Role:
        """The one role of central control."""
        return self._face.role

    @property
    def scenario(self) -> Any:
        """The resolved scenario."""
        return self._face.scenario

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Starts an episode on a workload drawn from the seed.

        Args:
            seed: of the environment's generator, which draws the workload seeds.
            options: ``workload_seed`` to play one workload, or ``workload`` to play this one.
        """
        super().reset(seed=seed)
        wanted = only(options, "workload_seed", "workload")
        workload = self._face.draw(self.np_random, wanted)
        self.simulator.reset([workload])
        self._done = False
        # uint64: Gymnasium's vector environments would put an int into an int64, too small.
        info = {"workload_seed": np.uint64(workload.seed), "metrics": self.metrics()}
        return self._observe(), info | {"action_mask": self._views["action_mask"].copy()}

    def step(
        self, action: Any
    ) -> tuple[dict[str, NDArray[Any]], float, bool, bool, dict[str, Any]]:
        """Applies one action.

        Raises:
            IllegalActionError: the episode is over; the action is of another shape; or the mask
                forbids it and ``illegal_action="raise"``.
        """
        if self._done:
            raise IllegalActionError("the episode is over (or was never begun): call reset()")
        actions = self._face.actions(action)
        self._face.elapse()
        reward, terminated, truncated, status = self.simulator.step(actions)
        if self._face.raises and status[0, 0] == ILLEGAL:
            self._face.refuse(0, action)
        info: dict[str, Any] = {
            "reward_terms": dict(zip(self.simulator.term_names, self._terms.tolist(), strict=True))
        }
        observation = self._observe()
        info["action_mask"] = observation["action_mask"]
        ended, cut = bool(terminated[0]), bool(truncated[0])
        self._done = ended or cut
        if self._done:
            info["episode_metrics"] = self.metrics()
        return observation, float(reward[0, 0]), ended, cut, info

    def action_masks(self) -> NDArray[np.bool_]:
        """The legal actions as booleans, as sb3-contrib asks for them."""
        return self._views["action_mask"].astype(np.bool_)

    def metrics(self) -> dict[str, float]:
        """Metrics of the episode so far, in the units their names say."""
        return {name: float(value[0]) for name, value in self.simulator.metrics().items()}

    def render(self) -> Any:
        """A text (``ansi``) or an image ``(H, W, 3)`` uint8 (``rgb_array``) of the fleet."""
        if self.render_mode is None:
            raise ScenarioError(f"choose a render_mode of {RENDER_MODES} in gymnasium.make")
        return self.family.load(f"render:{self.render_mode}")(self.simulator, 0)

    def _observe(self) -> dict[str, NDArray[Any]]:
        if self._copy:
            return {name: view.copy() for name, view in self._views.items()}
        return dict(self._views)
