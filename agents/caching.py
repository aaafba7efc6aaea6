"""The shipped cache network as a policy: the likeliest legal action, all worlds at once."""

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from fleetgym.agents.cache_features import Watcher, state_of
from fleetgym.agents.networks.cache import CacheNet, CacheTables
from fleetgym.envs.core.view import View
from fleetgym.envs.expert_cache.simulator import AGENT
from fleetgym.envs.expert_cache.types import MISS, STAGE

FORBIDDEN = -1e9  # logit


class CacheAgent:
    """Decides misses by a network; greedy. It never prefetches.

    Args:
        name: of the policy.
        network: chooses.
        thrifty: whether it weighs what admissions cost, or goes by hits alone.
    """

    information: Literal["online", "clairvoyant"] = "online"

    def __init__(self, name: str, network: CacheNet, thrifty: bool = False) -> None:
        self.name, self._network, self._thrifty = name, network, thrifty
        self._watcher = Watcher()

    def reset(self, view: View, worlds: NDArray[np.int64]) -> None:
        """Begins to follow the routing of the worlds anew."""
        self._watcher.begin(state_of(view), worlds)

    def act(self, view: View) -> dict[str, NDArray[np.int64]]:
        """The likeliest legal action at a miss; at other stages the first one."""
        state = state_of(view)
        mask = view.action_mask()[AGENT][:, 0]
        action: NDArray[np.int64] = mask.argmax(1)
        worlds = np.flatnonzero(state.scalars[:, STAGE] == MISS)
        if len(worlds):
            candidates, routing = self._watcher.look(state, worlds)
            slots = candidates.shape[1]  # with the missed expert: as many as actions
            legal = torch.from_numpy(mask[worlds, :slots])
            progress = torch.from_numpy(view.observation()[AGENT]["progress"][worlds, 0])
            tables = (torch.from_numpy(candidates), torch.from_numpy(routing), progress, legal)
            with torch.inference_mode():
                logits = self._network(CacheTables(*tables), self._thrifty)[0]
            action[worlds] = logits.masked_fill(legal == 0, FORBIDDEN).argmax(1).numpy()
        return {AGENT: action[:, None]}
