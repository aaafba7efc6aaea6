"""Requests to a fleet that serves LLMs: when each arrived, and how many tokens in and out."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fleetgym.traces.errors import TraceError
from fleetgym.traces.schema import MAX_SIZE, Int32

Int64 = NDArray[np.int64]

TICK_NS = 1000  # arrivals and pauses are whole microseconds
_COLUMNS = (
    "arrival_ns",
    "prompt_tokens",
    "output_tokens",
    "client",
    "program",
    "next_turn",
    "pause_ns",
    "hash_start",
    "hash_count",
)


@dataclass(frozen=True, eq=False)
class ServingTrace:
    """N requests, of which the first A arrive by themselves, in the order of their arrival.

    The other N - A are later turns of programs: each becomes ready ``pause_ns`` after its previous
    turn has ended, whenever that is, so its ``arrival_ns`` means nothing. The A come first.

    ``hashes[hash_start[i]:][:hash_count[i]]`` name the blocks of ``hash_tokens`` tokens of request
    i from its first token on, the last of them perhaps partial: two requests whose lists begin with
    the same ids begin with the same tokens. A list that goes on behind the prompt names the blocks
    of prompt and output together, which the program's next turn begins with.
    """

    name: str
    arrival_ns: Int64  # (N,) from 0; ascending over the first A
    prompt_tokens: Int32  # (N,) at least 1
    output_tokens: Int32  # (N,) at least 1
    client: Int32  # (N,) from 0; all 0 where the trace names none
    program: Int32  # (N,) dense index of the program, or -1 for a single request
    next_turn: Int32  # (N,) row of the program's next turn, or -1
    pause_ns: Int64  # (N,) from the end of the previous turn; 0 for the first A
    hash_start: Int32  # (N,) into hashes
    hash_count: Int32  # (N,) 0 where the request has none
    hashes: Int32  # (H,) dense ids of blocks, from 0
    hash_tokens: int  # tokens of a block; 0 where no request has hashes

    @classmethod
    def independent(
        cls, name: str, arrival_ns: Int64, prompt_tokens: Int32, output_tokens: Int32
    ) -> "ServingTrace":
        """A trace of single requests, all of client 0 and without hashes; not validated."""
        count = len(arrival_ns)
        return cls(
            name=name,
            arrival_ns=arrival_ns,
            prompt_tokens=prompt_tokens,
            output_tokens=output_tokens,
            client=np.zeros(count, np.int32),
            program=np.full(count, -1, np.int32),
            next_turn=np.full(count, -1, np.int32),
            pause_ns=np.zeros(count, np.int64),
            hash_start=np.zeros(count, np.int32),
            hash_count=np.zeros(count, np.int32),
            hashes=np.empty(0, np.int32),
            hash_tokens=0,
        )

    def __len__(self) -> int:
        """N, the number of requests."""
        return len(self.arrival_ns)

    @cached_property
    def num_arrivals(self) -> int:
        """A, the requests that arrive by themselves: all but the later turns of programs."""
        return len(self) - int(np.count_nonzero(self.next_turn >= 0))

    @cached_property
    def num_programs(self) -> int:
        """The programs, of one turn or more."""
        return int(self.program.max(initial=-1)) + 1

    @cached_property
    def num_blocks(self) -> int:
        """The distinct blocks that hashes name."""
        return int(self.hashes.max(initial=-1)) + 1

    def renamed(self, name: str) -> "ServingTrace":
        """The same trace under another name."""
        return replace(self, name=name)

    def window(self, first: int, count: int) -> "ServingTrace":
        """Consecutive arrivals with all later turns of theirs, moved so that the first is at 0.

        Programs and blocks are numbered anew, from 0; clients keep their numbers.

        Args:
            first: row of the first arrival.
            count: arrivals, at least 1.

        Raises:
            TraceError: the trace does not have those rows.
        """
        arrivals = self.num_arrivals
        if not 0 <= first < first + count <= arrivals:
            raise TraceError(
                f"{self.name}: no window of {count} arrivals from row {first}; it has {arrivals}"
            )
        rows = np.arange(first, first + count)
        if arrivals < len(self):
            chosen = np.zeros(self.num_programs + 1, np.bool_)
            chosen[self.program[rows]] = True
            chosen[-1] = False  # of single requests, whose program is -1
            rows = np.append(rows, arrivals + np.flatnonzero(chosen[self.program[arrivals:]]))
        return self._rows(rows)

    def _rows(self, rows: Int64) -> "ServingTrace":
        """The chosen rows, in ascending order, which hold whole programs."""
        following = self.next_turn[rows]
        count = self.hash_count[rows]
        start = np.cumsum(count, dtype=np.int64) - count
        blocks = np.arange(int(count.sum())) + np.repeat(self.hash_start[rows] - start, count)
        columns = {column: getattr(self, column)[rows] for column in _COLUMNS}
        columns["arrival_ns"] = np.maximum(columns["arrival_ns"] - columns["arrival_ns"][0], 0)
        columns["program"] = _dense(columns["program"], keep_none=True)
        columns["next_turn"] = np.where(
            following >= 0, np.searchsorted(rows, following), following
        ).astype(np.int32)
        columns["hash_start"] = start.astype(np.int32)
        return replace(self, **columns, hashes=_dense(self.hashes[blocks]))

    def validate(self) -> "ServingTrace":
        """Returns the trace itself.

        Raises:
            TraceError: no request, lengths differ, a figure is out of range, arrivals are out of
                order, turns do not make programs, or hashes contradict the tokens.
        """
        if not len(self):
            raise TraceError(f"{self.name}: holds no request")
        for column in _COLUMNS:
            if len(getattr(self, column)) != len(self):
                raise TraceError(
                    f"{self.name}: {len(self)} arrivals, but {len(getattr(self, column))} {column}"
                )
        for column, low in (("prompt_tokens", 1), ("output_tokens", 1), ("client", 0)):
            self._check_range(column, low, MAX_SIZE)
        self._check_range("arrival_ns", 0, 2**62)
        self._check_range("pause_ns", 0, 2**62)
        self._check_turns()
        self._check_hashes()
        return self

    def _check_turns(self) -> None:
        """Every program is one chain of rows, downwards from an arrival."""
        self._check_range("next_turn", -1, len(self) - 1)
        self._check_range("program", -1, len(self) - 1)
        arrivals = self.num_arrivals
        row = np.flatnonzero(self.next_turn >= 0)
        target = self.next_turn[row]
        late = np.diff(self.arrival_ns[:arrivals], prepend=0) < 0
        self._refuse(late, "arrives before the one before it")
        wrong = np.zeros(len(self), np.bool_)
        wrong[row] = (target < np.maximum(arrivals, row + 1)) | (self.program[row] < 0)
        self._refuse(wrong, f"has a next turn that is not below it, or among the {arrivals} first")
        wrong[row] = self.program[target] != self.program[row]
        self._refuse(wrong, "has a next turn of another program")
        wrong = np.bincount(target, minlength=len(self))[arrivals:] != 1
        self._refuse(wrong, "is not the next turn of exactly one other", first=arrivals)
        self._refuse(self.pause_ns[:arrivals] != 0, "is a first turn and yet has a pause before it")
        programs = np.sort(self.program[:arrivals][self.program[:arrivals] >= 0])
        if (programs != np.arange(len(programs))).any():
            raise TraceError(
                f"{self.name}: the programs of the first turns must be 0 to {len(programs) - 1}, "
                "each once"
            )

    def _check_hashes(self) -> None:
        if not int(len(self.hashes) > 0) <= self.hash_tokens <= MAX_SIZE:
            raise TraceError(
                f"{self.name}: {len(self.hashes)} hashes of blocks of {self.hash_tokens} tokens"
            )
        self._check_range("hash_count", 0, len(self.hashes))
        end = self.hash_start.astype(np.int64) + self.hash_count
        wrong = (self.hash_start < 0) | (end > len(self.hashes))
        self._refuse(wrong, f"has hashes not among the {len(self.hashes)} there are")
        tokens = self.prompt_tokens.astype(np.int64) + self.output_tokens
        covered = self.hash_count.astype(np.int64) * self.hash_tokens
        self._refuse(covered >= tokens + max(self.hash_tokens, 1), "has more hashes than tokens")
        known = self.num_blocks
        if len(self.hashes) and (
            self.hashes.min() < 0
            or known > len(self.hashes)
            or (np.bincount(self.hashes, minlength=known) == 0).any()
        ):
            raise TraceError(f"{self.name}: the ids of hashes must be dense, from 0")

    def _check_range(self, column: str, low: int, high: int) -> None:
        values = getattr(self, column)
        self._refuse((values < low) | (values > high), f"has {column} not in {low} to {high}")

    def _refuse(self, wrong: NDArray[np.bool_], what: str, first: int = 0) -> None:
        if wrong.any():
            row = first + int(np.argmax(wrong))
            values = ", ".join(f"{column} {getattr(self, column)[row]}" for column in _COLUMNS)
            raise TraceError(f"{self.name}: request {row} {what} ({values})")


def _dense(labels: Int32, *, keep_none: bool = False) -> Int32:
    """Labels numbered anew from 0 in their order; -1 stays where it means none."""
    known, dense = np.unique(labels, return_inverse=True)
    none = int(keep_none and len(known) > 0 and known[0] < 0)
    return (dense - none).astype(np.int32)
