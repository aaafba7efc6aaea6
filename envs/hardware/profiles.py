"""Which measured profiles there are, and what they say of a model on a GPU."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl

from fleetgym.envs.hardware.all_reduce import AllReduce
from fleetgym.envs.hardware.attention import Attention, attention
from fleetgym.envs.hardware.devices import device, devices
from fleetgym.envs.hardware.fitting import Measured, fit_all_reduce
from fleetgym.envs.hardware.layers import Curve, Elementwise, composed, fit_elementwise, profiled
from fleetgym.envs.hardware.models import Model, model, models
from fleetgym.traces import catalog
from fleetgym.traces.formats import aiconfigurator, vidur_profiles

TP = (1, 2, 4, 8)
VIDUR_GPU = "a100"
VIDUR_MODELS = ("llama-2-7b", "llama-3-8b")
UTILISATION = 0.9  # of the memory, that a model's weights may take at most
GEMM, ALL_REDUCE = "gemm", "all-reduce"
CONTEXT, GENERATION = "context-attention", "generation-attention"
READERS: dict[str, Callable[[Path], pl.DataFrame]] = {
    GEMM: aiconfigurator.read_gemm,
    ALL_REDUCE: aiconfigurator.read_all_reduce,
    CONTEXT: aiconfigurator.read_context_attention,
    GENERATION: aiconfigurator.read_generation_attention,
}


def all_reduces() -> Iterator[tuple[str, AllReduce]]:
    """Every GPU and its all-reduce at every degree of tensor parallelism, fitted.

    Raises:
        TraceError: a profile is not here or malformed.
    """
    for gpu in devices():
        for tp in TP[1:]:
            yield (
                gpu,
                fit_all_reduce(_sweep(gpu, ALL_REDUCE), tp, _source(_sweep_name(gpu, ALL_REDUCE))),
            )


def combinations() -> Iterator[tuple[str, str, int]]:
    """Every (model, gpu, tp) that can be split so, is dense, and whose weights fit."""
    for name, shape in models().items():
        if shape.experts > 1:  # no kernel of experts was measured
            continue
        for gpu, its in devices().items():
            for tp in TP:
                split = shape.heads % tp == 0
                if split and shape.weight_bytes(tp) <= UTILISATION * its.memory_bytes:
                    yield name, gpu, tp


def measured(name: str, gpu: str, tp: int, reduce: AllReduce | None) -> Measured | None:
    """The kernels of a model on a GPU.

    Args:
        name: of the model.
        gpu: name of the GPU.
        tp: GPUs the model is split over.
        reduce: how they add up their parts, twice a layer; None for one GPU.

    Returns:
        None where its attention is not among what was measured.

    Raises:
        TraceError: a profile is not here or malformed.
    """
    shape = model(name)
    prefill = attention(_sweep(gpu, CONTEXT), shape, tp, "tokens")
    decode = attention(_sweep(gpu, GENERATION), shape, tp, "keys")
    if prefill is None or decode is None:
        return None
    if gpu == VIDUR_GPU and name in VIDUR_MODELS:
        curve, files = profiled(_vidur(name), shape, tp), [_vidur_name(name)]
    else:
        curve = composed(_sweep(gpu, GEMM), _elementwise(gpu), shape, tp)
        files = [_sweep_name(gpu, GEMM), *map(_vidur_name, VIDUR_MODELS)]
    if reduce is not None:
        message = curve.tokens * (shape.hidden * shape.dtype_bytes)
        curve = Curve(curve.tokens, curve.ms + 2 * shape.layers * reduce.milliseconds(message))
        files.append(_sweep_name(gpu, ALL_REDUCE))
    files += [_sweep_name(gpu, CONTEXT), _sweep_name(gpu, GENERATION)]
    sources = tuple(_source(file) for file in sorted(files))
    longest = float(curve.tokens[-1])
    return Measured(
        curve,
        _possible(prefill, shape, gpu, tp, most_tokens=longest),
        _possible(decode, shape, gpu, tp, most_requests=longest),
        sources,
    )


def _possible(
    points: Attention,
    shape: Model,
    gpu: str,
    tp: int,
    *,
    most_tokens: float = np.inf,
    most_requests: float = np.inf,
) -> Attention:
    """The points the model can meet: sequences of its context, and a KV cache that fits."""
    blocks = shape.kv_blocks(device(gpu).memory_bytes, UTILISATION, tp, block_tokens=1)
    tokens = points.batch * points.length
    fits = (points.length <= shape.context) & (tokens <= min(blocks, most_tokens))
    return points.only(fits & (points.batch <= most_requests))


def _source(name: str) -> str:
    return f"{name}@{catalog.entry(name).commit[:12]}"


def _sweep_name(gpu: str, kind: str) -> str:
    return f"aiconfigurator-{gpu}-{kind}"


def _vidur_name(name: str) -> str:
    return f"vidur-{VIDUR_GPU}-{name}"


@cache
def _sweep(gpu: str, kind: str) -> pl.DataFrame:
    return READERS[kind](catalog.find(_sweep_name(gpu, kind)))


@cache
def _vidur(name: str) -> pl.DataFrame:
    return vidur_profiles.read(catalog.find(_vidur_name(name)))


@cache
def _elementwise(gpu: str) -> Elementwise:
    """Vidur's element-wise kernels, scaled to another GPU by its memory bandwidth."""
    ratio = device(gpu).memory_bandwidth_gb_s / device(VIDUR_GPU).memory_bandwidth_gb_s
    return fit_elementwise([(_vidur(name), model(name)) for name in VIDUR_MODELS]).on(ratio)
