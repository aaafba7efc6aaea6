"""The PettingZoo ``ParallelEnv`` face of any simulator: one world, its agents named."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from gymnasium.utils import seeding
from numpy.typing import NDArray
from pettingzoo import ParallelEnv

from fleetgym.envs.core.errors import IllegalActionError, ScenarioError
from fleetgym.envs.core.face import RENDER_MODES, Face, fitted, only, refuse
from fleetgym.envs.core.registration import Family
from fleetgym.envs.core.simulator import Simulator
from fleetgym.envs.core.status import ILLEGAL
from fleetgym.envs.core.workload import WorkloadSource

Observation = dict[str, NDArray[Any]]
Infos = dict[str, dict[str, Any]]


class FleetParallelEnv(ParallelEnv[str, Observation, Any]):  # type: ignore[misc]
    """All agents act at once and live until the episode is over.

    Args:
        family: which family of environments.
        scenario: name of one of its scenarios; ``control`` is "distributed" unless replaced.
        workload: name of a workload source, a path, or a source object.
        illegal_action: "noop" (a documented penalty) or "raise".
        decision_latency: "none" or "fixed:SECONDS".
        copy: False returns read-only views that the next step overwrites.
        render_mode: "ansi" or "rgb_array".
        overrides: scenario fields to replace.
    """

    metadata: ClassVar[dict[str, Any]] = {
        "name": "fleetgym",
        "render_modes": list(RENDER_MODES),
        "render_fps": 4,
        "is_parallelizable": True,
    }

    def __init__(
        self,
        family: Family,
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
        overrides = {"control": "distributed", **overrides}
        self._face = Face(
            family, scenario, 1, workload, illegal_action, decision_latency, overrides
        )
        self.metadata = {**self.metadata, "name": family.id}  # type: ignore[misc]
        self.render_mode = render_mode
        self._copy = copy
        self._place = {
            agent: (name, i)
            for name, role in self.simulator.roles.items()
            for i, agent in enumerate(role.agents)
        }
        self.possible_agents = list(self._place)
        self.agents: list[str] = []
        # Agents of a role share its spaces, but each samples from its own.
        roles = {agent: self.simulator.roles[name] for agent, (name, _) in self._place.items()}
        self.observation_spaces = {a: deepcopy(r.observation_space) for a, r in roles.items()}
        self.action_spaces = {a: deepcopy(r.action_space) for a, r in roles.items()}
        self._rng = seeding.np_random()[0]
        self._look()

    def _look(self) -> None:
        seen = self.simulator.observation()
        self._views: dict[str, Observation] = {
            agent: {entry: table[0, i] for entry, table in seen[name].items()}
            for agent, (name, i) in self._place.items()
        }

    def __getstate__(self) -> dict[str, Any]:
        """Without the views of the simulator's arrays: a copy makes its own."""
        return {name: value for name, value in self.__dict__.items() if name != "_views"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._look()

    @property
    def simulator(self) -> Simulator:
        """The machine itself, of one world."""
        return self._face.simulator

    @property
    def scenario(self) -> Any:
        """The resolved scenario."""
        return self._face.scenario

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        """The agent's observation space, always the same object."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space[Any]:
        """The agent's action space, always the same object."""
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Observation], Infos]:
        """Starts an episode on a workload drawn from the seed, as ``gym.make(...).reset`` does.

        Args:
            seed: of the environment's generator, which draws the workload seeds.
            options: ``workload_seed`` to play one workload, or ``workload`` to play this one.
        """
        if seed is not None:
            self._rng = seeding.np_random(seed)[0]
        # "options" is what PettingZoo's own test passes to every environment.
        given = {name: value for name, value in (options or {}).items() if name != "options"}
        workload = self._face.draw(self._rng, only(given, "workload_seed", "workload"))
        self.simulator.reset([workload])
        self.agents = list(self.possible_agents)
        said = {"workload_seed": np.uint64(workload.seed), "metrics": self.metrics()}
        observations = self._observe()
        return observations, {
            agent: {**said, "action_mask": seen["action_mask"]}
            for agent, seen in observations.items()
        }

    def step(
        self, actions: Mapping[str, Any]
    ) -> tuple[dict[str, Observation], dict[str, float], dict[str, bool], dict[str, bool], Infos]:
        """Applies the actions of all agents.

        Raises:
            IllegalActionError: the episode is over; an agent has no action, or one of another
                shape; or its mask forbids it and ``illegal_action="raise"``.
        """
        if not self.agents:
            raise IllegalActionError("the episode is over (or was never begun): call reset()")
        given = self._actions(actions)
        acting = self.agents
        masks = {a: self._views[a]["action_mask"].copy() for a in acting if self._face.raises}
        self._face.elapse()
        reward, terminated, truncated, status = self.simulator.step(given)
        for i, (agent, mask) in enumerate(masks.items()):
            if status[0, i] == ILLEGAL:
                refuse(f"agent {agent!r}", actions[agent], mask)
        ended, cut = bool(terminated[0]), bool(truncated[0])
        observations = self._observe()
        infos = self._infos(observations, ended or cut)
        if ended or cut:
            self.agents = []
        return (
            observations,
            dict(zip(acting, reward[0].tolist(), strict=True)),
            dict.fromkeys(acting, ended),
            dict.fromkeys(acting, cut),
            infos,
        )

    def _actions(self, actions: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
        """The agents' actions as the simulator takes them, by role."""
        odd = sorted(set(actions) ^ set(self.agents))
        if odd:
            what = "is no agent" if odd[0] in actions else "has no action"
            raise IllegalActionError(
                f"{odd[0]!r} {what}: give one action for each of {', '.join(self.agents)}"
            )
        given: dict[str, NDArray[Any]] = {}
        for name, role in self.simulator.roles.items():
            shape = role.action_space.shape or ()
            rows = [
                fitted(f"agent {agent!r}", actions[agent], role.action_space, shape)
                for agent in role.agents
            ]
            given[name] = np.array(rows)[None]
        return given

    def _infos(self, observations: dict[str, Observation], over: bool) -> Infos:
        ended = {"episode_metrics": self.metrics()} if over else {}
        terms, names = self.simulator.reward_terms()[0].tolist(), self.simulator.term_names
        return {
            agent: {
                "reward_terms": dict(zip(names, terms[i], strict=True)),
                "action_mask": seen["action_mask"],
                **ended,
            }
            for i, (agent, seen) in enumerate(observations.items())
        }

    def action_masks(self, agent: str) -> NDArray[np.bool_]:
        """The agent's legal actions as booleans."""
        return self._views[agent]["action_mask"].astype(np.bool_)

    def metrics(self) -> dict[str, float]:
        """Metrics of the episode so far, in the units their names say."""
        return {name: float(value[0]) for name, value in self.simulator.metrics().items()}

    def state(self) -> Observation:
        """The whole fleet, by the names of the simulator's state: for critics that see all."""
        return {name: rows[0].copy() for name, rows in self.simulator.state()._asdict().items()}

    def render(self) -> Any:
        """A text (``ansi``) or an image ``(H, W, 3)`` uint8 (``rgb_array``) of the fleet."""
        if self.render_mode is None:
            raise ScenarioError(f"choose a render_mode of {RENDER_MODES} in parallel_env")
        return self._face.family.load(f"render:{self.render_mode}")(self.simulator, 0)

    def close(self) -> None:
        """Nothing is held open."""

    def _observe(self) -> dict[str, Observation]:
        if not self._copy:
            return {agent: dict(views) for agent, views in self._views.items()}
        return {
            agent: {name: view.copy() for name, view in views.items()}
            for agent, views in self._views.items()
        }
