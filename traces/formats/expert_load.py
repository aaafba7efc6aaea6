"""Expert loads: of ``expert-load.json``, and of routing traces.

``expert-load.json`` is what a serving stack writes for DeepSeek's EPLB:
``{"load_history": [{"logical_expert_load": [layer][expert]}, ...]}``, tokens of a window.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fleetgym.traces.errors import TraceError
from fleetgym.traces.reading import Place, read_json
from fleetgym.traces.schema import MAX_SIZE
from fleetgym.traces.schema_routing import Routing


@dataclass(frozen=True, eq=False)
class ExpertLoads:
    """Tokens that the experts of every layer were given, window by window."""

    name: str
    loads: NDArray[np.int32]  # (W, L, E) tokens

    def renamed(self, name: str) -> "ExpertLoads":
        """The same loads under another name."""
        return replace(self, name=name)

    def validate(self) -> "ExpertLoads":
        """Returns the loads themselves.

        Raises:
            TraceError: there is nothing, a load is negative, or a layer has no token in a window.
        """
        if self.loads.ndim != 3 or 0 in self.loads.shape:
            raise TraceError(
                f"{self.name}: loads have shape {self.loads.shape}, not (windows, layers, experts) "
                "of one at least"
            )
        if (self.loads < 0).any():
            window, layer, expert = np.argwhere(self.loads < 0)[0]
            value = self.loads[window, layer, expert]
            raise TraceError(
                f"{self.name}: window {window}, layer {layer}, expert {expert}: load {value} is "
                "negative"
            )
        empty = self.loads.sum(axis=2, dtype=np.int64) == 0
        if empty.any():
            window, layer = np.argwhere(empty)[0]
            raise TraceError(
                f"{self.name}: window {window}, layer {layer}: all {self.loads.shape[2]} loads are "
                "0; leave out windows in which nothing was served"
            )
        return self


def read(path: str | Path) -> ExpertLoads:
    """The loads of an ``expert-load.json``, gzip or not.

    Raises:
        TraceError: not found, not JSON, NaN, not of this format, of a shape that changes midway,
            or a load is negative, no whole number, or 0 for a whole layer.
    """
    history = Place(read_json(path), str(path))["load_history"]
    windows = [_table(entry["logical_expert_load"]) for entry in history.items()]
    if not windows:
        raise history.wrong("is empty; a window is needed at least")
    for i, window in enumerate(windows):
        if window.shape != windows[0].shape:
            raise history.wrong(
                f"entry {i} has {window.shape[0]} layers of {window.shape[1]} experts, entry 0 has "
                f"{windows[0].shape[0]} of {windows[0].shape[1]}: shapes must not change"
            )
    return ExpertLoads(_name(path), np.stack(windows)).validate()


def _table(place: Place) -> NDArray[np.int32]:
    """One window, ``(L, E)``."""
    rows = []
    for layer in place.items():
        experts = layer.items()
        try:
            row = np.array([expert.value for expert in experts], np.float64)
        except (TypeError, ValueError):
            row = np.full(len(experts), np.nan)
        bad = ~((row >= 0) & (row <= MAX_SIZE) & (row % 1 == 0))
        if bad.any():
            for expert in experts:
                expert.size()  # says what is wrong with it
        rows.append(row.astype(np.int32))
        if len(row) != len(rows[0]):
            raise layer.wrong(f"has {len(row)} experts, the first layer {len(rows[0])}")
    if not rows or not len(rows[0]):
        raise place.wrong("holds no layer, or no expert")
    return np.stack(rows)


def of_routing(routing: Routing, steps_per_window: int) -> ExpertLoads:
    """The loads of a routing trace, so many of its steps a window; the rest is left out.

    Raises:
        TraceError: the trace is not valid, or too short for one window.
    """
    routing.validate()
    steps, layers, _ = routing.experts.shape
    windows = steps // steps_per_window if steps_per_window > 0 else 0
    if windows < 1:
        raise TraceError(
            f"{routing.name}: {steps} steps do not fill a window of {steps_per_window}: take fewer"
        )
    used = windows * steps_per_window
    ids, counts = routing.experts[:used].astype(np.int64), routing.counts[:used]
    window = np.arange(used) // steps_per_window
    at = (window[:, None, None] * layers + np.arange(layers)[:, None]) * routing.num_experts + ids
    there = ids >= 0
    size = windows * layers * routing.num_experts
    loads = np.bincount(at[there], counts[there], size)
    shaped = loads.reshape(windows, layers, routing.num_experts).astype(np.int32)
    return ExpertLoads(routing.name, shaped).validate()


def _name(path: str | Path) -> str:
    return Path(path).name.split(".")[0]
