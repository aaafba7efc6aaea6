"""What generated serving traces look like: arrivals, lengths, turns and pauses, by name."""

import math
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from fleetgym.traces.errors import TraceError, nearest
from fleetgym.traces.schema import MAX_SIZE
from fleetgym.traces.schema_serving import TICK_NS, Int64

_TOML = Path(__file__).with_name("serving.toml")
_HORIZON_NS = 2**61  # arrivals and pauses, with room for a sum of two


@dataclass(frozen=True)
class RequestShape:
    """Single requests; serving.toml says what the fields mean."""

    rate_per_s: float
    arrival_cv: float
    max_prompt: int
    max_output: int
    lengths: tuple[tuple[float, float, float, float, float], ...]

    def __post_init__(self) -> None:
        shares = [kind[0] for kind in self.lengths if len(kind) == 5]
        if (
            not _positive(self.rate_per_s, self.arrival_cv)
            or not min(self.max_prompt, self.max_output) >= 1
            or not max(self.max_prompt, self.max_output) <= MAX_SIZE
            or not _positive(sum(shares))
            or len(shares) < len(self.lengths)
            or not all(0 <= value < math.inf for kind in self.lengths for value in kind)
        ):
            raise TraceError(
                f"{self}: it takes a positive rate and variation, maxima from 1 to {MAX_SIZE}, and "
                "kinds of five figures from 0, with a positive share among them"
            )


@dataclass(frozen=True)
class AgentShape:
    """Multi-turn programs; serving.toml says what the pairs mean."""

    rate_per_s: float  # programs that begin, a second
    arrival_cv: float
    mean_turns: float  # at least 1; the number is geometric, and cut where the context is full
    system_tokens: int  # of the prompt that all programs begin with
    new_tokens: tuple[float, float]  # in a turn: the task, or what a tool returned
    output_tokens: tuple[float, float]  # of a turn
    pause_s: tuple[float, float]  # a tool call between two turns
    max_new: int
    max_output: int
    max_context: int  # prompt and output of the last turn
    max_pause_s: float
    block_tokens: int  # of a prefix hash: a multiple of 16

    def __post_init__(self) -> None:
        pairs = (self.new_tokens, self.output_tokens, self.pause_s)
        if (
            not _positive(self.rate_per_s, self.arrival_cv, self.max_pause_s)
            or not 1 <= self.mean_turns < math.inf
            or not all(len(pair) == 2 and _positive(pair[0], 1 + pair[1]) for pair in pairs)
            or not all(pair[1] >= 0 for pair in pairs)
            or min(self.max_new, self.max_output, 1 + self.system_tokens) < 1
            or self.block_tokens < 16
            or self.block_tokens % 16
        ):
            raise TraceError(
                f"{self}: it takes positive rates, medians and maxima, deviations from 0, at least "
                "one turn, and blocks of a multiple of 16 tokens"
            )
        first = self.system_tokens + self.max_new + self.max_output
        if not first <= self.max_context <= MAX_SIZE:
            raise TraceError(
                f"a context of {self.max_context} tokens: a first turn may need "
                f"{self.system_tokens} + {self.max_new} + {self.max_output}, and {MAX_SIZE} is most"
            )


def request_shapes() -> dict[str, RequestShape]:
    """The shapes of single requests, by name."""
    return {name: RequestShape(**entry) for name, entry in _tables()["requests"].items()}


def agent_shapes() -> dict[str, AgentShape]:
    """The shapes of programs, by name."""
    return {name: AgentShape(**entry) for name, entry in _tables()["agents"].items()}


def unknown_shape(name: str) -> TraceError:
    """The error that no shape has this name; it says which was probably meant."""
    return TraceError(
        f"unknown serving workload {name!r}; {nearest(name, (*request_shapes(), *agent_shapes()))}"
    )


def gamma_arrivals(count: int, rate_per_s: float, cv: float, rng: np.random.Generator) -> Int64:
    """``(count,)`` ascending nanoseconds from 0: a renewal process with Gamma distributed gaps.

    Args:
        count: of arrivals.
        rate_per_s: a second, in the mean.
        cv: standard deviation / mean of the gaps.
        rng: draws them.

    Raises:
        TraceError: they would take longer than a trace can.
    """
    gaps = rng.gamma(1 / cv**2, cv**2 * 1e9 / rate_per_s, count)
    gaps[:1] = 0.0
    times = np.cumsum(gaps)
    if count and times[-1] > _HORIZON_NS:
        raise TraceError(f"{count} arrivals at {rate_per_s} a second take more than 70 years")
    return np.floor(times / TICK_NS).astype(np.int64) * TICK_NS


@cache
def _tables() -> dict[str, dict[str, dict[str, Any]]]:
    def frozen(value: Any) -> Any:
        return tuple(map(frozen, value)) if isinstance(value, list) else value

    tables = tomllib.loads(_TOML.read_text(encoding="utf-8"))
    return {
        kind: {
            name: {key: frozen(value) for key, value in entry.items()}
            for name, entry in named.items()
        }
        for kind, named in tables.items()
    }


def _positive(*values: float) -> bool:
    return all(0 < value < math.inf for value in values)
