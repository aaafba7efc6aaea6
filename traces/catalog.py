"""The public traces by name: where they come from, where they are here, how to load them."""

import os
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fleetgym.traces.errors import TraceError, nearest
from fleetgym.traces.formats import bytedance
from fleetgym.traces.npz import fleet_from_npz
from fleetgym.traces.schema import Fleet

_TOML = Path(__file__).with_name("catalog.toml")
_ALIBABA = "alibaba-gpu2023"


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
        TraceError: unknown, not here, malformed, or a trace of requests or of
            routing, which is no fleet.
    """
    text = str(name_or_path)
    if text.endswith((".json", ".json.gz")):
        return bytedance.read(text)
    if text.endswith(".npz"):
        return fleet_from_npz(text)
    if text == _ALIBABA or (text in entries() and entries()[text].format == _ALIBABA):
        from fleetgym.traces.formats import alibaba_gpu2023  # polars is slow to import

        files = (find(f"{_ALIBABA}-{part}") for part in ("nodes", "pods"))
        return alibaba_gpu2023.snapshot(*files, seed=seed, gpu_utilisation=0.9)
    if isinstance(name_or_path, Path) or "/" in text:
        raise TraceError(f"{text}: unknown suffix; a fleet is a .json, .json.gz or .npz file")
    if entry(text).format == "bytedance":
        return bytedance.read(find(text)).renamed(text)
    module = entry(text).format.replace("-", "_")
    if module == "routing":
        raise TraceError(
            f"trace {text!r} is the routing of experts, no fleet: read it with "
            "fleetgym.traces.formats.routing.read, or play it with workload="
            f"{text!r} in fleetgym/ExpertCache-v0"
        )
    raise TraceError(
        f"trace {text!r} says when VMs came and left, not where they were: read it with "
        f"fleetgym.traces.formats.{module}.read and place it with "
        "fleetgym.traces.schema_requests.snapshot"
    )
