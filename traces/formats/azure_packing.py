"""Reader of the Azure Trace for Packing 2020 (Protean, OSDI'20): SQLite, or the zip it comes in.

Tables ``vmType(id, vmTypeId, machineId, core, memory, hdd, ssd, nic)``, in fractions of a machine,
and ``vm(vmId, tenantId, vmTypeId, priority, starttime, endtime)`` in fractional days since the
collection began: negative for VMs that were there before, NULL where a VM outlived 90 days. The
trace does not say how large its machines are: the caller does.
"""

import sqlite3
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fleetgym.traces.errors import TraceError
from fleetgym.traces.report import ReadReport
from fleetgym.traces.schema import MAX_SIZE
from fleetgym.traces.schema_requests import VMRequests

MAX_DATABASE = 8 << 30  # bytes of the database in a zip
_DAY_S = 86_400
_CHUNK = 1 << 20
_ROW = np.dtype([("vm", np.int64), ("start", "f8"), ("end", "f8"), ("core", "f8"), ("mem", "f8")])
_MACHINES = "SELECT machineId FROM vmType GROUP BY machineId ORDER BY COUNT(*) DESC, machineId"
_REQUESTS = """
    SELECT vm.vmId, vm.starttime, COALESCE(vm.endtime, 9e999), vmType.core, vmType.memory
    FROM vm JOIN vmType ON vm.vmTypeId = vmType.vmTypeId
    WHERE vmType.machineId = ? ORDER BY vm.starttime, vm.vmId
"""


def read(
    path: str | Path,
    *,
    machine: int | None = None,
    machine_cores: int = 88,
    machine_memory: int = 368_776,
) -> VMRequests:
    """The requests that can run on one kind of machine.

    Args:
        path: the ``.sqlite`` file, or the ``.zip`` that holds it.
        machine: ``machineId``; None takes the one that supports most VM types.
        machine_cores: of such a machine; a VM's cores are rounded up to whole ones.
        machine_memory: MiB of such a machine.

    Raises:
        TraceError: the file is not found, not such a database, or a row is malformed.
    """
    return read_with_report(
        path, machine=machine, machine_cores=machine_cores, machine_memory=machine_memory
    )[0]


def read_with_report(
    path: str | Path,
    *,
    machine: int | None = None,
    machine_cores: int = 88,
    machine_memory: int = 368_776,
) -> tuple[VMRequests, ReadReport]:
    """The requests, and what was dropped. Arguments and errors as `read`."""
    with _database(Path(path)) as connection:
        try:
            machines = [row[0] for row in connection.execute(_MACHINES)]
            chosen = machine if machine is not None else next(iter(machines), None)
            if chosen not in machines:
                raise TraceError(f"{path}: no VM type for machineId {chosen}; it has {machines}")
            rows = np.fromiter(connection.execute(_REQUESTS, (chosen,)), _ROW)
            (total,) = connection.execute("SELECT COUNT(*) FROM vm").fetchone()
        except (sqlite3.Error, TypeError, ValueError) as error:
            raise TraceError(f"{path}: not the Azure packing trace ({error})") from error
    _check(path, rows)
    brief = rows["end"] <= rows["start"]
    dropped = []
    if total > len(rows):
        dropped.append(f"{total - len(rows)} requests whose type machineId {chosen} has not")
    if brief.any():
        dropped.append(f"{int(brief.sum())} requests that end no later than they start")
    rows = rows[~brief]
    requests = VMRequests(
        name=Path(path).name.split(".")[0],
        arrival_s=rows["start"] * _DAY_S,
        departure_s=rows["end"] * _DAY_S,
        cores=np.maximum(_whole(rows["core"], machine_cores), 1),
        memory=_whole(rows["mem"], machine_memory),
        ids=tuple(map(str, rows["vm"].tolist())),
    )
    report = ReadReport(str(path), (f"{len(requests)} requests",), tuple(dropped))
    return requests.validate(), report


def _whole(fraction: NDArray[np.float64], size: int) -> NDArray[np.int32]:
    """Units of a machine, rounded up; what rounding made of an exact fraction is forgiven."""
    if not 1 <= size <= MAX_SIZE:
        raise TraceError(f"a machine of {size}: sizes are from 1 to {MAX_SIZE}")
    return np.ceil(np.round(fraction * size, 6)).astype(np.int32)


def _check(path: str | Path, rows: NDArray[np.void]) -> None:
    for wrong, what in (
        (~np.isfinite(rows["start"]), "starts at no finite time"),
        (np.isnan(rows["end"]), "ends at no time"),
        (~((rows["core"] >= 0) & (rows["core"] <= 1)), "takes a share of cores not in 0 to 1"),
        (~((rows["mem"] >= 0) & (rows["mem"] <= 1)), "takes a share of memory not in 0 to 1"),
    ):
        if wrong.any():
            row = rows[int(np.argmax(wrong))]
            raise TraceError(f"{path}: VM {row['vm']} {what}; {rows.dtype.names} = {row}")


@contextmanager
def _database(path: Path) -> Iterator[sqlite3.Connection]:
    """A read-only connection to the database, taken out of its zip where it is in one."""
    if not path.is_file():
        raise TraceError(
            f"{path}: no such file; `fleetgym traces fetch azure-packing` downloads the trace"
        )
    with tempfile.TemporaryDirectory(prefix="fleetgym-") as folder:
        plain = _unzipped(path, Path(folder)) if zipfile.is_zipfile(path) else path
        try:
            connection = sqlite3.connect(f"{plain.absolute().as_uri()}?mode=ro", uri=True)
        except sqlite3.Error as error:
            raise TraceError(f"{path}: cannot be opened ({error})") from error
        with closing(connection):
            yield connection


def _unzipped(path: Path, folder: Path) -> Path:
    target = folder / "trace.sqlite"
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith((".sqlite", ".db"))]
            if len(names) != 1:
                raise TraceError(f"{path}: expected one .sqlite file in the zip, found {names}")
            written = 0
            with archive.open(names[0]) as source, target.open("wb") as copy:
                while chunk := source.read(_CHUNK):
                    written += len(chunk)
                    if written > MAX_DATABASE:
                        raise TraceError(f"{path}: the database is over {MAX_DATABASE} bytes")
                    copy.write(chunk)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise TraceError(f"{path}: the zip is cut off or corrupt ({error})") from error
    return target
