import zipfile
from dataclasses import fields, replace

import numpy as np
import pytest

from fleetgym.traces import npz
from fleetgym.traces.catalog import load
from fleetgym.traces.errors import TraceError
from fleetgym.traces.formats.bytedance import read
from fleetgym.traces.generators.vm_fleet import matched
from fleetgym.traces.schema import Fleet


@pytest.fixture
def fleet():
    return matched(num_pms=3, racks=2, seed=1, groups=2, group_max=2)


def spoil(path, **changes):
    with np.load(path) as archive:
        arrays = dict(archive)
    arrays |= changes
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})


def test_round_trip(fleet, document, written, tmp_path):
    for before in (fleet, read(written(document))):
        path = npz.fleet_to_npz(before, tmp_path / "fleet.npz")
        after = load(path)
        for field in fields(Fleet):
            old, new = getattr(before, field.name), getattr(after, field.name)
            assert np.array_equal(old, new)
            assert not isinstance(old, np.ndarray) or old.dtype == new.dtype
    assert [entry.name for entry in tmp_path.glob("*.part")] == []


def test_invalid_fleet_is_not_written(fleet, tmp_path):
    with pytest.raises(TraceError, match="sizes must be"):
        npz.fleet_to_npz(replace(fleet, vm_cores=-fleet.vm_cores), tmp_path / "fleet.npz")
    assert list(tmp_path.iterdir()) == []


def test_nowhere_to_write(fleet, tmp_path):
    with pytest.raises(TraceError, match="cannot be written"):
        npz.fleet_to_npz(fleet, tmp_path / "nowhere" / "fleet.npz")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": np.int64(2)}, "version 2, but this package reads 1"),
        ({"version": np.zeros(3, np.int64)}, "version"),
        ({"vm_cores": None}, r"missing or unknown: \['vm_cores'\]"),
        ({"extra": np.zeros(1)}, r"missing or unknown: \['extra'\]"),
        ({"vm_cores": np.zeros(2)}, "vm_cores is 1-dimensional float64"),
        ({"vm_cores": np.zeros((2, 2), np.int32)}, "vm_cores is 2-dimensional"),
        ({"vm_double": np.zeros(2, np.int32)}, "vm_double"),
        ({"vm_cores": np.zeros(2, np.int32)}, "entries, not"),
        ({"pm_ids": np.zeros(3)}, "pm_ids"),
        ({"name": np.zeros(3)}, "name"),
        ({"vm_cores": np.array([{}], object)}, "not a fleet's .npz"),
    ],
)
def test_spoilt(fleet, tmp_path, changes, message):
    path = npz.fleet_to_npz(fleet, tmp_path / "fleet.npz")
    spoil(path, **changes)
    with pytest.raises(TraceError, match=message):
        npz.fleet_from_npz(path)


def test_text_that_is_not_unicode(fleet, tmp_path):
    path = npz.fleet_to_npz(fleet, tmp_path / "fleet.npz")
    spoil(path, pm_ids=np.full(3, 0x7FFFFFFF, np.uint32).view("<U1"))
    with pytest.raises(TraceError, match="not Unicode"):
        npz.fleet_from_npz(path)


def test_other_byte_order(fleet, tmp_path):
    path = npz.fleet_to_npz(fleet, tmp_path / "fleet.npz")
    spoil(path, vm_cores=fleet.vm_cores.astype(">i4"))
    assert npz.fleet_from_npz(path).vm_cores.dtype == np.dtype(np.int32)
    assert npz.fleet_from_npz(path).vm_cores.tolist() == fleet.vm_cores.tolist()


def test_cut_off(fleet, tmp_path):
    path = npz.fleet_to_npz(fleet, tmp_path / "fleet.npz")
    whole = path.read_bytes()
    for keep in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:keep])
        with pytest.raises(TraceError, match="not a fleet"):
            npz.fleet_from_npz(path)


def test_flipped_bytes_never_crash(fleet, tmp_path):
    path = npz.fleet_to_npz(fleet, tmp_path / "fleet.npz")
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        spoilt = bytearray(whole)
        spoilt[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        path.write_bytes(spoilt)
        try:
            npz.fleet_from_npz(path)
        except TraceError:
            refused += 1
    assert refused > 100


def test_bomb(fleet, tmp_path, monkeypatch):
    path = npz.fleet_to_npz(fleet, tmp_path / "fleet.npz")
    with zipfile.ZipFile(path) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    monkeypatch.setattr(npz, "MAX_BYTES", size)
    npz.fleet_from_npz(path)
    monkeypatch.setattr(npz, "MAX_BYTES", size - 1)
    with pytest.raises(TraceError, match="uncompressed; not read"):
        npz.fleet_from_npz(path)


def test_not_found(tmp_path):
    with pytest.raises(TraceError, match="no such file"):
        npz.fleet_from_npz(tmp_path / "fleet.npz")
