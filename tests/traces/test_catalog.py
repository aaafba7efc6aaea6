import gzip
import hashlib
from pathlib import Path

import pytest

from fleetgym.traces import catalog
from fleetgym.traces.errors import TraceError
from fleetgym.traces.reading import read_bytes


@pytest.fixture
def folders(tmp_path, monkeypatch):
    monkeypatch.setenv("FLEETGYM_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("FLEETGYM_CACHE", str(tmp_path / "cache"))
    return tmp_path


def put(path, content=b"x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", catalog.entries())
def test_files_are_those_of_the_catalogue(real, name):
    entry = catalog.entry(name)
    if not entry.sha256:
        assert not entry.bytes
        return
    plain = entry.format in ("routing", "topo4mec", "eua")
    content = read_bytes(real(entry.local + ".gz" * (not plain)))
    assert len(content) == entry.bytes
    assert hashlib.sha256(content).hexdigest() == entry.sha256
    assert entry.commit in entry.url


def test_find(folders):
    name = "bytedance-medium"
    with pytest.raises(TraceError, match="`fleetgym traces fetch bytedance-medium`"):
        catalog.find(name)
    for place in (
        "cache/bytedance-medium/bytedance_medium.json",
        "data/bytedance-medium/bytedance_medium.json",
        "data/vm/bytedance_medium.json.gz",
        "data/vm/bytedance_medium.json",
    ):
        path = put(folders / place)
        assert catalog.find(name) == path
    assert catalog.cached(name) == folders / "cache/bytedance-medium/bytedance_medium.json"


def test_default_cache_folder(monkeypatch):
    monkeypatch.delenv("FLEETGYM_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert catalog.cache_folder() == Path("/somewhere/fleetgym/traces")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert catalog.cache_folder() == Path.home() / ".cache/fleetgym/traces"


def test_load(folders, written, document):
    path = written(document)
    assert catalog.load(path).name == "small"
    assert catalog.load(str(path)).num_vms == 3
    put(folders / "data/vm/bytedance_medium.json.gz", gzip.compress(path.read_bytes()))
    fleet = catalog.load("bytedance-medium")
    assert (fleet.name, fleet.num_vms) == ("bytedance-medium", 3)


def test_load_alibaba(real, monkeypatch):
    folder = real("vm/alibaba_gpu2023_nodes_all.csv.gz").parents[1]
    monkeypatch.setenv("FLEETGYM_DATA", str(folder))
    fleet = catalog.load("alibaba-gpu2023", seed=3)
    assert fleet.num_pms == 1523
    used = 1 - fleet.free()[2].sum() / fleet.slot_gpu.sum()
    assert used == pytest.approx(0.9, abs=0.01)
    assert catalog.load("alibaba-gpu2023-pods", seed=3).vm_ids == fleet.vm_ids


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bytedance-medum", "did you mean 'bytedance-medium'"),
        ("azure-packing", r"azure_packing\.read"),
        ("huawei-east1", r"huawei_east1\.read"),
        ("switch-base-8", "no fleet.*ExpertCache"),
        ("some/file.csv", "unknown suffix"),
        (Path("file.csv"), "unknown suffix"),
        ("bytedance-large", "traces fetch bytedance-large"),
        ("nothing.json", "no such file"),
    ],
)
def test_load_refuses(folders, name, message):
    with pytest.raises(TraceError, match=message):
        catalog.load(name)
