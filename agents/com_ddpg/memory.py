"""What agents see as vectors, and the last of these: for actors that play, and for the replay."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fleetgym.envs.core.view import View
from fleetgym.envs.mec_offloading.simulator import DEVICE
from fleetgym.envs.mec_offloading.types import TASK_FEATURES

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]

ASKED, CYCLES = TASK_FEATURES.index("asked"), TASK_FEATURES.index("cycles")
LAGS = 32  # steps back to which it is known what has arrived


def vectors(view: View) -> Float32:
    """``(B, U, X)``: the task that is asked about, the mean of all, the places, progress."""
    seen = view.observation()[DEVICE]
    tasks, places = seen["tasks"], seen["places"]
    present = tasks[..., CYCLES : CYCLES + 1] > 0
    asked = (tasks * tasks[..., ASKED : ASKED + 1]).sum(2)
    mean = tasks.sum(2) / np.maximum(1, present.sum(2))
    flat = places.reshape(*places.shape[:2], -1)
    return np.concatenate((asked, mean, flat, seen["progress"]), 2).astype(np.float32)


class Windows(NamedTuple):
    """What actors read, the oldest step first."""

    now: Float32  # (B, T, U, X)
    heard: Float32  # (B, T, U, X) up to the last step that has arrived


class Memory:
    """The last steps of B worlds.

    Args:
        worlds: B.
        history: T.
        delay: ns after which others hear of a step.
    """

    def __init__(self, worlds: int, history: int, delay: int) -> None:
        self._history, self._delay = history, delay
        self._seen: Float32 = np.zeros((worlds, history + LAGS, 0, 0), np.float32)
        self._clock = np.full((worlds, history + LAGS), -1, np.int64)

    def forget(self, worlds: Int64) -> None:
        """Those worlds begin anew."""
        self._seen[worlds], self._clock[worlds] = 0.0, -1

    def note(self, seen: Float32, clock: Int64) -> Int64:
        """Adds a step ``(B, U, X)`` at its time ``(B,)`` ns.

        Returns:
            How many steps ago was the last that the others have heard of, ``(B,)``; `LAGS` where
            none was.
        """
        if self._seen.shape[2:] != seen.shape[1:]:
            shape = (*self._seen.shape[:2], *seen.shape[1:])
            self._seen = np.zeros(shape, np.float32)
        self._seen = np.concatenate((self._seen[:, 1:], seen[:, None]), 1)
        self._clock = np.concatenate((self._clock[:, 1:], clock[:, None]), 1)
        known = (self._clock >= 0) & (self._clock <= clock[:, None] - self._delay)
        known[:, -1] = False
        back = known[:, ::-1]
        return np.minimum(np.where(back.any(1), back.argmax(1), LAGS), LAGS)

    def windows(self, lag: Int64) -> Windows:
        """What actors read of the last step noted, given what `note` said."""
        t, length = self._history, self._seen.shape[1]
        rows = np.arange(len(lag))[:, None]
        last = length - 1 - lag[:, None]
        heard = self._seen[rows, last + np.arange(1 - t, 1)]
        heard[lag == LAGS] = 0.0
        return Windows(self._seen[:, -t:], heard)
