"""How long one iteration of a serving engine takes, by what it computes.

With n tokens scheduled, prefill requests of c new tokens on k cached ones, and B decode requests
whose contexts k + 1 sum to KV::

    t = [floor^p + (c0 + c1 n)^p]^(1/p)
        + [any prefill] (a0 + a1 sum c + a2 sum((k + c)^2 - k^2))
        + [B > 0] (d0 + d1 B + d2 KV)

The first term is what runs over all tokens alike: reading the weights is its floor, multiplying
them its slope. The others are attention. `coefficients.toml` holds what
``python -m fleetgym.scripts.fit_hardware`` fitted to measured kernels, and how well.
"""

import math
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fleetgym.envs.core.errors import ScenarioError
from fleetgym.envs.core.tables import from_table
from fleetgym.traces.errors import nearest

TOML = Path(__file__).with_name("coefficients.toml")
PS_PER_MS = 1_000_000_000
MOST_P, MOST_MS = 16, 1e6  # powers of times stay far from overflow

Int64 = NDArray[np.int64]
Float64 = NDArray[np.float64]
V = TypeVar("V")


@dataclass(frozen=True, eq=False)
class IterationTable:
    """`IterationTime` in whole picoseconds, for kernels: sums of it are exact.

    Attributes:
        first: the first term by the tokens scheduled, ``(max_tokens + 1,)``, read-only.
        a0_ps, a1_ps, a2_ps: of prefill: once, for each new token, for each pair of tokens.
        d0_ps, d1_ps, d2_ps: of decode: once, for each request, for each token of context.
    """

    first: Int64
    a0_ps: int
    a1_ps: int
    a2_ps: int
    d0_ps: int
    d1_ps: int
    d2_ps: int


@dataclass(frozen=True)
class IterationTime:
    """The coefficients, in ms; the module's docstring has the formula.

    Raises:
        ScenarioError: one is out of range.
    """

    p: int
    floor_ms: float
    c0_ms: float
    c1_ms_per_token: float
    a0_ms: float
    a1_ms_per_token: float
    a2_ms_per_pair: float
    d0_ms: float
    d1_ms_per_request: float
    d2_ms_per_token: float

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            low, high = (1, MOST_P) if field.name == "p" else (0, MOST_MS)
            if not low <= value <= high:
                raise ScenarioError(
                    f"iteration time: {field.name} is {value!r}, it must be from {low} to {high:g}"
                )

    def first_ms(self, tokens: Float64) -> Float64:
        """The first term in ms for numbers of tokens scheduled, any shape."""
        work = self.c0_ms + self.c1_ms_per_token * tokens
        total: Float64 = (self.floor_ms**self.p + work**self.p) ** (1 / self.p)
        return total

    def prefill_ms(self, new: Float64, pairs: Float64) -> Float64:
        """What prefill adds in ms, any shape: ``new`` is sum c, ``pairs`` sum((k + c)^2 - k^2)."""
        return self.a0_ms + self.a1_ms_per_token * new + self.a2_ms_per_pair * pairs

    def decode_ms(self, requests: Float64, context: Float64) -> Float64:
        """What decode adds in ms, any shape: ``context`` is KV, the sum of k + 1."""
        return self.d0_ms + self.d1_ms_per_request * requests + self.d2_ms_per_token * context

    def seconds(self, prefill: Iterable[tuple[int, int]] = (), decode: Iterable[int] = ()) -> float:
        """Seconds of one iteration.

        Args:
            prefill: cached and new tokens (k, c) of each prefill request.
            decode: cached tokens k of each decode request.
        """
        chunks, cached = list(prefill), list(decode)
        new = sum(c for _, c in chunks)
        total = self.first_ms(np.array(new + len(cached), np.float64))
        if chunks:
            pairs = sum((k + c) ** 2 - k**2 for k, c in chunks)
            total = total + self.prefill_ms(*np.array([new, pairs], np.float64)[:, None])
        if cached:
            sizes = np.array([len(cached), sum(cached) + len(cached)], np.float64)
            total = total + self.decode_ms(*sizes[:, None])
        return total.item() * 1e-3

    def quantised(self, max_tokens: int, stack_overhead: float = 1.0) -> IterationTable:
        """In whole picoseconds, rounded, for up to ``max_tokens`` scheduled in an iteration.

        Args:
            max_tokens: the most tokens an iteration computes.
            stack_overhead: multiplies everything: what a serving stack costs above its kernels.

        Raises:
            ScenarioError: ``max_tokens`` is below 1, or ``stack_overhead`` not above 0.
        """
        if max_tokens < 1 or not 0 < stack_overhead < math.inf:
            raise ScenarioError(
                f"max_tokens={max_tokens}, stack_overhead={stack_overhead}: expected at least 1 "
                "token and a finite overhead above 0"
            )
        scale = PS_PER_MS * stack_overhead
        tokens = np.arange(max_tokens + 1, dtype=np.float64)
        first = np.rint(scale * self.first_ms(tokens)).astype(np.int64)
        first.flags.writeable = False
        return IterationTable(
            first,
            *(
                round(scale * value)
                for value in (
                    self.a0_ms,
                    self.a1_ms_per_token,
                    self.a2_ms_per_pair,
                    self.d0_ms,
                    self.d1_ms_per_request,
                    self.d2_ms_per_token,
                )
            ),
        )


@dataclass(frozen=True)
class Calibration:
    """Coefficients and what they rest on.

    Attributes:
        time: the coefficients.
        sources: files they are fitted to, ``name@commit`` of the trace catalogue.
        fitted, held_out: how many measured points of all kinds.
        first_error_percent: mean absolute percentage error of the first term, points held out.
        prefill_error_percent: the same of whole iterations of prefill.
        decode_error_percent: the same of whole iterations of decode.
    """

    time: IterationTime
    sources: tuple[str, ...]
    fitted: int
    held_out: int
    first_error_percent: float
    prefill_error_percent: float
    decode_error_percent: float


@cache
def calibrations() -> dict[tuple[str, str, int], Calibration]:
    """Every calibration by (model, gpu, tp)."""
    models = tomllib.loads(TOML.read_text(encoding="utf-8"))
    return {
        (model, gpu, int(group.removeprefix("tp"))): from_table(
            Calibration, table, f"{TOML}: {model}.{gpu}.{group}"
        )
        for model, gpus in models.items()
        for gpu, groups in gpus.items()
        for group, table in groups.items()
    }


def load(model: str, gpu: str, tp: int) -> IterationTime:
    """The coefficients of a model on some GPUs, as of "llama-3-8b", "a100", 1.

    Args:
        model: a name of `fleetgym.envs.hardware.models`.
        gpu: a name of `fleetgym.envs.hardware.devices`.
        tp: GPUs the model is split over (tensor parallelism).

    Raises:
        ScenarioError: nobody measured it; the message names what there is.
    """
    known = calibrations()
    if model not in (names := {each for each, _, _ in known}):
        raise ScenarioError(f"no iteration times of model {model!r}: {nearest(model, names)}")
    if gpu not in (names := {each for of, each, _ in known if of == model}):
        raise ScenarioError(f"no iteration times of {model} on GPU {gpu!r}: {nearest(gpu, names)}")
    if (model, gpu, tp) not in known:
        degrees = sorted(each for of, on, each in known if (of, on) == (model, gpu))
        raise ScenarioError(
            f"no iteration times of {model} on {gpu} at tp={tp}; measured: tp {degrees}"
        )
    return known[model, gpu, tp].time
