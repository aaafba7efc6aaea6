"""The list of events whose time is known: sorted by time, then kind, then index."""

from fleetgym.envs.core.jit import inner
from fleetgym.envs.mec_offloading.types import (
    AT_EVENTS,
    EVENTS_END,
    EVENTS_FIRST,
    N_EVENTS,
    Int64,
)

KIND = 2**32  # of a code: kind * KIND + index


@inner
def push(i: Int64, time: int, kind: int, index: int) -> None:
    """Enters an event. Most are later than most that wait: the search begins at the end."""
    first, end, at = i[EVENTS_FIRST], i[EVENTS_END], i[AT_EVENTS]
    if end == i[N_EVENTS]:
        for k in range(2 * (end - first)):
            i[at + k] = i[at + 2 * first + k]
        end -= first
        first = 0
        i[EVENTS_FIRST] = 0
    code, k = kind * KIND + index, at + 2 * end
    least = at + 2 * first
    while k > least and (i[k - 2] > time or (i[k - 2] == time and i[k - 1] > code)):
        i[k], i[k + 1] = i[k - 2], i[k - 1]
        k -= 2
    i[k], i[k + 1] = time, code
    i[EVENTS_END] = end + 1


@inner
def drop(i: Int64, kind: int, index: int) -> None:
    """Strikes out an event, if it is there."""
    at, code = i[AT_EVENTS], kind * KIND + index
    for k in range(i[EVENTS_FIRST], i[EVENTS_END]):
        if i[at + 2 * k + 1] == code:
            for j in range(at + 2 * k, at + 2 * (i[EVENTS_END] - 1)):
                i[j] = i[j + 2]
            i[EVENTS_END] -= 1
            return
