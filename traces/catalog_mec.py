"""Task graphs, edge networks and positions of the catalogue, or of files, by name."""

import hashlib
from dataclasses import replace
from pathlib import Path

from fleetgym.traces.catalog import cache_folder, entries, entry, find
from fleetgym.traces.errors import TraceError
from fleetgym.traces.npz_graphs import graphs_from_npz, graphs_to_npz
from fleetgym.traces.npz_graphs import holds_graphs as npz_holds_graphs
from fleetgym.traces.reading import read_bytes
from fleetgym.traces.schema_mec import EdgeNetwork, TaskGraph

ALL_WORKFLOWS = "wfcommons"  # every workflow of the catalogue
_GRAPHS = ("alibaba-dags", "wfcommons")
_NETWORK = "topo4mec"
_CSV, _JSON = (".csv", ".csv.gz"), (".json", ".json.gz")
_HEAD = 1 << 16  # characters in which a workflow names its schema


def load_graphs(name_or_path: str | Path, *, seed: int = 0) -> tuple[TaskGraph, ...]:
    """The task graphs of a trace, or of a file.

    Args:
        name_or_path: a name of the catalogue, or ``wfcommons`` for all workflows in it; or a file,
            known by its suffix: ``.csv`` in the format of Alibaba's ``batch_task``, ``.json`` in
            WfFormat (both also ``.gz``), ``.npz`` as `graphs_to_npz` writes it.
        seed: of the sizes that a trace leaves open.

    Raises:
        TraceError: unknown, not here, malformed, or no task graphs.
    """
    text = str(name_or_path)
    if text == ALL_WORKFLOWS:
        names = [name for name, wanted in entries().items() if wanted.format == "wfcommons"]
        return tuple(_workflow(find(name), seed) for name in names)
    if text.endswith(".npz"):
        return graphs_from_npz(text)
    if text.endswith(_CSV):
        return _jobs(Path(text), seed)
    if text.endswith(_JSON):
        return (_workflow(Path(text), seed),)
    if isinstance(name_or_path, Path) or "/" in text:
        known = ", ".join((*_CSV, *_JSON, ".npz"))
        raise TraceError(f"{text}: unknown suffix; task graphs are in one of {known}")
    wanted = entry(text)
    if wanted.format not in _GRAPHS:
        raise TraceError(f"trace {text!r} holds no task graphs but {wanted.about}")
    path = find(text)
    return _jobs(path, seed) if wanted.format == "alibaba-dags" else (_workflow(path, seed),)


def load_network(name_or_path: str | Path, *, seed: int = 0) -> EdgeNetwork:
    """The edge network of a trace, or of a ``config.json`` of Topo4MEC.

    Args:
        name_or_path: ``topo4mec-...-network``, or a file.
        seed: of the positions of its nodes.

    Raises:
        TraceError: unknown, not here, malformed, or no network.
    """
    from fleetgym.traces.formats import topo4mec  # polars is slow to import

    text = str(name_or_path)
    if text.endswith(_JSON):
        return topo4mec.read_network(text, seed=seed)
    if not holds_network(text):
        raise TraceError(f"trace {text!r} is no network but {entry(text).about}")
    return replace(topo4mec.read_network(find(text), seed=seed), name=text)


def holds_graphs(name_or_path: str | Path) -> bool:
    """Whether a name or file is for `load_graphs`; only what the suffix leaves open is opened."""
    text = str(name_or_path)
    if text.endswith(".npz"):
        return npz_holds_graphs(text)
    if text.endswith(_CSV):
        return b"job_name" in _start(text).split(b"\n", 1)[0]
    if text.endswith(_JSON):
        return b'"schemaVersion"' in _start(text)
    return text == ALL_WORKFLOWS or (text in entries() and entries()[text].format in _GRAPHS)


def names_of_graphs() -> list[str]:
    """The names for `load_graphs`."""
    return [ALL_WORKFLOWS, *(name for name in entries() if holds_graphs(name))]


def holds_network(name: str) -> bool:
    """Whether a name is for `load_network`."""
    return (
        name in entries()
        and entries()[name].format == _NETWORK
        and entries()[name].local.endswith(".json")
    )


def _start(path: str) -> bytes:
    return read_bytes(path)[:_HEAD] if Path(path).is_file() else b""


def _workflow(path: Path, seed: int) -> TaskGraph:
    from fleetgym.traces.formats import wfcommons
    from fleetgym.traces.formats.graph_rule import GraphRule

    return wfcommons.read(path, GraphRule(seed=seed))[0]


def _jobs(path: Path, seed: int) -> tuple[TaskGraph, ...]:
    """The jobs of a file, kept as .npz in the cache: reading that takes a tenth of the time."""
    from fleetgym.traces.formats import alibaba_dags, graph_rule

    rule = graph_rule.GraphRule(seed=seed)
    digest = hashlib.sha256(repr(rule).encode())
    for source in (path, alibaba_dags.__file__, graph_rule.__file__):
        digest.update(hashlib.sha256(read_bytes(source)).digest())
    kept = cache_folder() / "graphs" / f"{digest.hexdigest()[:32]}.npz"
    if kept.is_file():
        try:
            return graphs_from_npz(kept)
        except TraceError:  # damaged: read anew, and replaced
            pass
    graphs, _ = alibaba_dags.read(path, rule)
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        graphs_to_npz(graphs, kept)
    except (OSError, TraceError):  # a read-only cache: the next read takes as long again
        pass
    return graphs
