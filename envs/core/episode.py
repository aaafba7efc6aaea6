"""Episode records: what was decided, written so that anybody can replay it to the bit.

A record is one ``.npz`` file: a JSON header and plain arrays, read with ``allow_pickle=False``.
"""

import hashlib
import io
import json
import math
import os
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fleetgym.envs.core.errors import RecordError

SCHEMA = 1
MAX_BYTES = 256 * 2**20  # of a record, unpacked
MAX_STEPS = 10_000_000
INFORMATION = ("online", "clairvoyant")
DTYPES = {"latency_ns": np.dtype(np.int64), "digests": np.dtype(np.uint64)}
HEADER_FIELDS = {
    "schema": int,
    "version": str,
    "id": str,
    "scenario": dict,
    "workload": str,
    "workload_seed": int,
    "workload_sha256": str,
    "policy": str,
    "information": str,
    "decision_latency": str,
    "metrics": dict,
    "decision_time_s": float,
}


@dataclass(frozen=True, eq=False)
class EpisodeRecord:
    """One episode of one policy.

    Attributes:
        id: registered environment id.
        scenario: every field of the resolved scenario.
        workload, workload_seed, workload_sha256: what was played.
        policy, information: who played, "online" or "clairvoyant".
        decision_latency: the latency model, as its text.
        actions: by role, ``(K, agents, ...)`` int64.
        latency_ns: how long the world went on before each action, ``(K,)``.
        digests: state digest after reset and after each step, ``(K + 1,)``.
        metrics: of the episode, in the units their names say.
        decision_time_s: wall-clock seconds the policy took in all: declared, not proven by replay.
        version: of the package that wrote it.
    """

    id: str
    scenario: Mapping[str, Any]
    workload: str
    workload_seed: int
    workload_sha256: str
    policy: str
    information: str
    decision_latency: str
    actions: Mapping[str, NDArray[np.int64]]
    latency_ns: NDArray[np.int64]
    digests: NDArray[np.uint64]
    metrics: Mapping[str, float]
    decision_time_s: float
    version: str
    path: Path | None = field(default=None, compare=False)

    def header(self) -> dict[str, Any]:
        """The JSON header, without the content's hash."""
        return {
            "schema": SCHEMA,
            "version": self.version,
            "id": self.id,
            "scenario": dict(self.scenario),
            "workload": self.workload,
            "workload_seed": self.workload_seed,
            "workload_sha256": self.workload_sha256,
            "policy": self.policy,
            "information": self.information,
            "decision_latency": self.decision_latency,
            "metrics": dict(self.metrics),
            "decision_time_s": self.decision_time_s,
        }

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays of the file."""
        actions = {f"actions.{role}": array for role, array in self.actions.items()}
        return {**actions, "latency_ns": self.latency_ns, "digests": self.digests}

    def write(self, path: str | Path) -> Path:
        """Writes the record; nothing half-written stays under its name."""
        target = Path(path)
        arrays = self.arrays()
        text = json.dumps(self.header(), sort_keys=True)
        header = {"header": np.array(text), "sha256": np.array(_content_hash(text, arrays))}
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez_compressed(file, **header, **arrays)  # type: ignore[arg-type]
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        return target

    @classmethod
    def read(cls, path: str | Path) -> "EpisodeRecord":
        """Reads a record and checks sizes, types, ranges and the content's hash.

        Raises:
            RecordError: the file is missing, malformed, altered, or of another schema; the
                message names the first thing that is wrong.
        """
        source = Path(path)
        entries = _entries(source)
        header = _header(source, entries)
        arrays = {name: entries[name] for name in entries if name not in ("header", "sha256")}
        _check_arrays(source, arrays)
        actions = {
            name.removeprefix("actions."): array
            for name, array in arrays.items()
            if name.startswith("actions.")
        }
        fields = {name: header[name] for name in HEADER_FIELDS if name != "schema"}
        return cls(
            **fields,
            actions=actions,
            latency_ns=arrays["latency_ns"],
            digests=arrays["digests"],
            path=source,
        )


def _content_hash(header: str, arrays: Mapping[str, NDArray[Any]]) -> str:
    hasher = hashlib.sha256(header.encode())
    for name in sorted(arrays):
        array = arrays[name]
        hasher.update(f"{name}{array.dtype.str}{array.shape}".encode())
        hasher.update(np.ascontiguousarray(array).tobytes())
    return hasher.hexdigest()


def _entries(source: Path) -> dict[str, NDArray[Any]]:
    """Every array of the file, read without unpickling, after a look at the sizes declared."""
    try:
        content = source.read_bytes()
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > MAX_BYTES:
            raise RecordError(f"{source}: {size} bytes unpacked, at most {MAX_BYTES} are read")
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except RecordError:
        raise
    except Exception as error:  # zipfile, zlib and numpy raise a dozen types on broken files
        raise RecordError(f"{source}: not a readable record: {error}") from error


def _header(source: Path, entries: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    for name in ("header", "sha256"):
        if name not in entries or entries[name].dtype.kind != "U" or entries[name].shape != ():
            raise RecordError(f"{source}: entry {name!r} is missing or not a text")
    text = str(entries["header"])
    try:
        header = json.loads(text)
    except ValueError as error:
        raise RecordError(f"{source}: the header is not JSON: {error}") from error
    if not isinstance(header, dict) or header.get("schema") != SCHEMA:
        seen = header.get("schema") if isinstance(header, dict) else header
        raise RecordError(f"{source}: schema {seen!r}, this version reads {SCHEMA}")
    for name, kind in HEADER_FIELDS.items():
        if type(header.get(name)) is not kind:
            raise RecordError(
                f"{source}: header field {name!r} is {header.get(name)!r}, not {kind.__name__}"
            )
    _check_ranges(source, header)
    arrays = {n: a for n, a in entries.items() if n not in ("header", "sha256")}
    if str(entries["sha256"]) != _content_hash(text, arrays):
        raise RecordError(
            f"{source}: the content does not match its SHA-256: header or arrays were altered"
        )
    return header


def _check_ranges(source: Path, header: Mapping[str, Any]) -> None:
    for name, good, rule in (
        ("workload_seed", 0 <= header["workload_seed"] < 2**64, "from 0 to 2**64 - 1"),
        ("information", header["information"] in INFORMATION, " or ".join(INFORMATION)),
        ("decision_time_s", 0 <= header["decision_time_s"] < math.inf, "0 or more, and finite"),
        ("metrics", all(type(v) is float for v in header["metrics"].values()), "numbers"),
    ):
        if not good:
            raise RecordError(
                f"{source}: header field {name!r} is {header[name]!r}, it must be {rule}"
            )


def _check_arrays(source: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    actions = [name for name in arrays if name.startswith("actions.")]
    extra = sorted(set(arrays) - set(actions) - set(DTYPES))
    missing = sorted(set(DTYPES) - set(arrays))
    if extra or missing or not actions:
        raise RecordError(
            f"{source}: arrays missing: {missing or ('actions' if not actions else 'none')}, "
            f"unknown: {extra or 'none'}"
        )
    for name, array in arrays.items():
        wanted = DTYPES.get(name, np.dtype(np.int64))
        if array.dtype != wanted:
            raise RecordError(f"{source}: {name} is {array.dtype}, it must be {wanted}")
    if arrays["latency_ns"].ndim != 1:
        raise RecordError(f"{source}: latency_ns has shape {arrays['latency_ns'].shape}, not (K,)")
    steps = len(arrays["latency_ns"])
    if steps > MAX_STEPS or (arrays["latency_ns"] < 0).any():
        raise RecordError(f"{source}: more than {MAX_STEPS} steps, or a negative latency")
    for name in [*actions, "digests"]:
        expected = steps + (name == "digests")
        if arrays[name].ndim < 1 or len(arrays[name]) != expected:
            raise RecordError(
                f"{source}: {name} has shape {arrays[name].shape}, {steps} steps need {expected}"
            )
