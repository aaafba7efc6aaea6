"""Policies that see the routing to come: MIN, MIN with bypass, and the best static cache."""

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fleetgym.envs.core.errors import PolicyError
from fleetgym.envs.core.jit import inner, kernel
from fleetgym.envs.core.view import View
from fleetgym.envs.expert_cache.clairvoyant import next_use
from fleetgym.envs.expert_cache.types import (
    ASKED,
    AT,
    EVENT,
    EXPERT,
    LAST,
    LAST_EVENT,
    LAYER,
    LENGTH,
    MISS,
    MISSED,
    STAGE,
    STEP,
    WRITTEN,
    Int8,
    Int16,
    Int64,
    State,
    UInt64,
)
from fleetgym.envs.expert_cache.workloads import RoutingWorkload
from fleetgym.traces.schema_routing import Routing
from fleetgym.traces.stats_routing import activated


class Foresight(NamedTuple):
    """What a clairvoyant policy sees of B worlds."""

    state: State
    experts: Int16  # (B, N, K) activated by each event, warm-up included, then -1
    keep: Int8  # (B, L, E) 1 for the C experts that the played events activate most


@inner
def farthest(seen: Foresight, b: int, spare: bool) -> int:
    """The open slot whose tenant is asked for last, -1 where there is none.

    ``spare``: tenants that the event itself asks for do not count.
    """
    state, s = seen.state, seen.state.scalars[b]
    layer, layers, n, end = s[LAYER], state.table.shape[1], s[EVENT], s[LAST_EVENT]
    tenants, written = state.tenants[b, layer, EXPERT], state.copies[b, layer, WRITTEN]
    found, latest = -1, 0
    for slot in range(len(tenants)):
        now = state.table[b, layer, LAST, tenants[slot]] == s[STEP]
        if written[slot] != n and not (spare and now):
            use = next_use(seen.experts[b], n, layers, tenants[slot], end)
            if found < 0 or use > latest:
                found, latest = slot, use
    return found


@inner
def stays(seen: Foresight, b: int) -> bool:
    """Whether the missed expert is among the best to hold after the event.

    As many are as there are open slots, of the tenants of these and of the misses not decided yet.
    """
    state, s = seen.state, seen.state.scalars[b]
    layer, layers, n, end = s[LAYER], state.table.shape[1], s[EVENT], s[LAST_EVENT]
    tenants, written = state.tenants[b, layer, EXPERT], state.copies[b, layer, WRITTEN]
    experts, request = seen.experts[b], state.request[b]
    mine = next_use(experts, n, layers, request[ASKED, s[AT]], end)
    room, sooner = 0, 0
    for slot in range(len(tenants)):
        if written[slot] != n:
            room += 1
            sooner += next_use(experts, n, layers, tenants[slot], end) <= mine
    for k in range(s[AT] + 1, s[LENGTH]):
        if request[MISSED, k]:
            sooner += next_use(experts, n, layers, request[ASKED, k], end) < mine
    return bool(sooner < room)


@inner
def decide_min(seen: Foresight, b: int, bypass: bool, random: UInt64) -> int:
    """MIN (Belady 1966): overwrites what is asked for last.

    With bypass it admits only what is asked for sooner. Without, everything that an event asks for
    is held after it, where there is room.
    """
    if seen.state.scalars[b, STAGE] != MISS or (bypass and not stays(seen, b)):
        return 0
    return 1 + farthest(seen, b, not bypass)


@inner
def decide_static(seen: Foresight, b: int, parameter: bool, random: UInt64) -> int:
    """Fills the cache with the experts to keep, at their first misses, and changes it no more."""
    state, s = seen.state, seen.state.scalars[b]
    layer, keep = s[LAYER], seen.keep[b, s[LAYER]]
    if s[STAGE] != MISS or not keep[state.request[b, ASKED, s[AT]]]:
        return 0
    tenants = state.tenants[b, layer, EXPERT]
    for slot in range(len(tenants)):
        if not keep[tenants[slot]]:
            return 1 + slot
    return 0


@kernel
def decide_all(seen: Foresight, static: bool, bypass: bool, random: UInt64, out: Int64) -> None:
    """Writes the action of every world into ``out``, (B,)."""
    for b in range(len(out)):
        if static:
            out[b] = decide_static(seen, b, bypass, random)
        else:
            out[b] = decide_min(seen, b, bypass, random)


class ClairvoyantPolicy:
    """Plays one of the three; never prefetches.

    Attributes:
        kernel, parameters: what `ExpertCacheSimulator.rollout` takes to play the same, with
            ``seen=policy.foresight(view)``.
    """

    information: Literal["online", "clairvoyant"] = "clairvoyant"

    def __init__(self, name: Literal["min", "min-bypass", "static-best"]) -> None:
        self.name: str = name
        self._static = name == "static-best"
        self.kernel = decide_static if self._static else decide_min
        self.parameters = name == "min-bypass"
        self._routings: dict[int, tuple[Routing, int]] = {}  # with the steps of the warm-up
        self._foresight: Foresight | None = None

    def reset(self, view: View, worlds: NDArray[np.int64]) -> None:
        """Looks at the workloads of the worlds."""
        for world in worlds.tolist():
            workload = view.future(world)
            if not isinstance(workload, RoutingWorkload):
                raise PolicyError(f"{self.name}: {workload.name!r} is no routing workload")
            self._routings[world] = (workload.routing, workload.warmup)
        self._foresight = None

    def foresight(self, view: View) -> Foresight:
        """What the kernel sees; made once for the workloads of the last reset."""
        if self._foresight is None:
            state: Any = view.state()  # this family's State
            self._foresight = self._look(view.num_worlds, state)
        return self._foresight

    def _look(self, num_worlds: int, state: State) -> Foresight:
        layers, num_experts, slots = *state.table.shape[1::2], state.tenants.shape[3]
        steps = max(len(routing.experts) for routing, _ in self._routings.values())
        width = max(routing.experts.shape[2] for routing, _ in self._routings.values())
        experts = np.full((num_worlds, steps, layers, width), -1, np.int16)
        keep = np.zeros((num_worlds, layers, num_experts), np.int8)
        for world, (routing, warmup) in self._routings.items():
            t, _, k = routing.experts.shape
            experts[world, :t, :, :k] = routing.experts
            uses = activated(routing)[warmup:].sum(axis=0)
            best = np.argsort(-uses, axis=1, kind="stable")[:, :slots]
            np.put_along_axis(keep[world], best, np.int8(1), axis=1)
        return Foresight(state, experts.reshape(num_worlds, -1, width), keep)

    def act(self, view: View) -> NDArray[np.int64]:
        """The action of each world, ``(B,)``."""
        actions = np.zeros(view.num_worlds, np.int64)
        random = np.zeros(0, np.uint64)  # nothing is drawn
        decide_all(self.foresight(view), self._static, self.parameters, random, actions)
        return actions
