"""What the three faces of a simulator share."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from fleetgym.envs.core.errors import IllegalActionError, ScenarioError
from fleetgym.envs.core.latency import DecisionLatency
from fleetgym.envs.core.registration import Family
from fleetgym.envs.core.simulator import Simulator
from fleetgym.envs.core.workload import Workload, WorkloadSource

RENDER_MODES = ("ansi", "rgb_array")


class Face:
    """The resolved scenario, the simulator, and how workloads are drawn.

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
        self._check()
        is_source = workload is not None and not isinstance(workload, str)
        self.source: WorkloadSource = workload if is_source else family.workloads(self.scenario)  # type: ignore[assignment]
        self.simulator: Simulator = family.simulate(self.scenario, self.source, num_worlds)
        self._named = not is_source

    def _check(self) -> None:
        """Raises ScenarioError where the face cannot show the scenario."""

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

    def elapse(self, active: NDArray[np.bool_] | bool = True) -> None:
        """Lets the active worlds go on while the policy is supposed to think."""
        if self.latency.kind == "fixed":
            charge = self.latency.charge(self.simulator.decision_starts(), 0)
            self.simulator.elapse(np.where(active, charge, 0))


class CentralFace(Face):
    """A face with one role of one agent."""

    def __init__(self, family: Family, scenario: str, num_worlds: int, *arguments: Any) -> None:
        super().__init__(family, scenario, num_worlds, *arguments)
        ((self.role_name, self.role),) = self.simulator.roles.items()
        self._shape = (num_worlds, 1, *(self.role.action_space.shape or ()))

    def _check(self) -> None:
        if self.scenario.control != "central":
            raise ScenarioError(
                f"{self.family.id} with control={self.scenario.control!r} has several agents: "
                "use fleetgym.parallel_env"
            )

    def actions(self, action: Any) -> dict[str, NDArray[Any]]:
        """A user's action, or a batch of one a world, as the simulator takes them.

        Raises:
            IllegalActionError: it has another shape or type than the action space.
        """
        where = f"{self._shape[0]} world(s)"
        return {self.role_name: fitted(where, action, self.role.action_space, self._shape)}

    def refuse(self, world: int, action: Any) -> None:
        """Raises IllegalActionError for an action that the mask forbade."""
        mask = self.simulator.action_mask()[self.role_name][world, 0]
        refuse(f"world {world}", action, mask)


def fitted(
    where: str, action: Any, space: spaces.Space[Any], shape: tuple[int, ...]
) -> NDArray[Any]:
    """A user's action as integers of the shape.

    Raises:
        IllegalActionError: it has another size or type.
    """
    array, size = np.asarray(action), int(np.prod(shape))
    if array.size != size or array.dtype.kind not in "iu":
        raise IllegalActionError(
            f"{where}: action {action!r} does not fit {space}: expected {size} integer(s)"
        )
    return array.reshape(shape)


def refuse(where: str, action: Any, mask: NDArray[np.int8]) -> None:
    """Raises IllegalActionError for an action that the mask forbade."""
    legal = np.flatnonzero(mask)
    shown = ", ".join(map(str, legal[:8])) + (", ..." if len(legal) > 8 else "")
    raise IllegalActionError(
        f"{where}: action {action} is forbidden by the action mask; "
        f"{len(legal)} entries of the mask are open: {shown}"
    )


def only(options: Mapping[str, Any] | None, *names: str) -> Any:
    """The value of the one option given, None without; an unknown option is an error."""
    unknown = sorted(set(options or {}) - set(names))
    if unknown:
        raise ScenarioError(f"unknown reset option {unknown[0]!r}: valid: {', '.join(names)}")
    return next((options[name] for name in names if name in options), None) if options else None
