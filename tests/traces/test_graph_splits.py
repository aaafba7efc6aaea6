"""No graph is in two splits, however its tasks are numbered; archives hold what was written."""

import numpy as np
import pytest

from fleetgym.traces import catalog_mec
from fleetgym.traces.errors import TraceError
from fleetgym.traces.npz_graphs import graphs_from_npz, graphs_to_npz, holds_graphs
from fleetgym.traces.schema_mec import OUTSIDE, TaskGraph, from_edges
from fleetgym.traces.splits_graphs import SHARES, keys, split_graphs, split_of
from fleetgym.traces.stats_graphs import levels, stats

COLUMNS = (
    "cycles", "memory", "data_bytes", "data_producer", "data_result", "use_data", "use_task"
)  # fmt: skip


def random_graph(seed, tasks=9, name="g"):
    rng = np.random.default_rng(seed)
    edges = [
        (i, j, int(rng.integers(1, 1000)))
        for j in range(tasks)
        for i in range(j)
        if rng.random() < 0.3
    ]
    cycles = rng.integers(1, 50, tasks)
    return from_edges(name, cycles, edges, memory=rng.integers(0, 3, tasks), inputs=[5] * tasks)


def renumbered(graph, seed):
    """The same graph, its tasks and data in another order, under another name, other bytes."""
    rng = np.random.default_rng(seed)
    task, data = rng.permutation(graph.num_tasks), rng.permutation(len(graph.data_bytes))
    old_task, old_data = np.argsort(task), np.argsort(data)
    producer = graph.data_producer[old_data]
    return TaskGraph(
        name="other",
        cycles=graph.cycles[old_task],
        memory=graph.memory[old_task],
        data_bytes=rng.integers(1, 99, len(data)),
        data_producer=np.where(producer == OUTSIDE, OUTSIDE, task[producer]).astype(np.int32),
        data_result=graph.data_result[old_data],
        use_data=data[graph.use_data].astype(np.int32),
        use_task=task[graph.use_task].astype(np.int32),
    ).validate()


def test_keys_do_not_see_numbering_names_or_bytes():
    graphs = [random_graph(seed, tasks=2 + seed % 12) for seed in range(60)]
    other = [renumbered(graph, seed) for seed, graph in enumerate(graphs)]
    assert all(a.digest != b.digest for a, b in zip(graphs, other, strict=True))
    assert (keys(graphs) == keys(other)).all()
    assert (keys(graphs[7:9]) == keys(graphs)[7:9]).all(), "alone or among others"
    assert len(np.unique(keys(graphs))) == 60


def test_keys_see_sizes_and_edges():
    base = from_edges("a", [5, 6, 7], [(0, 1, 9), (1, 2, 9)])
    same_shape = from_edges("a", [5, 6, 8], [(0, 1, 9), (1, 2, 9)])
    more = from_edges("a", [5, 6, 7], [(0, 1, 9), (1, 2, 9), (0, 2, 9)])
    back = from_edges("a", [7, 6, 5], [(0, 1, 9), (1, 2, 9)])
    fork = from_edges("a", [5, 6, 7], [(0, 1, 9), (0, 2, 9)])
    join = from_edges("a", [5, 6, 7], [(0, 2, 9), (1, 2, 9)])
    graphs = [base, same_shape, more, back, fork, join]
    assert len(np.unique(keys(graphs))) == 6
    shape = keys(graphs, cycles=False)
    assert shape[0] == shape[1] == shape[3]
    assert len(np.unique(shape)) == 4


@pytest.mark.parametrize("cycles", [True, False])
def test_no_graph_is_in_two_splits(real, cycles):
    graphs = catalog_mec.load_graphs(real("mec/alibaba2018_dags/selected_DAGs.csv.gz"))
    graphs = (*graphs, *(renumbered(graph, 0) for graph in graphs[:300]))
    parts = {split: split_graphs(graphs, split, cycles=cycles) for split in SHARES}
    assert sum(len(part) for part in parts.values()) == len(graphs)
    content = {
        split: {(graph.num_tasks, graph.edges.tobytes(), graph.cycles.tobytes()) for graph in part}
        for split, part in parts.items()
    }
    shapes = {
        split: {(graph.num_tasks, graph.edges.tobytes()) for graph in part}
        for split, part in parts.items()
    }
    met = {split: set(keys(part, cycles=cycles).tolist()) for split, part in parts.items()}
    for a, b in (("train", "validation"), ("train", "test"), ("validation", "test")):
        assert not content[a] & content[b]
        assert not met[a] & met[b]
        assert cycles or not shapes[a] & shapes[b]
    for split, share in SHARES.items():
        assert len(parts[split]) / len(graphs) == pytest.approx(share, abs=0.03 if cycles else 0.12)


def test_splits_refuse():
    graph = random_graph(0)
    with pytest.raises(TraceError, match="unknown split 'tset'; did you mean 'test'"):
        split_graphs([graph], "tset")
    (own,) = split_of([graph])
    other = next(split for split in SHARES if split != own)
    with pytest.raises(TraceError, match=f"none of 1 graphs is in {other}"):
        split_graphs([graph], other)
    assert split_graphs([graph], own) == (graph,)
    assert len(keys([])) == 0


def test_archives(tmp_path):
    graphs = [random_graph(seed, tasks=1 + seed % 7, name=f"g{seed}") for seed in range(20)]
    path = graphs_to_npz(graphs, tmp_path / "graphs.npz")
    again = graphs_from_npz(path)
    assert [graph.name for graph in again] == [graph.name for graph in graphs]
    assert [graph.digest for graph in again] == [graph.digest for graph in graphs]
    assert holds_graphs(path)
    assert catalog_mec.holds_graphs(path)
    assert not holds_graphs(tmp_path / "nothing.npz")
    with pytest.raises(TraceError, match="no task graph to write"):
        graphs_to_npz([], path)


@pytest.mark.parametrize(
    ("column", "at", "value", "message"),
    [
        ("cycles", 0, 0, r"cycles\[0\] is 0"),
        ("memory", 1, -1, r"memory\[1\] is -1"),
        ("data_bytes", 0, -1, r"data_bytes\[0\] is -1"),
        ("data_producer", 0, 3, r"data_producer\[0\] is 3"),
        ("use_data", 0, 9, r"use_data\[0\] is 9"),
        ("use_task", 0, 0, "the graph has a cycle"),
        ("use_data", 1, 0, "uses the same data twice"),
        ("tasks", 0, 4, "cycles has 5 entries, not 6"),
        ("uses", 0, -1, "uses must be 0 or more"),
    ],
)
def test_spoilt_archives(tmp_path, column, at, value, message):
    one = from_edges("one", [5, 6, 7], [(0, 1, 9), (1, 2, 4)])
    two = from_edges("two", [5, 6], [(0, 1, 9)])
    path = graphs_to_npz([one, two], tmp_path / "graphs.npz")
    with np.load(path) as archive:
        arrays = dict(archive)
    if message.startswith("uses the same"):
        arrays["use_task"][1] = 1
    arrays[column][at] = value
    np.savez(path, **arrays)
    with pytest.raises(TraceError, match=message):
        graphs_from_npz(path)


def test_levels_and_figures():
    fork_join = from_edges("f", [10, 20, 30, 40], [(0, 1, 5), (0, 2, 7), (1, 3, 9), (2, 3, 11)])
    assert levels(fork_join).tolist() == [0, 1, 1, 2]
    against = from_edges("r", [1, 1, 1], [(2, 1, 5), (1, 0, 5)])
    assert levels(against).tolist() == [2, 1, 0]
    figures = stats("two", [fork_join, against])
    assert (figures["tasks"], figures["edges"], figures["depth_max"]) == (7, 6, 3)
    assert (figures["width_max"], figures["edge_bytes_median"]) == (2, 6.0)
    assert figures["distinct_shapes"] == 2
    assert sum(figures[f"{split}_graphs"] for split in SHARES) == 2
