"""What a cache agent looks at: the candidates of a miss, by the topic filter and the statistics.

The candidates are the tenants of the layer's slots and the missed expert: one of them is left out.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fleetgym.agents.topic_filter import (
    FAST,
    MEAN,
    NOISE,
    NOW,
    SLOW,
    TRACE,
    Filter,
    catch_up,
    empty_filter,
    forget,
)
from fleetgym.envs.core.jit import inner, kernel
from fleetgym.envs.core.view import View
from fleetgym.envs.expert_cache.types import (
    ASKED,
    AT,
    COUNT,
    EVENT,
    EXPERT,
    FREQUENCY,
    LAST,
    LAYER,
    LENGTH,
    MISS,
    STAGE,
    STEP,
    UNIT,
    Int16,
    Int64,
    State,
)

Float32 = NDArray[np.float32]

CANDIDATE = (  # of an expert; log scores are centred within the layer, and divided by REACH
    "forecast",  # of the topic filter
    "now",  # log score when the layer was routed last
    "fast",  # its moving averages
    "slow",
    "mean",  # over all steps so far
    "recency",  # 1 / (1 + steps since its layer used it)
    "frequency",  # moving average of being used
    "count",  # uses / steps so far
)
ROUTING = (  # of the routing as a whole
    "noise",  # standard deviation of what the filter does not explain / REACH
    "signal",  # of what it explains / REACH
    "steps",  # seen, s / (s + 16)
    "active",  # experts that the event activates / experts of the layer
)
REACH = 4.0


@inner
def write_candidate(
    kept: Float32, forecast: Float32, table: Int16, step: int, e: int, row: Float32
) -> None:
    """The numbers of CANDIDATE, of an expert.

    Args:
        kept: ``(KEPT, E)`` of its layer.
        forecast: ``(E,)`` likewise.
        table: ``(ROWS, E)`` likewise.
        step: of the event.
        e: which.
        row: written.
    """
    per_reach = np.float32(1 / REACH)
    row[0] = forecast[e] * per_reach
    row[1] = kept[NOW, e] * per_reach
    row[2] = kept[FAST, e] * per_reach
    row[3] = kept[SLOW, e] * per_reach
    row[4] = kept[MEAN, e] * per_reach
    row[5] = np.float32(1) / np.float32(1 + step - table[LAST, e])
    row[6] = np.float32(table[FREQUENCY, e]) * np.float32(1 / UNIT)
    row[7] = np.float32(table[COUNT, e]) / np.float32(step + 1)


@inner
def write_routing(numbers: Float32, step: int, window: int, share: float, row: Float32) -> None:
    """The numbers of ROUTING.

    Args:
        numbers: of the filter.
        step: of the event.
        window: steps that the filter remembers.
        share: of a layer's experts that the event activates.
        row: written.
    """
    # Of the event's own step the filter has no directions yet.
    known = max(1, min(step, window))
    noise = max(numbers[NOISE], np.float32(0))
    row[0] = np.sqrt(noise) / REACH
    row[1] = np.sqrt(max(numbers[TRACE] / known - noise, 0.0)) / REACH
    row[2] = step / (step + 16)
    row[3] = share


@kernel
def write_tables(
    f: Filter, state: State, worlds: Int64, candidates: Float32, routing: Float32
) -> None:
    """Writes the tables of worlds in which a miss is to be decided; zeros for the others.

    Args:
        f: caught up.
        state: of the simulator.
        worlds: M of them.
        candidates: ``(M, C + 1, len(CANDIDATE))`` by slot, then the missed expert.
        routing: ``(M, len(ROUTING))``.
    """
    candidates[:] = 0.0
    routing[:] = 0.0
    for m in range(len(worlds)):
        b = worlds[m]
        s = state.scalars[b]
        if s[STAGE] != MISS:
            continue
        layer, table = s[LAYER], state.table[b, s[LAYER]]
        tenants, slots = state.tenants[b, layer, EXPERT], state.tenants.shape[3]
        kept, forecast = f.kept[b, layer], f.forecast[b, layer]
        for slot in range(slots):
            write_candidate(kept, forecast, table, s[STEP], tenants[slot], candidates[m, slot])
        missed = state.request[b, ASKED, s[AT]]
        write_candidate(kept, forecast, table, s[STEP], missed, candidates[m, slots])
        share = s[LENGTH] / table.shape[1]
        write_routing(f.numbers[b], s[STEP], f.scores.shape[1], share, routing[m])


class Tables(NamedTuple):
    """What `Watcher.look` gives of M worlds."""

    candidates: Float32  # (M, C + 1, len(CANDIDATE))
    routing: Float32  # (M, len(ROUTING))


class Watcher:
    """Follows the routing of B worlds by what policies may see."""

    def __init__(self) -> None:
        self._filter: Filter | None = None

    def begin(self, state: State, worlds: Int64) -> None:
        """Worlds begin a new episode."""
        b, layers, _, experts = state.table.shape
        steps = state.history.shape[1] // layers
        f = self._filter
        if f is None or f.forecast.shape != (b, layers, experts):
            self._filter = empty_filter(b, steps, layers, experts)
        else:
            forget(f, worlds)

    def look(self, state: State, worlds: Int64) -> Tables:
        """The tables of worlds that are not over, newly allocated."""
        f = self._filter
        assert f is not None, "begin comes first"
        catch_up(f, state.history, state.scalars[:, EVENT], worlds)
        slots = state.tenants.shape[3]
        tables = Tables(
            np.empty((len(worlds), slots + 1, len(CANDIDATE)), np.float32),
            np.empty((len(worlds), len(ROUTING)), np.float32),
        )
        write_tables(f, state, worlds, *tables)
        return tables


def state_of(view: View) -> State:
    """The state that a view shows, of this family."""
    state = view.state()
    assert isinstance(state, State)
    return state
