from dataclasses import replace

import numpy as np
import pytest

from fleetgym.traces.errors import TraceError
from fleetgym.traces.formats import azure_llm
from fleetgym.traces.generators.agents import programs
from fleetgym.traces.generators.named_serving import synthesise
from fleetgym.traces.generators.serving import bursty, with_clients
from fleetgym.traces.generators.serving_shapes import (
    agent_shapes,
    gamma_arrivals,
    request_shapes,
)
from fleetgym.traces.splits import split_windows
from fleetgym.traces.stats_serving import stats

CONV = request_shapes()["azure-conv-like"]
AGENTS = agent_shapes()["agents"]


def digest(trace):
    return [
        getattr(trace, name).tolist()
        for name in ("arrival_ns", "prompt_tokens", "output_tokens", "pause_ns", "hashes", "client")
    ]


@pytest.mark.parametrize("name", [*request_shapes(), *agent_shapes()])
def test_same_seed_same_trace(name):
    one, again = (synthesise(name, count=40, seed=7) for _ in range(2))
    assert one.name == name
    assert digest(one) == digest(again)
    assert digest(one) != digest(synthesise(name, count=40, seed=8))
    from_generator = synthesise(name, count=40, seed=np.random.default_rng(7))
    assert digest(one) == digest(from_generator)
    assert not (one.arrival_ns % 1000).any()
    assert not (one.pause_ns % 1000).any()
    assert one.arrival_ns[0] == 0


@pytest.mark.parametrize("cv", [0.5, 1.0, 3.0])
def test_arrivals_have_their_rate_and_variation(cv):
    times = gamma_arrivals(100_000, 5.0, cv, np.random.default_rng(0))
    gaps = np.diff(times) / 1e9
    assert gaps.min() >= 0
    assert 1 / gaps.mean() == pytest.approx(5.0, rel=0.03)
    assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.03)


@pytest.mark.parametrize(("name", "cv"), [("azure-conv-like", 1.1), ("azure-code-like", 13.0)])
def test_presets_are_as_bursty_as_measured(name, cv):
    figures = stats(bursty(name, num_requests=200_000, seed=0))
    assert figures["arrival_cv"] == pytest.approx(cv, rel=0.05)
    assert figures["arrivals_per_s"] == pytest.approx(request_shapes()[name].rate_per_s, rel=0.06)


def test_azure_conv_like_is_like_azure_conv(real):
    trace, _ = azure_llm.read(real("serving/AzureLLMInferenceTrace_conv.csv.gz"))
    measured, made = stats(trace), stats(bursty("azure-conv-like", num_requests=50_000, seed=0))
    within = {"arrivals_per_s": 0.02, "arrival_cv": 0.02}
    for what in ("prompt", "output"):
        within |= {f"{what}_mean": 0.02, f"{what}_p50": 0.03, f"{what}_p90": 0.07}
        within |= {f"{what}_p99": 0.04, f"{what}_max": 0.2}  # an extreme of a sample varies
    for figure, tolerance in within.items():
        assert made[figure] == pytest.approx(measured[figure], rel=tolerance), figure


def test_azure_conv_like_ties_answers_to_prompts(real):
    trace, _ = azure_llm.read(real("serving/AzureLLMInferenceTrace_conv.csv.gz"))
    made = bursty("azure-conv-like", num_requests=50_000, seed=0)

    def tied(t):
        medians = [
            np.median(t.output_tokens[(t.prompt_tokens >= low) & (t.prompt_tokens < high)])
            for low, high in ((150, 300), (350, 450), (900, 1200), (4000, 4200))
        ]
        return np.corrcoef(t.prompt_tokens, t.output_tokens)[0, 1], medians

    (one, medians), (other, made_medians) = tied(trace), tied(made)
    assert one == pytest.approx(other, abs=0.02)
    assert made_medians == pytest.approx(medians, rel=0.2)


def test_lengths_stay_within_their_bounds():
    wide = replace(CONV, max_prompt=300, max_output=20, lengths=((1.0, 5.0, 9.0, 2.0, 9.0),))
    trace = bursty(wide, num_requests=5000, seed=0)
    assert (trace.prompt_tokens.min(), trace.prompt_tokens.max()) == (1, 300)
    assert (trace.output_tokens.min(), trace.output_tokens.max()) == (1, 20)


def turns_of(trace, first):
    rows = [first]
    while trace.next_turn[rows[-1]] >= 0:
        rows.append(int(trace.next_turn[rows[-1]]))
    return rows


def hashes_of(trace, row):
    start = trace.hash_start[row]
    return trace.hashes[start : start + trace.hash_count[row]].tolist()


def test_programs_grow_their_context_and_keep_its_prefix():
    trace = programs(replace(AGENTS, system_tokens=2050, block_tokens=16), num_programs=60, seed=3)
    shared = 2050 // 16
    seen = set(range(shared))
    rows = 0
    for program in range(60):
        turns = turns_of(trace, program)
        rows += len(turns)
        blocks = hashes_of(trace, turns[-1])
        assert blocks[:shared] == list(range(shared))
        assert seen.isdisjoint(blocks[shared:])
        seen.update(blocks[shared:])
        for row, after in zip(turns, [*turns[1:], None], strict=True):
            end = trace.prompt_tokens[row] + trace.output_tokens[row]
            assert len(hashes_of(trace, row)) == end // 16
            assert hashes_of(trace, row) == blocks[: end // 16]
            assert trace.prompt_tokens[row] > 2050
            assert end <= AGENTS.max_context
            if after is not None:
                assert 1 <= trace.prompt_tokens[after] - end <= AGENTS.max_new
                assert trace.pause_ns[after] <= AGENTS.max_pause_s * 1e9
    assert rows == len(trace)
    assert len(seen) == trace.num_blocks


def test_turns_and_pauses_are_distributed_as_asked():
    shape = replace(AGENTS, mean_turns=4.0, max_context=10**6, max_pause_s=1e9)
    trace = programs(shape, num_programs=5000, seed=0)
    turns = np.bincount(trace.program)
    assert turns.mean() == pytest.approx(4.0, rel=0.03)
    assert (turns == 1).mean() == pytest.approx(0.25, abs=0.02)  # geometric
    pauses = trace.pause_ns[trace.num_arrivals :] / 1e9
    assert np.median(pauses) == pytest.approx(1.5, rel=0.05)
    assert np.log(pauses).std() == pytest.approx(1.5, rel=0.03)
    assert trace.num_arrivals == trace.num_programs == 5000


def test_a_program_ends_where_its_context_is_full():
    trace = programs(replace(AGENTS, mean_turns=1e6), num_programs=20, seed=0)
    last = [turns_of(trace, program)[-1] for program in range(20)]
    room = AGENTS.max_context - trace.prompt_tokens[last] - trace.output_tokens[last]
    assert (room >= 0).all()
    assert room.mean() < AGENTS.max_new


def test_programs_without_a_system_prompt_share_nothing():
    trace = programs(replace(AGENTS, system_tokens=0, block_tokens=32), num_programs=9, seed=0)
    last = [hashes_of(trace, turns_of(trace, program)[-1]) for program in range(9)]
    assert sum(map(len, last)) == len({block for blocks in last for block in blocks})


def test_clients_are_zipf_and_programs_have_one():
    trace = with_clients(programs("agents", num_programs=3000, seed=0), 4, 1.0, seed=1)
    share = np.bincount(trace.client[:3000], minlength=4) / 3000
    assert share == pytest.approx(np.array([12, 6, 4, 3]) / 25, abs=0.03)
    for program in range(3000):
        assert len({int(trace.client[row]) for row in turns_of(trace, program)}) == 1
    even = with_clients(bursty("burstgpt-like", num_requests=8000, seed=0), 4, 0.0, seed=1)
    assert np.bincount(even.client) / 8000 == pytest.approx(np.full(4, 0.25), abs=0.02)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: synthesise("azure-conv", count=3, seed=0), "did you mean 'azure-conv-like'"),
        (lambda: programs("agent", num_programs=3, seed=0), "did you mean 'agents'"),
        (lambda: synthesise("burstgpt-like", count=0, seed=0), "num_requests=0"),
        (lambda: synthesise("agents", count=0, seed=0), "num_programs=0"),
        (lambda: replace(CONV, rate_per_s=0.0), "positive rate"),
        (lambda: replace(CONV, arrival_cv=float("nan")), "positive rate"),
        (lambda: replace(CONV, max_output=0), "maxima from 1"),
        (lambda: replace(CONV, max_prompt=2**40), "maxima from 1"),
        (lambda: replace(CONV, lengths=()), "kinds of five"),
        (lambda: replace(CONV, lengths=((1.0, 2.0),)), "kinds of five"),
        (lambda: replace(CONV, lengths=((1.0, 2.0, -1.0, 1.0, 1.0),)), "kinds of five"),
        (lambda: replace(AGENTS, mean_turns=0.5), "at least one turn"),
        (lambda: replace(AGENTS, block_tokens=24), "multiple of 16"),
        (lambda: replace(AGENTS, block_tokens=0), "multiple of 16"),
        (lambda: replace(AGENTS, pause_s=(0.0, 1.0)), "medians"),
        (lambda: replace(AGENTS, new_tokens=(1.0, -1.0)), "deviations from 0"),
        (lambda: replace(AGENTS, max_context=5000), "a context of 5000 tokens"),
        (lambda: gamma_arrivals(10, 1e-12, 1.0, np.random.default_rng(0)), "70 years"),
        (lambda: with_clients(bursty(CONV, num_requests=2, seed=0), 0, 1.0, 0), "0 clients"),
        (lambda: with_clients(bursty(CONV, num_requests=2, seed=0), 2, -1.0, 0), "skew -1.0"),
    ],
)
def test_what_cannot_be_drawn(make, message):
    with pytest.raises(TraceError, match=message):
        make()


@pytest.mark.parametrize("name", ["azure-conv-like", "agents"])
def test_train_and_test_windows_are_disjoint(name):
    trace = synthesise(name, count=1000, seed=2)
    length = 37
    train, test = (split_windows(trace, 2000, length, split, seed=0) for split in ("train", "test"))
    used = [{row + i for row in rows for i in range(length)} for rows in (train, test)]
    assert max(used[0]) + length < min(used[1])  # a window of rows between them
    time = trace.arrival_ns[: trace.num_arrivals]
    boundary = 0.6 * time[-1]
    assert time[max(used[0])] < boundary <= time[min(used[1])]
    assert min(used[0]) == 0
    assert max(used[1]) == trace.num_arrivals - 1
    for first in (*train[:3], *test[:3]):
        trace.window(int(first), length)
    assert (split_windows(trace, 5, length, "test", seed=0) == test[:5]).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1, 10, "tset"), "did you mean 'test'"),
        ((-1, 10, "test"), "-1 windows"),
        ((1, 0, "train"), "of 0 arrivals"),
        ((1, 700, "train"), "no train window of 700"),
        ((1, 300, "test"), "no test window of 300"),
    ],
)
def test_windows_that_cannot_be(arguments, message):
    trace = bursty("azure-conv-like", num_requests=1000, seed=2)
    with pytest.raises(TraceError, match=message):
        split_windows(trace, *arguments, seed=0)
