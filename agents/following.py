"""Windows planned in a style of each layer, and carried out edit by edit in one world."""

import numpy as np
from numpy.typing import NDArray

from fleetgym.agents.placement import Hands
from fleetgym.agents.styles import STYLES
from fleetgym.baselines.expert_placement.planning import PlacementPolicy
from fleetgym.baselines.expert_placement.situation import Int32, Situation
from fleetgym.envs.core.simulator import Simulator
from fleetgym.envs.core.view import View
from fleetgym.envs.core.workload import Workload
from fleetgym.envs.expert_placement.types import State

SCALE = 20.0  # of rewards: styles differ by hundredths of a window


class Follower:
    """Makes the edits of the placements that styles ask for.

    Args:
        simulator: of one world under edits.
        hands: make placements.
    """

    def __init__(self, simulator: Simulator, hands: Hands) -> None:
        self.simulator = simulator
        self._view, self._hands = View(simulator), hands
        self._wanted: Int32 = np.empty(0, np.int32)
        self._policy = PlacementPolicy("styled", self._given)

    def _given(self, situation: Situation) -> Int32:
        return self._wanted

    def begin(self) -> None:
        """Says that a new episode has begun."""
        self._policy.reset(self._view, np.zeros(1, np.int64))

    def plan(self, chosen: list[int]) -> None:
        """Makes the placement of the window that begins, by the number of each layer's style."""
        self._wanted = self._hands.plan(self._view, 0, [STYLES[number] for number in chosen])

    def window(self) -> int:
        """Windows served."""
        state = self._view.state()
        assert isinstance(state, State)
        return int(state.window[0])

    def act(self) -> NDArray[np.int64]:
        """The next actions ``(agents,)`` on the way to the placement."""
        (actions,) = self._policy.act(self._view).values()
        given: NDArray[np.int64] = actions[0]
        return given


class Twin:
    """The same episode in the first style, played beside it.

    What a window is paid beside what it would have been, had the first style been kept up from the
    beginning of the episode, says far more of a choice than what it is paid: most of that depends
    on how the loads happened to move. Such a reference, which no action changes, leaves the best
    policy as it is.

    Args:
        simulator: of one world, of its own.
        hands: make placements.
        layers: L.
    """

    def __init__(self, simulator: Simulator, hands: Hands, layers: int) -> None:
        self._follower, self._first = Follower(simulator, hands), [0] * layers
        self._paid: list[float] = []

    def begin(self, workload: Workload | None) -> None:
        """Plays the whole episode of a workload."""
        assert workload is not None
        simulator = self._follower.simulator
        (role,) = simulator.roles
        simulator.reset([workload])
        self._follower.begin()
        self._paid = []
        while not simulator.over()[0]:
            window, paid = self._follower.window(), 0.0
            self._follower.plan(self._first)
            while self._follower.window() == window:
                result = simulator.step({role: self._follower.act()[None]})
                paid += float(result.reward[0, 0])
            self._paid.append(paid)

    def better(self, window: int, paid: float) -> float:
        """By how much the window was paid better than the twin's, scaled."""
        return SCALE * (paid - self._paid[window])
