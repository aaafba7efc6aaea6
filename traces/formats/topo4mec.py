"""Reader of Topo4MEC, as RayCloudSim publishes it: networks of nodes, and lists of tasks.

``config.json`` has ``Nodes`` (``NodeId``, ``MaxCpuFreq`` in MHz, ``MaxBufferSize`` in Mbit) and
``Edges`` (``SrcNodeID``, ``DstNodeID``, ``Bandwidth`` in Mbit/s, one way). A node is a server with
one core. Where nodes are, and all else, `EdgeRule` and a seed decide: positions are uniform over a
square with one node for each square of ``SPACING``. Energy coefficients have no unit: left out.

``testset.csv`` has ``GenerationTime`` in seconds, ``TaskSize`` in Mbit, ``CyclesPerBit``, ``DDL``
in seconds and ``SrcName``: each row is an application of one task that reads its size from the
device, with one device at each source. ``TransBitRate`` is left out: rates follow from who shares a
channel.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from fleetgym.traces.errors import TraceError
from fleetgym.traces.formats.edge_rule import (
    DEFAULT_DEVICE,
    DEFAULT_EDGE,
    DeviceRule,
    EdgeRule,
)
from fleetgym.traces.formats.tables import check_range, read_csv, refuse
from fleetgym.traces.reading import Place, read_json
from fleetgym.traces.report import ReadReport
from fleetgym.traces.schema_mec import (
    Applications,
    DeviceFleet,
    EdgeNetwork,
    Int64,
    TaskGraph,
    from_edges,
)

SPACING = 250.0  # metres between nodes, on average
MBIT = 1_000_000
_COLUMNS = {
    "GenerationTime": pl.Float64,
    "TaskSize": pl.Int64,
    "CyclesPerBit": pl.Int64,
    "DDL": pl.Float64,
    "SrcName": pl.String,
}


class Tasks(NamedTuple):
    """The tasks of a list, and who has them."""

    applications: Applications
    devices: DeviceFleet
    deadline: Int64  # (A,) ns after the arrival


def read_network(path: str | Path, rule: EdgeRule = DEFAULT_EDGE, seed: int = 0) -> EdgeNetwork:
    """The network of a ``config.json``.

    Args:
        path: of the file, ``.gz`` or not.
        rule: what the file does not say.
        seed: of the positions.

    Raises:
        TraceError: not found, malformed, a node twice, a link to nowhere, a size that is not
            positive, or a node that cannot be reached.
    """
    document = Place(read_json(path), str(path))
    nodes = document["Nodes"].items()
    index = {node["NodeId"].size(): i for i, node in enumerate(nodes)}
    if not nodes or len(index) < len(nodes):
        raise document["Nodes"].wrong("expected at least one node, each NodeId once")
    link_rate = np.zeros((len(nodes), len(nodes)))
    for edge in document["Edges"].items():
        ends = []
        for key in ("SrcNodeID", "DstNodeID"):
            if edge[key].size() not in index:
                raise edge[key].wrong(f"node {edge[key].size()} is not among the nodes")
            ends.append(index[edge[key].size()])
        if ends[0] == ends[1]:
            raise edge.wrong("links a node to itself")
        link_rate[ends[0], ends[1]] += _positive(edge["Bandwidth"]) * MBIT
    side = SPACING * np.sqrt(len(nodes))
    position = np.round(np.random.default_rng(seed).uniform(0, side, (len(nodes), 2)))
    return rule.network(
        _name(path),
        position,
        link_rate,
        speed=np.array([_positive(node["MaxCpuFreq"]) * 1e6 for node in nodes]),
        cores=1,
        memory=np.array(
            [round(_positive(node["MaxBufferSize"]) * MBIT / 8) for node in nodes], np.int64
        ),
    )


def read_tasks(
    path: str | Path,
    network: EdgeNetwork,
    rule: DeviceRule = DEFAULT_DEVICE,
    seed: int = 0,
) -> tuple[Tasks, ReadReport]:
    """The tasks of a ``testset.csv``, on devices beside the nodes they come from.

    Args:
        path: of the file, ``.gz`` or not.
        network: of the same folder: node ``n5`` is its sixth server.
        rule: what devices are like.
        seed: of the devices' speeds.

    Raises:
        TraceError: not found, malformed, without the columns, a size or time out of range, or a
            source that is not in the network.
    """
    table = read_csv(path, _COLUMNS)
    if not len(table):
        raise TraceError(f"{path}: holds no task")
    for column, low in (("GenerationTime", 0), ("TaskSize", 1), ("CyclesPerBit", 1), ("DDL", 0)):
        check_range(path, table, column, low, 1e6)
    nodes = table["SrcName"].str.extract(r"^n(\d+)$", 1).cast(pl.Int64)
    known = (nodes < network.num_servers).fill_null(False).to_numpy()
    refuse(path, table, ~known, f"SrcName must be n0 to n{network.num_servers - 1}")
    order = table["GenerationTime"].arg_sort()
    table, nodes = table[order], nodes[order]
    sources = sorted(set(nodes.to_list()))
    sizes = zip(table["TaskSize"], table["CyclesPerBit"], strict=True)
    graphs = tuple(_single(i, size, per_bit) for i, (size, per_bit) in enumerate(sizes))
    tasks = Tasks(
        Applications(
            graphs,
            np.searchsorted(sources, nodes.to_numpy()).astype(np.int32),
            np.round(table["GenerationTime"].to_numpy() * 1e9).astype(np.int64),
        ).validate(len(sources)),
        rule.fleet(_name(path), network.position[sources], np.random.default_rng(seed)),
        np.round(table["DDL"].to_numpy() * 1e9).astype(np.int64),
    )
    return tasks, ReadReport(str(path), (f"{len(graphs)} tasks of {len(sources)} sources",))


def _single(i: int, megabits: int, cycles_per_bit: int) -> TaskGraph:
    size = megabits * MBIT // 8
    cycles = megabits * MBIT * cycles_per_bit
    return from_edges(f"t{i}", [cycles], [], memory=[size], inputs=[size])


def _positive(place: Place) -> float:
    value = place.value
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        raise place.wrong(f"expected a number above 0, got {str(value)[:60]!r}")
    return float(value)


def _name(path: str | Path) -> str:
    """The folder's name says which of the networks it is."""
    return Path(path).resolve().parent.name
