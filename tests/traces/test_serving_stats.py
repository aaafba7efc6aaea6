import numpy as np
import pytest

from fleetgym.traces.formats import mooncake
from fleetgym.traces.generators.agents import programs
from fleetgym.traces.schema_serving import ServingTrace
from fleetgym.traces.stats_serving import stats


def regular(gaps_s, tokens):
    arrival = np.cumsum([0, *gaps_s]) * 10**9
    prompt = np.array(tokens, np.int32)
    return ServingTrace.independent("t", arrival, prompt, prompt * 2).validate()


def test_figures_of_single_requests():
    figures = stats(regular([1, 3, 1, 3], [1, 2, 3, 4, 10]))
    assert (figures["requests"], figures["arrivals"], figures["clients"]) == (5, 5, 1)
    assert (figures["duration_s"], figures["arrivals_per_s"]) == (8.0, 0.5)
    assert figures["arrival_cv"] == 0.5
    assert figures["burstiness"] == pytest.approx(-1 / 3)
    assert (figures["prompt_mean"], figures["prompt_p50"], figures["prompt_max"]) == (4, 3, 10)
    assert figures["output_p90"] == pytest.approx(2 * figures["prompt_p90"])
    assert not {"with_hashes", "programs", "pause_s_p50"} & set(figures)


def test_even_arrivals_are_not_bursty():
    assert stats(regular([2, 2, 2], [1, 1, 1, 1]))["burstiness"] == -1


def test_no_rate_without_time():
    assert "arrivals_per_s" not in stats(regular([], [5]))
    assert "arrivals_per_s" not in stats(regular([0], [5, 5]))


def test_figures_of_programs():
    trace = programs("agents", num_programs=40, seed=0)
    figures = stats(trace)
    assert figures["programs"] == figures["arrivals"] == 40
    assert figures["turns_mean"] == pytest.approx(len(trace) / 40)
    assert figures["with_hashes"] == 1.0
    assert figures["block_tokens"] == 256
    seen, again, blocks = set(), 0, 0
    for start, count in zip(trace.hash_start, trace.hash_count, strict=True):
        ids = trace.hashes[start : start + count].tolist()
        again += len(seen & set(ids))
        blocks += len(ids)
        seen.update(ids)
    assert figures["prefix_reuse"] == pytest.approx(again / blocks)
    pauses = trace.pause_ns[40:] / 1e9
    assert figures["pause_s_p99"] == pytest.approx(np.quantile(pauses, 0.99))


def test_real_mooncake(real):
    figures = stats(mooncake.read(real("serving/mooncake_conversation_trace.jsonl.gz"))[0])
    assert figures["prefix_reuse"] == pytest.approx(1 - 182_790 / 288_500)
    assert figures["prompt_mean"] == pytest.approx(12_035.06, abs=0.01)
