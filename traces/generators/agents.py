"""Synthesised multi-turn programs of agents: contexts that grow, tools that take their time."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fleetgym.traces.errors import TraceError
from fleetgym.traces.generators.serving import lognormal
from fleetgym.traces.generators.serving_shapes import (
    AgentShape,
    agent_shapes,
    gamma_arrivals,
    unknown_shape,
)
from fleetgym.traces.schema import Int32
from fleetgym.traces.schema_serving import TICK_NS, Int64, ServingTrace


class _Turns(NamedTuple):
    """T turns, those of a program one after the other."""

    program: Int64  # (T,)
    prompt: Int64  # (T,)
    output: Int64  # (T,)
    pause_ns: Int64  # (T,) before the turn; 0 before a first


def programs(
    shape: str | AgentShape, *, num_programs: int, seed: int | np.random.Generator
) -> ServingTrace:
    """Programs that call a model, then a tool, then the model again with all that went before.

    The prompt of a turn is the prompt and output of the one before and new tokens; the first begins
    with the system prompt that all programs share. A turn's hashes name the full blocks of its
    prompt and output, so the next turn's list goes on where it ends; programs share the blocks that
    lie inside the system prompt, and no others. A program ends before its context would overflow.

    Args:
        shape: what to draw, or its name in serving.toml.
        num_programs: at least 1; they begin with Gamma distributed gaps.
        seed: of everything drawn.

    Raises:
        TraceError: an unknown name, or an argument is out of range.
    """
    if num_programs < 1:
        raise TraceError(f"num_programs={num_programs}: expected at least 1")
    name = shape if isinstance(shape, str) else "programs"
    if isinstance(shape, str):
        if shape not in agent_shapes():
            raise unknown_shape(shape)
        shape = agent_shapes()[shape]
    rng = np.random.default_rng(seed)
    arrival = gamma_arrivals(num_programs, shape.rate_per_s, shape.arrival_cv, rng)
    turns = _draw(shape, num_programs, rng)
    first = np.diff(turns.program, prepend=-1) > 0
    order = np.append(np.flatnonzero(first), np.flatnonzero(~first))
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    follows = np.append(~first[1:], False)  # the next of the turns is of the same program
    next_turn = np.where(follows, np.append(place[1:], -1), -1)
    trace = ServingTrace.independent(
        name,
        np.append(arrival, np.zeros(len(order) - num_programs, np.int64)),
        turns.prompt[order].astype(np.int32),
        turns.output[order].astype(np.int32),
    )
    trace = replace(
        trace,
        program=turns.program[order].astype(np.int32),
        next_turn=next_turn[order].astype(np.int32),
        pause_ns=turns.pause_ns[order],
    )
    return _with_hashes(trace, shape).validate()


def _draw(shape: AgentShape, num_programs: int, rng: np.random.Generator) -> _Turns:
    count = rng.geometric(1 / shape.mean_turns, num_programs)
    # Each turn grows the context by two tokens or more: more turns than this never fit.
    count = np.minimum(count, (shape.max_context - shape.system_tokens) // 2)
    program = np.repeat(np.arange(num_programs), count)
    new = _tokens(shape.new_tokens, len(program), rng, shape.max_new)
    output = _tokens(shape.output_tokens, len(program), rng, shape.max_output)
    ticks_in_s = 1e9 / TICK_NS
    median, deviation = shape.pause_s
    pause_s = np.minimum(median * rng.lognormal(0, deviation, len(program)), shape.max_pause_s)
    pause = np.floor(pause_s * ticks_in_s).astype(np.int64) * TICK_NS
    pause[np.diff(program, prepend=-1) > 0] = 0
    grown = np.cumsum(new + output, dtype=np.int64)
    starts = np.cumsum(count) - count
    before = np.append(0, grown)[starts]  # of all the programs above
    context = shape.system_tokens + grown - np.repeat(before, count)  # at the end of the turn
    kept = context <= shape.max_context
    return _Turns(program[kept], (context - output)[kept], output[kept], pause[kept])


def _tokens(
    about: tuple[float, float], count: int, rng: np.random.Generator, high: int
) -> NDArray[np.int64]:
    median, deviation = about
    log_mean, log_deviation = np.full(count, np.log(median)), np.full(count, deviation)
    return lognormal(log_mean, log_deviation, rng, high).astype(np.int64)


def _with_hashes(trace: ServingTrace, shape: AgentShape) -> ServingTrace:
    """Names every full block of each turn's prompt and output, those of the system prompt alike."""
    shared = shape.system_tokens // shape.block_tokens
    tokens = trace.prompt_tokens.astype(np.int64) + trace.output_tokens
    count = tokens // shape.block_tokens
    most = np.zeros(trace.num_programs, np.int64)
    np.maximum.at(most, trace.program, count)
    own = most - shared  # blocks that only this program has; the system prompt is in every turn
    base = shared + np.cumsum(own) - own
    start = np.cumsum(count) - count
    number = np.arange(int(count.sum())) - np.repeat(start, count)  # of the block in its turn
    ids = number + np.repeat(base[trace.program] - shared, count)
    hashes: Int32 = np.where(number < shared, number, ids).astype(np.int32)
    return replace(
        trace,
        hash_start=start.astype(np.int32),
        hash_count=count.astype(np.int32),
        hashes=hashes,
        hash_tokens=shape.block_tokens if len(hashes) else 0,
    )
