"""What a policy is given: the observable present, and imagined futures, never the true one."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fleetgym.envs.core.errors import PolicyError
from fleetgym.envs.core.scenario import Scenario
from fleetgym.envs.core.simulator import Observations, Role, Simulator
from fleetgym.envs.core.workload import Workload


class View:
    """Read-only access to the B worlds of a simulator.

    Args:
        simulator: whose present is shown.
        clairvoyant: whether the policy has declared that it looks into the future.
    """

    def __init__(self, simulator: Simulator, *, clairvoyant: bool = False) -> None:
        self._simulator = simulator
        self._clairvoyant = clairvoyant

    @property
    def scenario(self) -> Scenario:
        """The resolved scenario."""
        return self._simulator.scenario

    @property
    def num_worlds(self) -> int:
        """B."""
        return self._simulator.num_worlds

    @property
    def roles(self) -> Mapping[str, Role]:
        """The agents, by role."""
        return self._simulator.roles

    def observation(self) -> Observations:
        """The canonical observation of each role, arrays ``(B, agents, ...)``."""
        return self._simulator.observation()

    def action_mask(self) -> Mapping[str, NDArray[np.int8]]:
        """The mask of each role, ``(B, agents, n)``."""
        return self._simulator.action_mask()

    def state(self) -> NamedTuple:
        """Everything a policy may see, as named read-only arrays with the world axis first."""
        return self._simulator.state()

    def metrics(self) -> Mapping[str, NDArray[np.float64]]:
        """Metrics of each world so far, ``(B,)``."""
        return self._simulator.metrics()

    def now(self) -> NDArray[np.int64]:
        """The clock of each world, ``(B,)`` ns."""
        return self._simulator.now()

    def decision_starts(self) -> NDArray[np.bool_]:
        """``(B,)`` whether the next action begins a decision."""
        return self._simulator.decision_starts()

    def imagine(self, world: int, k: int, **overrides: Any) -> Simulator:
        """A simulator of k worlds, each the world's present with an empty future, for search.

        Args:
            world: which one.
            k: copies.
            overrides: scenario fields to replace, such as the form of actions.
        """
        scenario = self.scenario.override(overrides) if overrides else None
        imagined = self._simulator.fork(world, k, scenario)
        imagined.forget_future()
        imagined.workloads[:] = [None] * k
        return imagined

    def future(self, world: int) -> Workload:
        """The whole workload of a world, what is still to come included.

        Raises:
            PolicyError: the policy has not declared itself clairvoyant.
        """
        workload = self._simulator.workloads[world]
        if not self._clairvoyant or workload is None:
            raise PolicyError(
                "this policy is online: only one with information = 'clairvoyant' sees the future"
            )
        return workload


def one_role(view: View) -> str:
    """The name of the only role, for policies of central control.

    Raises:
        PolicyError: there are several.
    """
    names = list(view.roles)
    if len(names) != 1:
        raise PolicyError(f"this policy controls one role, the scenario has {', '.join(names)}")
    return names[0]


def as_actions(view: View, answer: Any) -> dict[str, NDArray[Any]]:
    """A policy's answer as the simulator takes it: a mapping by role, or one role's array.

    Raises:
        PolicyError: it has another shape or type than the action space asks for.
    """
    answers = answer if isinstance(answer, Mapping) else {one_role(view): answer}
    actions = {}
    for name, role in view.roles.items():
        if name not in answers:
            raise PolicyError(f"the policy gave no action for role {name!r}")
        array = np.asarray(answers[name])
        shape = (view.num_worlds, len(role.agents), *(role.action_space.shape or ()))
        if array.size != np.prod(shape) or array.dtype.kind not in "iu":
            raise PolicyError(
                f"the policy answered {array.dtype} of shape {array.shape} for role {name!r}; "
                f"expected integers of shape {shape} (worlds, agents, action)"
            )
        actions[name] = array.reshape(shape).astype(np.int64)
    return actions
