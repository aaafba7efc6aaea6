"""Routing traces: read in blocks, faults named with their place; generated as local as said."""

import gzip
import json

import numpy as np
import pytest

from fleetgym.traces.errors import TraceError
from fleetgym.traces.formats import routing as reader
from fleetgym.traces.generators.expert_routing import Locality, locality, routing
from fleetgym.traces.schema_routing import FULL, Routing, batched, single_tokens
from fleetgym.traces.stats_routing import activated, reuse, skew, stats

NO_SCORES = np.zeros((0, 0, 0), np.uint16)
LISTS = [[[3, 1], [0, 2]], [[1, 0], [2, 3]], [[12, 1], [0, 31]]]


@pytest.fixture
def written(tmp_path):
    def write(content, name="trace.json"):
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


def document(**changes):
    said = {"expertsPerLayer": 32, "layers": 2, "tokens": 3, "topK": 2, "note": '[a] "b"'}
    return {**said, "selections": LISTS, "model": {"id": "x[y]"}} | changes


@pytest.mark.parametrize("block", [8, 13, 1 << 22])
@pytest.mark.parametrize("indent", [None, 2])
def test_reads_what_json_reads(written, monkeypatch, block, indent):
    monkeypatch.setattr(reader, "_BLOCK", block)
    for content in (document(), LISTS):
        trace = reader.read(written(json.dumps(content, indent=indent)))
        assert trace.experts.tolist() == LISTS
        assert trace.num_experts == 32
        assert (trace.counts == 1).all()
    assert reader.read(written(LISTS), num_experts=64).num_experts == 64


def test_gzip_and_report(tmp_path):
    path = tmp_path / "trace.json.gz"
    path.write_bytes(gzip.compress(json.dumps(document()).encode()))
    trace, report = reader.read_with_report(path)
    assert trace.name == "trace"
    assert "3 x 2 x 2 (tokens x layers x k), 32 experts" in str(report)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(TraceError, match="cut off or corrupt"):
        reader.read(path)


def test_switch_base_8(real):
    trace = reader.read(real("moe/switch_base_8_router_trace_v2.json"))
    assert trace.experts.shape == (215, 6, 1)
    assert trace.num_experts == 8
    assert trace.experts[0, :, 0].tolist() == [7, 0, 2, 1, 3, 7]
    assert activated(trace).any(axis=0).all(), "every expert is used in every layer"
    assert reuse(trace) == pytest.approx(0.182, abs=0.001)


TEXT = json.dumps(document())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no list of tokens"),
        ("{}", "no list of tokens, and no 'selections'"),
        ("[]", "the trace is empty"),
        ("[[]]", "the trace is empty"),
        ("[[[]]]", "the trace is empty"),
        (document(selections=[]), "the trace is empty"),
        (TEXT[: TEXT.index("12,")], r"cut off after \d+ bytes, in token 2"),
        (TEXT[:-5], "around 'selections'"),
        ("[[[1, 2]], [[3, NaN]]]", r"byte 16: 'N' in the selections"),
        ("[[[1, 2]], [[3, 1.5]]]", r"byte 17: '\.' in the selections"),
        ("[[[1, 2]], [[3, -1]]]", r"'-' in the selections"),
        ('[[[1, 2]], [[3, "4"]]]', "in the selections"),
        ("[[[[1]]]]", r"'\[' in the selections"),
        ("[[[1, 2]], [3, 4]]", "not in a list"),
        ("[[[1, 2]], [[3, 123456]]]", "a number too large"),
        ("[[[1, 2]], [[3, 40000]]]", "expert 40000"),
        ("[[[1, 2]], [[3, 4], [5, 6]]]", "token 1 has 2 layers, those before 1"),
        ("[[[1, 2]], [[3]]]", "token 1, layer 0 has 1 experts, those before 2"),
        ("[[[1 2]], [[3, 4]]]", "commas are missing"),
        ("[[[1,, 2]], [[3, 4]]]", "commas are missing, or too many"),
        ("[[[1, 1]], [[3, 4]]]", "token 0, layer 0 has an expert twice"),
        ("[[[1, 2]], [[3, 4]]] []", "follows the list"),
        (document(expertsPerLayer=31), "token 2, layer 1 has an expert out of range"),
        (document(layers=3), "it says layers 3, but holds 2"),
    ],
)
def test_faults_are_named(written, content, message):
    with pytest.raises(TraceError, match=message):
        reader.read(written(content))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"experts": np.zeros((2, 0, 1), np.int16)}, "at least one token"),
        ({"num_experts": 0}, "0 experts a layer"),
        ({"counts": np.zeros((2, 1, 2), np.int16)}, "a token count"),
        ({"counts": np.ones((2, 1, 1), np.int16)}, "counts"),
        ({"experts": np.full((2, 1, 2), -1, np.int16)}, "a gap"),
        ({"scores": np.zeros((2, 1, 3), np.uint16)}, r"scores have shape \(2, 1, 3\)"),
    ],
)
def test_arrays_that_do_not_fit(change, message):
    experts = np.array([[[1, 0]], [[2, 3]]], np.int16)
    fields = {"name": "x", "num_experts": 4, "experts": experts}
    fields |= {"counts": np.ones((2, 1, 2), np.int16), "scores": NO_SCORES}
    Routing(**fields).validate()
    with pytest.raises(TraceError, match=message):
        Routing(**(fields | change)).validate()


@pytest.mark.parametrize(("name", "due"), [("low", 0.21), ("medium", 0.46), ("high", 0.69)])
@pytest.mark.parametrize(("experts", "active"), [(64, 6), (64, 8), (8, 2), (16, 2)])
def test_generated_routing_is_as_local_as_said(name, due, experts, active):
    """Seeds that the fit has not seen."""
    drawn = [
        routing(
            tokens=256, layers=8, num_experts=experts, top_k=active,
            locality=locality(name, experts, active), seed=seed,
        )
        for seed in range(100, 108)
    ]  # fmt: skip
    assert np.mean([reuse(trace) for trace in drawn]) == pytest.approx(due, abs=0.02)


def test_popularity_skews():
    flat, skewed = (
        routing(
            tokens=200, layers=4, num_experts=64, top_k=6,
            locality=Locality(popularity, 0.0, 0.0, 0.0), seed=0,
        )
        for popularity in (0.0, 1.0)
    )  # fmt: skip
    assert skew(flat) < 0.4 < 0.7 < skew(skewed)
    assert stats(flat)["requests"] == 200 * 4 * 6


def test_router_order_and_scores():
    trace = routing(
        tokens=20, layers=2, num_experts=16, top_k=2, locality=locality("medium", 16, 2), seed=3
    )
    scores = np.take_along_axis(trace.scores, trace.experts.astype(np.int64), axis=2)
    assert (np.diff(scores.astype(int), axis=2) <= 0).all(), "the best first"
    assert (scores[:, :, -1] >= np.sort(trace.scores, axis=2)[:, :, -2]).all()
    assert np.abs(trace.scores.sum(axis=2, dtype=int) - FULL).max() < 16


def test_the_same_seed_is_the_same_routing():
    one, same, other = (
        routing(
            tokens=9, layers=2, num_experts=8, top_k=2, locality=locality("low", 8, 2), seed=seed
        ).experts
        for seed in (4, 4, 5)
    )
    assert (one == same).all()
    assert (one != other).any()


def test_a_batch_activates_the_union():
    def one(rows):
        return single_tokens("x", 4, np.array(rows, np.int16), np.full((1, 1, 4), 100, np.uint16))

    trace = batched([one([[[2, 0]]]), one([[[0, 3]]])])
    assert trace.experts.tolist() == [[[2, 0, 3, -1]]]
    assert trace.counts.tolist() == [[[1, 2, 1, 0]]]
    assert (trace.scores == 100).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tokens": 0}, "must be positive"),
        ({"top_k": 8}, "fewer experts activated"),
        ({"batch": 0}, "batch 0"),
    ],
)
def test_bad_sizes(arguments, message):
    sizes = {"tokens": 3, "layers": 1, "num_experts": 8, "top_k": 2, "seed": 0}
    with pytest.raises(TraceError, match=message):
        routing(**(sizes | {"locality": locality("low", 8, 2)} | arguments))


def test_localities_that_nobody_fitted():
    with pytest.raises(TraceError, match="unknown locality 'hihg': did you mean 'high'"):
        locality("hihg", 8, 2)
    with pytest.raises(TraceError, match=r"was fitted to 64x6, .*, not 32x4"):
        locality("high", 32, 4)
