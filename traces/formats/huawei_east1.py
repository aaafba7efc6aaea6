"""Reader of Huawei-East-1 (VMAgent): a month of VM creations and deletions, CSV.

Columns ``vmid,cpu,memory,time,type``: cores, GiB, seconds since the start; type 0 is a creation,
1 a deletion. A VM without a deletion was still there at the end.
"""

from pathlib import Path

import numpy as np
import polars as pl

from fleetgym.traces.errors import TraceError
from fleetgym.traces.formats.tables import check_range, read_csv, refuse
from fleetgym.traces.report import ReadReport
from fleetgym.traces.schema import MAX_SIZE
from fleetgym.traces.schema_requests import VMRequests

_COLUMNS = {
    "vmid": pl.Int64,
    "cpu": pl.Float64,
    "memory": pl.Float64,
    "time": pl.Float64,
    "type": pl.Int64,
}
_MIB = 1024  # in a GiB


def read(path: str | Path) -> VMRequests:
    """The requests of a file.

    Args:
        path: ``.csv`` or ``.csv.gz``.

    Raises:
        TraceError: the file is not found, cut off or malformed, or a VM is created twice.
    """
    return read_with_report(path)[0]


def read_with_report(path: str | Path) -> tuple[VMRequests, ReadReport]:
    """The requests of a file, and which rows were dropped. Raises as `read`."""
    table = read_csv(path, _COLUMNS)
    check_range(path, table, "vmid", 0, 2**62)
    check_range(path, table, "cpu", 1, MAX_SIZE)
    check_range(path, table, "memory", 0, MAX_SIZE // _MIB)
    check_range(path, table, "time", 0, 1e12)
    check_range(path, table, "type", 0, 1)
    refuse(path, table, (table["cpu"] % 1 != 0).to_numpy(), "cpu must be a whole number")
    repeated = table.select(pl.struct("vmid", "type").is_duplicated()).to_series().to_numpy()
    refuse(path, table, repeated, "the VM is created or deleted twice")
    created = table.filter(pl.col("type") == 0)
    deleted = table.filter(pl.col("type") == 1).select("vmid", end="time")
    both = created.join(deleted, on="vmid", how="left", maintain_order="left")
    backwards = both.filter(pl.col("end") < pl.col("time"))
    if len(backwards):
        vm = backwards.row(0, named=True)
        raise TraceError(
            f"{path}: VM {vm['vmid']} is deleted at {vm['end']} s, before its creation "
            f"at {vm['time']} s"
        )
    lasting = both.filter(pl.col("end").is_null() | (pl.col("end") > pl.col("time")))
    lasting = lasting.sort("time", maintain_order=True)
    requests = VMRequests(
        name=Path(path).name.split(".")[0],
        arrival_s=lasting["time"].to_numpy(),
        departure_s=lasting["end"].fill_null(np.inf).to_numpy(),
        cores=lasting["cpu"].cast(pl.Int32).to_numpy(),
        memory=(lasting["memory"] * _MIB).ceil().cast(pl.Int32).to_numpy(),
        ids=tuple(lasting["vmid"].cast(pl.String)),
    )
    dropped = []
    if unknown := len(deleted.join(created, on="vmid", how="anti")):
        dropped.append(f"{unknown} deletions of VMs never created")
    if brief := len(both) - len(lasting):
        dropped.append(f"{brief} VMs deleted in the second of their creation")
    kept = (f"{len(requests)} requests",)
    return requests.validate(), ReadReport(str(path), kept, tuple(dropped))
