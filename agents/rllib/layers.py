"""Expert placement with an agent a layer as RLlib's ``MultiAgentEnv``, and the network they share.

In the parallel face an agent edits its layer slot by slot. Here it is asked once a window, for the
style in which its layer is planned; the edits that makes are carried out for it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis.value_function_api import ValueFunctionAPI
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from ray.rllib.env.multi_agent_env import MultiAgentEnv
from torch import Tensor

from fleetgym.agents.following import Follower, Twin
from fleetgym.agents.networks.experts import ExpertNet
from fleetgym.agents.placement import TABLES, TRAINING_SAMPLES, Hands
from fleetgym.agents.styles import STYLES
from fleetgym.agents.weights import load_network
from fleetgym.envs.core.parallel import FleetParallelEnv, Infos, Observation
from fleetgym.envs.core.registration import parallel_env

Table = dict[str, Observation]


class LayersEnv(MultiAgentEnv):  # type: ignore[misc]
    """One placement after the other, of each kind in turn.

    Args:
        config: ``id``; ``batches``, a list of ``scenario`` and ``overrides`` of one size;
            ``forecaster``, the weights of the network that forecasts.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        hands = Hands(load_network(Path(config["forecaster"]), ExpertNet), TRAINING_SAMPLES)
        self._kinds = [_Kind(config["id"], **batch, hands=hands) for batch in config["batches"]]
        self._turn, self._kind = -1, self._kinds[0]
        face = self._kind.face
        self.possible_agents: list[str] = list(face.possible_agents)
        self.agents = list(self.possible_agents)
        known = face.observation_space(self.possible_agents[0])
        assert isinstance(known, spaces.Dict)
        seen = spaces.Dict({name: known[name] for name in TABLES})
        self.observation_spaces = dict.fromkeys(self.possible_agents, seen)
        styles: Any = spaces.Discrete(len(STYLES))
        self.action_spaces: Any = dict.fromkeys(self.possible_agents, styles)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Table, Infos]:
        """Starts an episode of the next kind."""
        self._turn = (self._turn + 1) % len(self._kinds)
        self._kind = self._kinds[self._turn]
        seen, _ = self._kind.face.reset(seed=seed)
        self._kind.follower.begin()
        self._kind.twin.begin(self._kind.face.simulator.workloads[0])
        return _shown(seen), {}

    def step(
        self, action_dict: Mapping[str, Any]
    ) -> tuple[Table, dict[str, float], dict[str, bool], dict[str, bool], Infos]:
        """Serves a window in the styles chosen."""
        follower, face = self._kind.follower, self._kind.face
        agents = self.possible_agents
        window, paid, ended, cut = follower.window(), 0.0, False, False
        follower.plan([int(action_dict[agent]) for agent in agents])
        while not (ended or cut) and follower.window() == window:
            actions = dict(zip(agents, follower.act().tolist(), strict=True))
            seen, rewards, terminated, truncated, _ = face.step(actions)
            paid += rewards[agents[0]]
            ended, cut = terminated[agents[0]], truncated[agents[0]]
        better = self._kind.twin.better(window, paid)
        return (
            _shown(seen),
            dict.fromkeys(agents, better),
            {"__all__": ended, **dict.fromkeys(agents, ended)},
            {"__all__": cut, **dict.fromkeys(agents, cut)},
            {},
        )


class _Kind:
    """The parallel face of one kind of placement, and its twin."""

    def __init__(self, id: str, scenario: str, overrides: Mapping[str, Any], hands: Hands) -> None:
        self.face: FleetParallelEnv = parallel_env(id, scenario, **overrides)
        simulator = self.face.simulator
        self.follower = Follower(simulator, hands)
        layers = len(self.face.possible_agents)
        self.twin = Twin(simulator.like(1), hands, layers)


class LayerModule(TorchRLModule, ValueFunctionAPI):  # type: ignore[misc]
    """The shared network of the layers, of which the forecast does not learn here."""

    def setup(self) -> None:
        """Takes the network that forecasts; RLlib adds settings of its own to ``model_config``."""
        self.network = load_network(Path(self.model_config["forecaster"]), ExpertNet).train()

    def _decide(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        seen = batch[Columns.OBS]
        return self.network.decide(*(seen[name] for name in TABLES))

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Tensor]:
        return {Columns.ACTION_DIST_INPUTS: self._decide(batch)[0]}

    def compute_values(self, batch: dict[str, Any], embeddings: Any = None) -> Tensor:
        """Values ``(B,)``."""
        return self._decide(batch)[1]


def _shown(seen: Table) -> Table:
    return {
        agent: {name: np.array(tables[name]) for name in TABLES} for agent, tables in seen.items()
    }
