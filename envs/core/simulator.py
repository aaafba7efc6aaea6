"""The simulator protocol: B worlds stepped at once, arrays in, arrays out.

How the five families use it (what the protocol was made to carry without a special case):

=====================  ======================================================================
VM rescheduling        one role, one agent; two stages (VM, then target) are simulator state;
                       ``elapse`` runs arrivals and departures. Distributed: a rack is an agent.
request preemption     event-driven: a step runs each world to its own next decision, so worlds'
                       clocks differ; roles ``router`` (1 agent) and ``instance`` (n agents).
expert placement       turn-based windows; staged edits; distributed: one agent a layer.
expert cache           one decision a miss; tiny observations, 10^6 steps: cost is dispatch.
MEC offloading         32 devices decide at once; agents without a ready task have a mask that
                       allows only the no-op; a MultiDiscrete action carries messages.
=====================  ======================================================================

Arrays of a role have the shape ``(B, agents of the role, ...)``; reward has ``(B, A)`` with A the
agents of all roles in order. All randomness is in the workload: stepping draws nothing.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from fleetgym.envs.core.errors import RecordError
from fleetgym.envs.core.scenario import Scenario
from fleetgym.envs.core.workload import Workload

Array = NDArray[Any]
Actions = Mapping[str, Array]  # role -> (B, agents, *action shape)
Observations = Mapping[str, Mapping[str, Array]]  # role -> entry -> (B, agents, ...)


@dataclass(frozen=True)
class Role:
    """Agents that see and decide alike.

    ``observation_space`` is a Dict with an ``action_mask`` entry; both spaces are one agent's.
    """

    agents: tuple[str, ...]
    observation_space: spaces.Dict
    action_space: spaces.Space[Any]


class StepResult(NamedTuple):
    """What a step of B worlds with A agents returns: read-only until the next step."""

    reward: NDArray[np.float64]  # (B, A)
    terminated: NDArray[np.bool_]  # (B,)
    truncated: NDArray[np.bool_]  # (B,)
    status: NDArray[np.int8]  # (B, A) DONE, ILLEGAL or STALE


class Simulator(ABC):
    """B worlds of one scenario on plain arrays; the faces and policies use nothing else.

    Attributes:
        scenario: the resolved scenario.
        capacity: upper sizes of its workloads, as a workload source gives them.
        num_worlds: B.
        roles: the agents, by role.
        term_names: names of the reward's terms.
        workloads: what each world was last reset to.
    """

    scenario: Scenario
    capacity: Mapping[str, int]
    num_worlds: int
    roles: Mapping[str, Role]
    term_names: tuple[str, ...]
    workloads: list[Workload | None]

    @abstractmethod
    def reset(self, workloads: Sequence[Workload], worlds: Sequence[int] | None = None) -> None:
        """Starts the named worlds (all, by default) on their workloads; the others go on.

        Raises:
            WorkloadError: a workload is larger than the scenario's spaces.
        """

    @abstractmethod
    def elapse(self, duration: NDArray[np.int64]) -> None:
        """Lets the outside world go on for ``duration`` (B,) ns while a policy thinks.

        The mask that the policy saw goes on to judge its action: see ``step``.
        """

    @abstractmethod
    def step(self, actions: Actions, active: NDArray[np.bool_] | None = None) -> StepResult:
        """Applies the actions of the active worlds (all, by default).

        Each active world then runs on to its own next decision. An action that the mask forbids
        is ILLEGAL: nothing happens but a documented penalty. One that was legal when seen and is
        no longer is STALE: dropped and counted.
        """

    @abstractmethod
    def observation(self) -> Observations:
        """The canonical observation, updated incrementally: read-only views."""

    @abstractmethod
    def action_mask(self) -> Mapping[str, NDArray[np.int8]]:
        """The mask of each role, ``(B, agents, n)``: read-only views."""

    @abstractmethod
    def state(self) -> NamedTuple:
        """Everything a policy may see, as named read-only arrays."""

    @abstractmethod
    def reward_terms(self) -> NDArray[np.float64]:
        """The last reward by ``term_names``, ``(B, A, terms)``: they add up to it."""

    @abstractmethod
    def metrics(self) -> Mapping[str, NDArray[np.float64]]:
        """Metrics of each world so far, ``(B,)``, in the units their names say."""

    @abstractmethod
    def now(self) -> NDArray[np.int64]:
        """The clock of each world, ``(B,)`` ns."""

    @abstractmethod
    def over(self) -> NDArray[np.bool_]:
        """``(B,)`` whether the world's episode has terminated or been truncated."""

    @abstractmethod
    def decision_starts(self) -> NDArray[np.bool_]:
        """``(B,)`` whether the next action begins a decision (false in its later stages)."""

    @abstractmethod
    def forget_future(self) -> None:
        """Empties what is still to come, and redraws what is hidden, in every world.

        Masks are written anew, as the scenario now has them.
        """

    @abstractmethod
    def _arrays(self) -> Mapping[str, Array]:
        """Every array that makes up the worlds, each with the world axis first."""

    @abstractmethod
    def _moving(self) -> tuple[str, ...]:
        """Names of the arrays whose content is the state (what digests cover)."""

    @abstractmethod
    def __init__(self, scenario: Any, capacity: Mapping[str, int], num_worlds: int) -> None: ...

    def like(self, num_worlds: int, scenario: Scenario | None = None) -> Self:
        """A simulator of the same capacity with ``num_worlds`` unset worlds.

        Args:
            num_worlds: B.
            scenario: another one of the same sizes (other actions, other reward), or the same.
        """
        return type(self)(scenario or self.scenario, self.capacity, num_worlds)

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy is made anew, so that its views show its own arrays, and takes the worlds over."""
        worlds = [self.save(world) for world in range(self.num_worlds)]
        made = (type(self), (self.scenario, dict(self.capacity), self.num_worlds))
        return (*made, (worlds, list(self.workloads)))

    def __setstate__(self, state: tuple[list[bytes], list[Workload | None]]) -> None:
        saved, self.workloads[:] = state
        for world, content in enumerate(saved):
            self.restore(world, content)

    def save(self, world: int) -> bytes:
        """One world as bytes: its fingerprint, then every array."""
        parts = [np.ascontiguousarray(array[world]) for array in self._arrays().values()]
        return self._fingerprint() + b"".join(part.tobytes() for part in parts)

    def restore(self, world: int, saved: bytes) -> None:
        """Sets one world to what ``save`` returned, of this or an equal simulator.

        Raises:
            RecordError: the bytes are of another scenario or capacity, or cut short.
        """
        mark = self._fingerprint()
        size = len(mark) + sum(array[:1].nbytes for array in self._arrays().values())
        if saved[: len(mark)] != mark or len(saved) != size:
            raise RecordError(
                f"saved world of {len(saved)} bytes does not fit scenario "
                f"{self.scenario.name!r} ({size} bytes): it was saved by another scenario or cut"
            )
        at = len(mark)
        for array in self._arrays().values():
            row = array[world : world + 1]
            row[...] = np.frombuffer(saved, array.dtype, row.size, at).reshape(row.shape)
            at += row.nbytes

    def fork(self, world: int, k: int, scenario: Scenario | None = None) -> Self:
        """A simulator of k worlds, each a copy of this world and its future."""
        copies = self.like(k, scenario)
        mine = self._arrays()
        for name, array in copies._arrays().items():
            array[:] = mine[name][world]
        copies.workloads[:] = [self.workloads[world]] * k
        return copies

    def copy(self, sources: NDArray[np.int64], targets: NDArray[np.int64]) -> None:
        """Makes the target worlds copies of the source worlds, each its own."""
        for array in self._arrays().values():
            array[targets] = array[sources]
        for source, target in zip(sources, targets, strict=True):
            self.workloads[target] = self.workloads[source]

    def digest(self) -> NDArray[np.uint64]:
        """A hash of the state of each world, ``(B,)``: equal states, equal digests."""
        arrays = self._arrays()
        out = np.empty(self.num_worlds, np.uint64)
        for world in range(self.num_worlds):
            hasher = hashlib.blake2b(digest_size=8)
            for name in self._moving():
                hasher.update(np.ascontiguousarray(arrays[name][world]).data)
            out[world] = int.from_bytes(hasher.digest(), "little")
        return out

    def _fingerprint(self) -> bytes:
        shapes = [(n, a.dtype.str, a.shape[1:]) for n, a in self._arrays().items()]
        return hashlib.sha256(repr((self.scenario, shapes)).encode()).digest()


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """A view that cannot be written through."""
    shown = array.view()
    shown.flags.writeable = False
    return shown
