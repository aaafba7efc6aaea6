"""A batch of distributed worlds as rows of agents: what RLlib's runner over the batch plays.

Rows are world by world, agent by agent. All agents of the family have the same spaces.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from fleetgym.envs.core.errors import ScenarioError
from fleetgym.envs.core.registration import family_of
from fleetgym.envs.core.simulator import StepResult

Tables = dict[str, NDArray[Any]]
WORKLOADS = 2**31  # seeds are drawn below this


class AgentRows(VectorEnv[Any, Any, Any]):
    """B worlds of U agents each, stepped in one call; every row has its own observation.

    Args:
        id: environment.
        scenario: name of a scenario whose agents all have one role.
        overrides: its fields to replace; control is distributed.
        worlds: B.
        seed: of the workloads that are drawn.
    """

    def __init__(
        self, id: str, scenario: str, overrides: Mapping[str, Any], worlds: int, seed: int
    ) -> None:
        family = family_of(id)
        fields = {**overrides, "control": "distributed"}
        resolved = family.scenario(scenario, fields)
        self._source, self._rng = family.workloads(resolved), np.random.default_rng(seed)
        self.simulator = family.simulate(resolved, self._source, worlds)
        if len(self.simulator.roles) != 1:
            raise ScenarioError(
                f"{id} with scenario {scenario!r} has roles {sorted(self.simulator.roles)}: rows "
                "of a batch need agents of one role"
            )
        ((self.role, role),) = self.simulator.roles.items()
        self.agents, self.worlds = len(role.agents), worlds
        self.num_envs = worlds * self.agents
        self.single_observation_space, self.single_action_space = (
            role.observation_space,
            role.action_space,
        )
        if not isinstance(role.action_space, spaces.Discrete):
            raise ScenarioError(f"{id}: rows of a batch need single actions with a mask")
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

    def begin(self) -> None:
        """All worlds begin anew on workloads drawn."""
        drawn = [self._source.draw(int(self._rng.integers(WORKLOADS))) for _ in range(self.worlds)]
        self.simulator.reset(drawn)

    def seen(self) -> Tables:
        """Copies of the observations, ``(B U, ...)``."""
        tables = self.simulator.observation()[self.role]
        return {name: table.reshape(-1, *table.shape[2:]).copy() for name, table in tables.items()}

    def take(self, actions: NDArray[np.int64]) -> StepResult:
        """A step of the worlds that are not over; ``actions``: ``(B U,)``."""
        given = {self.role: actions.reshape(self.worlds, self.agents)}
        return self.simulator.step(given, ~self.simulator.over())
