"""The public traces by name: where they come from, where they are here, how to load them."""

import os
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path

from fleetgym.traces.errors import TraceError, nearest
from fleetgym.traces.formats import bytedance
from fleetgym.traces.npz import fleet_from_npz
from fleetgym.traces.npz_serving import is_serving, serving_from_npz
from fleetgym.traces.schema import Fleet
from fleetgym.traces.schema_serving import ServingTrace

_TOML = Path(__file__).with_name("catalog.toml")
_ALIBABA = "alibaba-gpu2023"
_ROUTING = "routing"
_VM_REQUESTS = ("azure-packing", "huawei-east1")
# The formats of serving traces, each with columns by one of which a CSV file is known to be it.
_SERVING = {
    "azure-llm": ("TIMESTAMP",),
    "burstgpt": ("Timestamp",),
    "vidur": ("arrived_at", "arrival_timestamp"),
    "mooncake": (),
}
_JSONL = (".jsonl", ".jsonl.gz")
_CSV = (".csv", ".csv.gz")


@dataclass(frozen=True)
class Entry:
    """One public file, as catalog.toml describes it."""

    name: str
    url: str
    file: str  # name in the cache
    local: str  # path in a FLEETGYM_DATA folder, there also as .gz
    format: str
    licence: str
    about: str
    citation: str
    commit: str = ""
    sha256: str = ""  # of the file at the url; empty where nobody published it
    bytes: int = 0  # likewise


@cache
def entries() -> dict[str, Entry]:
    """Every trace by name."""
    table = tomllib.loads(_TOML.read_text(encoding="utf-8"))
    return {name: Entry(name=name, **fields) for name, fields in table.items()}


def entry(name: str) -> Entry:
    """The trace of a name.

    Raises:
        TraceError: there is none; the message names the nearest.
    """
    known = entries()
    if name not in known:
        raise TraceError(f"unknown trace {name!r}; {nearest(name, known)}")
    return known[name]


def cache_folder() -> Path:
    """Where downloads are kept: ``FLEETGYM_CACHE``, else the user's cache folder."""
    chosen = os.environ.get("FLEETGYM_CACHE")
    if chosen:
        return Path(chosen)
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() / "fleetgym" / "traces"


def cached(name: str) -> Path:
    """Where `fetch` puts the file of a trace, whether it is there or not."""
    return cache_folder() / name / entry(name).file


def find(name: str) -> Path:
    """The file of a trace: in the ``FLEETGYM_DATA`` folder, else among the downloads.

    Raises:
        TraceError: the name is unknown, or the file is not here.
    """
    wanted = entry(name)
    places = []
    if data := os.environ.get("FLEETGYM_DATA"):
        folder = Path(data)
        places += [
            folder / wanted.local,
            folder / f"{wanted.local}.gz",
            folder / name / wanted.file,
        ]
    places.append(cached(name))
    for place in places:
        if place.is_file():
            return place
    raise TraceError(
        f"trace {name!r} is not here (looked for {', '.join(map(str, places))}); "
        f"run `fleetgym traces fetch {name}`"
    )


def load(name_or_path: str | Path, *, seed: int = 0) -> Fleet:
    """The fleet of a trace, or of a file.

    Args:
        name_or_path: a name of the catalogue (``alibaba-gpu2023`` takes its two files together,
            filled to 90% of the GPUs); or a file, known by its suffix: ``.json`` and ``.json.gz``
            in ByteDance's format, ``.npz`` as `fleet_to_npz` writes it.
        seed: of what a trace leaves open, which is Alibaba's instant and added pods.

    Raises:
        TraceError: unknown, not here, malformed, or no fleet: a trace of VM or LLM requests.
    """
    text = str(name_or_path)
    if text.endswith((".json", ".json.gz")):
        return bytedance.read(text)
    if text.endswith(".npz"):
        if is_serving(text):
            raise TraceError(f"{text}: holds LLM requests, no fleet; load it with load_serving")
        return fleet_from_npz(text)
    if text == _ALIBABA or (text in entries() and entries()[text].format == _ALIBABA):
        from fleetgym.traces.formats import alibaba_gpu2023  # polars is slow to import

        files = (find(f"{_ALIBABA}-{part}") for part in ("nodes", "pods"))
        return alibaba_gpu2023.snapshot(*files, seed=seed, gpu_utilisation=0.9)
    if _is_path(name_or_path):
        raise TraceError(f"{text}: unknown suffix; a fleet is a .json, .json.gz or .npz file")
    wanted = entry(text)
    if wanted.format == "bytedance":
        return bytedance.read(find(text)).renamed(text)
    if wanted.format in _VM_REQUESTS:
        raise TraceError(
            f"trace {text!r} says when VMs came and left, not where they were: read it with "
            f"fleetgym.traces.formats.{_module(wanted.format)}.read and place it with "
            "fleetgym.traces.schema_requests.snapshot"
        )
    hint = "; load it with load_serving" if wanted.format in _SERVING else ""
    if wanted.format == _ROUTING:
        hint = f"; play it with workload={text!r} in fleetgym/ExpertCache-v0"
    raise TraceError(f"trace {text!r} is no fleet but {wanted.about}{hint}")


def load_serving(name_or_path: str | Path) -> ServingTrace:
    """The requests of a serving trace, or of a file.

    Args:
        name_or_path: a name of the catalogue; or a file, known by its suffix: ``.jsonl`` and
            ``.jsonl.gz`` in Mooncake's format, ``.csv`` and ``.csv.gz`` in that of Azure, BurstGPT,
            Vidur or Splitwise (known by its columns), ``.npz`` as `serving_to_npz` writes it.

    Raises:
        TraceError: unknown, not here, malformed, or no serving trace.
    """
    text = str(name_or_path)
    if text.endswith(".npz"):
        return serving_from_npz(text)
    if text.endswith(_JSONL):
        return _read_serving("mooncake", text)
    if text.endswith(_CSV):
        return _read_serving(_csv_format(text), text)
    if _is_path(name_or_path):
        known = ", ".join((*_CSV, *_JSONL, ".npz"))
        raise TraceError(f"{text}: unknown suffix; a serving trace is one of {known}")
    wanted = entry(text)
    if wanted.format not in _SERVING:
        raise TraceError(f"trace {text!r} is no serving trace but {wanted.about}")
    return _read_serving(wanted.format, find(text)).renamed(text)


def holds_requests(name_or_path: str | Path) -> bool:
    """Whether a name or file is for `load_serving`, not for `load`; it need not be there."""
    text = str(name_or_path)
    if text.endswith(".npz"):
        return is_serving(text)
    if text.endswith((*_JSONL, *_CSV)):
        return True
    return text in entries() and entries()[text].format in _SERVING


def _is_path(name_or_path: str | Path) -> bool:
    return isinstance(name_or_path, Path) or "/" in name_or_path


def _module(name: str) -> str:
    return name.replace("-", "_")


def _read_serving(name: str, path: str | Path) -> ServingTrace:
    """Reads a file of a serving format; polars, which its reader needs, is slow to import."""
    reader = import_module(f"fleetgym.traces.formats.{_module(name)}")
    trace, _ = reader.read(path)
    assert isinstance(trace, ServingTrace)
    return trace


def _csv_format(path: str) -> str:
    from fleetgym.traces.formats.serving_columns import header

    names = header(path)[1]
    for name, columns in _SERVING.items():
        if any(column in names for column in columns):
            return name
    raise TraceError(f"{path}: no serving trace is known by the columns {names}")
