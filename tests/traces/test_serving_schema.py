import zipfile
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetgym.traces import npz, npz_serving
from fleetgym.traces.catalog import load, load_serving
from fleetgym.traces.errors import TraceError
from fleetgym.traces.generators.agents import programs
from fleetgym.traces.generators.serving import bursty, with_clients
from fleetgym.traces.generators.vm_fleet import matched
from fleetgym.traces.npz import fleet_to_npz
from fleetgym.traces.schema_serving import ServingTrace


def ints(*values):
    return np.array(values, np.int32)


def small():
    """Arrivals: program 1, a single request, program 0, of which 1 has three turns and 0 two."""
    return ServingTrace(
        name="small",
        arrival_ns=np.array([5, 7, 7, 0, 0, 0], np.int64) * 1000,
        prompt_tokens=ints(40, 20, 30, 60, 90, 50),
        output_tokens=ints(10, 5, 10, 10, 10, 1),
        client=ints(2, 0, 1, 2, 2, 1),
        program=ints(1, -1, 0, 1, 1, 0),
        next_turn=ints(3, -1, 5, 4, -1, -1),
        pause_ns=np.array([0, 0, 0, 1000, 2000, 3000], np.int64),
        hash_start=ints(0, 0, 3, 5, 9, 15),
        hash_count=ints(3, 0, 2, 4, 6, 3),
        hashes=ints(0, 1, 2, 0, 6, 0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 0, 6, 7),
        hash_tokens=16,
    )


def same(one, other):
    for field in fields(ServingTrace):
        a, b = getattr(one, field.name), getattr(other, field.name)
        assert np.array_equal(a, b), field.name
        assert not isinstance(a, np.ndarray) or a.dtype == b.dtype, field.name


def test_counts():
    trace = small().validate()
    assert len(trace) == 6
    assert (trace.num_arrivals, trace.num_programs, trace.num_blocks) == (3, 2, 8)
    assert trace.renamed("other").name == "other"


def test_a_request_takes_at_most_64_bytes():
    trace = small()
    columns = [getattr(trace, f.name) for f in fields(trace) if f.name not in ("hashes",)]
    assert sum(c.itemsize for c in columns if isinstance(c, np.ndarray)) <= 64


def test_a_window_takes_whole_programs_and_starts_at_0():
    window = small().window(1, 2).validate()
    assert window.arrival_ns.tolist() == [0, 0, 0]
    assert window.prompt_tokens.tolist() == [20, 30, 50]
    assert window.program.tolist() == [-1, 0, 0]
    assert window.next_turn.tolist() == [-1, 2, -1]
    assert window.client.tolist() == [0, 1, 1]
    assert window.pause_ns.tolist() == [0, 0, 3000]
    assert window.hash_start.tolist() == [0, 0, 2]
    assert window.hashes.tolist() == [0, 1, 0, 1, 2]
    assert window.hash_tokens == 16


def test_windows_of_every_kind():
    trace = small()
    first = trace.window(0, 1).validate()
    assert first.program.tolist() == [0, 0, 0]
    assert first.next_turn.tolist() == [1, 2, -1]
    single = trace.window(1, 1).validate()
    assert (len(single), single.num_blocks, single.arrival_ns.tolist()) == (1, 0, [0])
    whole = trace.window(0, 3).validate()
    assert whole.arrival_ns[:3].tolist() == [0, 2000, 2000]
    assert whole.hashes.tolist() == trace.hashes.tolist()


@pytest.mark.parametrize(("first", "count"), [(0, 4), (3, 1), (-1, 2), (0, 0), (2, -1)])
def test_a_window_that_is_not_there(first, count):
    with pytest.raises(TraceError, match=rf"no window of {count} arrivals from row {first}"):
        small().window(first, count)


def test_windows_together_are_the_trace():
    trace = with_clients(programs("agents", num_programs=30, seed=4), 3, 1.0, 5)
    parts = [trace.window(first, 10).validate() for first in (0, 10, 20)]
    assert sum(map(len, parts)) == len(trace)
    for part, first in zip(parts, (0, 10, 20), strict=True):
        assert (
            np.diff(part.arrival_ns[:10]) == np.diff(trace.arrival_ns[first : first + 10])
        ).all()
        row, own = first, 0
        for _ in range(10):
            at, here = row, own
            while at >= 0:
                assert part.prompt_tokens[here] == trace.prompt_tokens[at]
                assert part.hash_count[here] == trace.hash_count[at]
                at, here = trace.next_turn[at], part.next_turn[here]
            assert here < 0
            row, own = row + 1, own + 1


@pytest.mark.parametrize(
    ("column", "row", "value", "message"),
    [
        ("prompt_tokens", 4, 0, "request 4 has prompt_tokens not in 1 to"),
        ("output_tokens", 0, -1, "request 0 has output_tokens not in 1 to"),
        ("client", 1, -1, "request 1 has client not in 0 to"),
        ("arrival_ns", 0, -1, "request 0 has arrival_ns not in 0 to"),
        ("arrival_ns", 2, 6000, "request 2 arrives before the one before it"),
        ("pause_ns", 3, -1, "request 3 has pause_ns not in 0 to"),
        ("pause_ns", 0, 5, "request 0 is a first turn and yet has a pause"),
        ("next_turn", 0, 9, "request 0 has next_turn not in"),
        ("next_turn", 0, 2, "request 0 has a next turn that is not below it, or among the 3 first"),
        ("next_turn", 3, 3, "request 3 has a next turn that is not below it"),
        ("next_turn", 1, 4, "request 1 has a next turn that is not below it"),
        ("next_turn", 3, 5, "request 3 has a next turn of another program"),
        ("next_turn", 0, 4, "request 3 is not the next turn of exactly one other"),
        ("program", 0, 0, "request 0 has a next turn of another program"),
        ("program", 1, 1, "programs of the first turns must be 0 to 2"),
        ("program", 1, -2, "request 1 has program not in"),
        ("hash_start", 5, 16, "request 5 has hashes not among the 18"),
        ("hash_start", 0, -1, "request 0 has hashes not among the 18"),
        ("hash_count", 2, -1, "request 2 has hash_count not in"),
        ("hash_count", 0, 5, "request 0 has more hashes than tokens"),
    ],
)
def test_a_wrong_request_is_named(column, row, value, message):
    values = getattr(small(), column).copy()
    values[row] = value
    with pytest.raises(TraceError, match=message):
        replace(small(), **{column: values}).validate()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"client": ints(0)}, "6 arrivals, but 1 client"),
        ({"hash_tokens": 0}, "hashes of blocks of 0 tokens"),
        ({"hash_tokens": 2**40}, "hashes of blocks of"),
        ({"hash_tokens": -1, "hashes": ints(), "hash_count": ints(*[0] * 6)}, "blocks of -1"),
        ({"hashes": small().hashes * 2}, "must be dense"),
        ({"hashes": small().hashes + 1}, "must be dense"),
        ({"hashes": small().hashes - 1}, "must be dense"),
        ({"hashes": small().hashes * 1000}, "must be dense"),
    ],
)
def test_a_wrong_trace_is_refused(changes, message):
    with pytest.raises(TraceError, match=message):
        replace(small(), **changes).validate()


def test_no_request_is_no_trace():
    nothing = np.empty(0, np.int64)
    with pytest.raises(TraceError, match="holds no request"):
        ServingTrace.independent("none", nothing, ints(), ints()).validate()


def test_npz_round_trip(tmp_path):
    for before in (small(), bursty("azure-conv-like", num_requests=50, seed=1)):
        path = npz_serving.serving_to_npz(before, tmp_path / "trace.npz")
        same(before, load_serving(path))
    assert [file.name for file in tmp_path.iterdir()] == ["trace.npz"]


def test_an_invalid_trace_is_not_written(tmp_path):
    with pytest.raises(TraceError, match="prompt_tokens not in"):
        npz_serving.serving_to_npz(
            replace(small(), prompt_tokens=-small().prompt_tokens), tmp_path / "trace.npz"
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pause_ns": None}, r"missing or unknown: \['pause_ns'\]"),
        ({"arrival_ns": np.zeros(6, np.int32)}, "arrival_ns is 1-dimensional int32"),
        ({"hash_tokens": np.zeros(1, np.int64)}, "hash_tokens is 1-dimensional"),
        ({"client": np.array([{}] * 6, object)}, "not a serving trace's .npz"),
        ({"client": ints(-1, 0, 0, 0, 0, 0)}, "request 0 has client"),
        ({"name": np.full(1, 0x7FFFFFFF, np.uint32).view("<U1").reshape(())}, "not Unicode"),
    ],
)
def test_a_spoilt_npz(tmp_path, changes, message):
    path = npz_serving.serving_to_npz(small(), tmp_path / "trace.npz")
    with np.load(path) as archive:
        arrays = dict(archive) | changes
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(TraceError, match=message):
        npz_serving.serving_from_npz(path)


def test_a_cut_off_npz(tmp_path):
    path = npz_serving.serving_to_npz(small(), tmp_path / "trace.npz")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(TraceError, match="not a serving trace's"):
        load_serving(path)


def test_fleets_and_serving_traces_are_not_mistaken(tmp_path):
    trace = npz_serving.serving_to_npz(small(), tmp_path / "trace.npz")
    fleet = fleet_to_npz(matched(num_pms=2, racks=1, seed=0), tmp_path / "fleet.npz")
    with pytest.raises(TraceError, match=r"holds LLM requests.*load_serving"):
        load(trace)
    with pytest.raises(TraceError, match=r"a serving trace's \.npz has other arrays"):
        load_serving(fleet)


def test_flipped_bytes_never_crash(tmp_path):
    path = npz_serving.serving_to_npz(small(), tmp_path / "trace.npz")
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        spoilt = bytearray(whole)
        spoilt[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        path.write_bytes(spoilt)
        try:
            npz_serving.serving_from_npz(path)
        except TraceError:
            refused += 1
    assert refused > 100


def test_what_could_not_be_read_is_not_written(tmp_path, monkeypatch):
    path = npz_serving.serving_to_npz(small(), tmp_path / "trace.npz")
    with zipfile.ZipFile(path) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    monkeypatch.setattr(npz, "MAX_BYTES", size - 1)
    with pytest.raises(TraceError, match="more than the"):
        npz_serving.serving_to_npz(small(), tmp_path / "other.npz")
    assert [file.name for file in tmp_path.iterdir()] == ["trace.npz"]


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_what_is_valid_can_be_cut_into_windows(data):
    """Any columns are either refused, or every window of them is valid itself."""
    trace = small()
    column = data.draw(
        st.sampled_from(["next_turn", "program", "hash_start", "hash_count", "arrival_ns"])
    )
    values = getattr(trace, column).copy()
    values[data.draw(st.integers(0, 5))] = data.draw(st.integers(-2, 20))
    try:
        changed = replace(trace, **{column: values}).validate()
    except TraceError:
        return
    for first in range(changed.num_arrivals):
        for count in range(1, changed.num_arrivals - first + 1):
            window = changed.window(first, count).validate()
            assert window.num_arrivals == count
