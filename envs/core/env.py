"""The ``gymnasium.Env`` face of any simulator: one world."""

from collections.abc import Mapping
from typing import Any, ClassVar

import gymnasium
import numpy as np
from numpy.typing import NDArray

from fleetgym.envs.core.errors import IllegalActionError, ScenarioError
from fleetgym.envs.core.latency import DecisionLatency
from fleetgym.envs.core.registration import Family
from fleetgym.envs.core.simulator import ILLEGAL, Role, Simulator
from fleetgym.envs.core.workload import Workload, WorkloadSource

RENDER_MODES = ("ansi", "rgb_array")


class Face:
    """What the faces share: the resolved scenario, the simulator, and how workloads are drawn.

    Args:
        family: which family of environments.
        scenario: name of one of its scenarios.
        num_worlds: B.
        workload: name of a workload source, a path, or an object with ``name``, ``capacity`` and
            ``draw(seed)``; the scenario's own by default.
        illegal_action: "noop" (a documented penalty) or "raise".
        decision_latency: "none" or "fixed:SECONDS".
        overrides: scenario fields to replace.
    """

    def __init__(
        self,
        family: Family,
        scenario: str,
        num_worlds: int,
        workload: str | WorkloadSource | None,
        illegal_action: str,
        decision_latency: str,
        overrides: Mapping[str, Any],
    ) -> None:
        if illegal_action not in ("noop", "raise"):
            raise ScenarioError(f"illegal_action is {illegal_action!r}, not 'noop' or 'raise'")
        self.raises = illegal_action == "raise"
        self.latency = DecisionLatency.parse(decision_latency)
        if self.latency.kind == "measured":
            raise ScenarioError("measured decision latency is for evaluate and the leaderboard")
        named = {} if workload is None else {"workload": getattr(workload, "name", workload)}
        self.family = family
        self.scenario = family.scenario(scenario, {**overrides, **named})
        if self.scenario.control != "central":
            raise ScenarioError(
                f"{family.id} with control={self.scenario.control!r} has several agents: "
                "use fleetgym.parallel_env"
            )
        is_source = workload is not None and not isinstance(workload, str)
        self.source: WorkloadSource = workload if is_source else family.workloads(self.scenario)  # type: ignore[assignment]
        self.simulator: Simulator = family.simulate(self.scenario, self.source, num_worlds)
        self._named = not is_source
        ((self.role_name, self.role),) = self.simulator.roles.items()
        shape = self.role.action_space.shape or ()
        self._shape = (num_worlds, 1, *shape)
        self._size = int(np.prod(self._shape))

    def __getstate__(self) -> dict[str, Any]:
        """A source that has a name is found again, not copied."""
        return self.__dict__ | ({"source": None} if self._named else {})

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._named:
            self.source = self.family.workloads(self.scenario)

    def draw(self, rng: np.random.Generator, wanted: Any) -> Workload:
        """The workload wanted: a seed or a workload, else one drawn with ``rng``."""
        if isinstance(wanted, Workload):
            return wanted
        seed = rng.integers(0, 2**64, dtype=np.uint64) if wanted is None else wanted
        return self.source.draw(int(seed))

    def actions(self, action: Any) -> dict[str, NDArray[Any]]:
        """A user's action, or a batch of one a world, as the simulator takes them.

        Raises:
            IllegalActionError: it has another shape or type than the action space.
        """
        array = np.asarray(action)
        if array.size != self._size or array.dtype.kind not in "iu":
            raise IllegalActionError(
                f"action {action!r} does not fit {self.role.action_space} of {self._shape[0]} "
                f"world(s): expected {self._size} integer(s)"
            )
        return {self.role_name: array.reshape(self._shape)}

    def elapse(self, active: NDArray[np.bool_] | bool = True) -> None:
        """Lets the active worlds go on while the policy is supposed to think."""
        if self.latency.kind == "fixed":
            charge = self.latency.charge(self.simulator.decision_starts(), 0)
            self.simulator.elapse(np.where(active, charge, 0))

    def refuse(self, world: int, action: Any) -> None:
        """Raises IllegalActionError for an action that the mask forbade."""
        mask = self.simulator.action_mask()[self.role_name][world, 0]
        legal = np.flatnonzero(mask)
        shown = ", ".join(map(str, legal[:8])) + (", ..." if len(legal) > 8 else "")
        raise IllegalActionError(
            f"world {world}: action {action} is forbidden by the action mask; "
            f"{len(legal)} entries of the mask are open: {shown}"
        )


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
        self._face = Face(
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
        wanted = _only(options, "workload_seed", "workload")
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


def _only(options: Mapping[str, Any] | None, *names: str) -> Any:
    """The value of the one option given, None without; an unknown option is an error."""
    unknown = sorted(set(options or {}) - set(names))
    if unknown:
        raise ScenarioError(f"unknown reset option {unknown[0]!r}: valid: {', '.join(names)}")
    return next((options[name] for name in names if name in options), None) if options else None
