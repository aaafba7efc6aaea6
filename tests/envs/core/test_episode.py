"""Episode records: whatever is altered, by whom, is caught, and the message says what differs."""

import io
import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from tests.envs.cases import IDS, busy

import fleetgym
from fleetgym.envs.core import episode
from fleetgym.envs.core.episode import EpisodeRecord
from fleetgym.envs.core.errors import RecordError, ScenarioError
from fleetgym.envs.core.replay import replay, verify
from fleetgym.traces.errors import FleetGymError

ACTIONS = "actions.scheduler"


@pytest.fixture(scope="module")
def record():
    arguments = busy("fleetgym/VMRescheduling-v0")
    scenario = arguments.pop("scenario")
    (made,) = fleetgym.evaluate(
        "random", "VMRescheduling", scenario, [4], decision_latency="fixed:20", **arguments
    )
    assert len(made.latency_ns) >= 4
    return made


@pytest.fixture
def path(record, tmp_path):
    return record.write(tmp_path / "runs" / "a.npz")


def forge(path, change, *, rehash=True):
    """Alters header and arrays by ``change(header, arrays)``, the content hash with them."""
    with np.load(path) as file:
        entries = {name: file[name] for name in file.files}
    header, seen = json.loads(str(entries.pop("header"))), entries.pop("sha256")
    change(header, entries)
    text = json.dumps(header, sort_keys=True)
    if rehash:
        seen = np.array(episode._content_hash(text, entries))
    np.savez_compressed(path, header=np.array(text), sha256=seen, **entries)
    return path


def as_json(record):
    return json.dumps(record.header(), sort_keys=True)


@pytest.mark.parametrize("id", IDS)
@pytest.mark.parametrize("latency", ["none", "fixed:30", "measured"])
def test_write_read_replay_verify(id, latency, tmp_path):
    arguments = busy(id)
    scenario = arguments.pop("scenario") if "scenario" in arguments else "small"
    records = fleetgym.evaluate(
        "random", id, scenario, [1, 2, 3], decision_latency=latency, **arguments
    )
    for k, made in enumerate(records):
        read = EpisodeRecord.read(made.write(tmp_path / f"{k}.npz"))
        assert as_json(read) == as_json(made)
        for name, array in made.arrays().items():
            assert np.array_equal(read.arrays()[name], array)
        assert verify(read) == fleetgym.replay(made) == made.metrics
    assert sorted(tmp_path.iterdir()) == [tmp_path / f"{k}.npz" for k in range(3)]


def test_records_do_not_depend_on_the_batch():
    def played(num_worlds):
        return fleetgym.evaluate("random", "VMRescheduling", "toy", range(5), num_worlds=num_worlds)

    sums = [[made.workload_sha256 for made in played(n)] for n in (1, 2, 5)]
    assert sums[0] == sums[1] == sums[2]
    for made in played(2) + played(5):
        assert verify(made) == made.metrics


def test_a_flipped_byte_is_caught_or_changes_nothing(path, record):
    content = path.read_bytes()
    caught, expected = 0, as_json(record)
    for at in np.linspace(0, len(content) - 1, 300).astype(int):
        spoilt = bytearray(content)
        spoilt[at] ^= 0x10
        path.write_bytes(bytes(spoilt))
        try:
            read = EpisodeRecord.read(path)
        except RecordError:
            caught += 1
        else:  # a date of the archive
            assert as_json(read) == expected
            for name, array in record.arrays().items():
                assert np.array_equal(read.arrays()[name], array)
    assert caught > 200


def altered_action(header, arrays):
    arrays[ACTIONS][0] ^= 1


def altered_metric(header, arrays):
    header["metrics"]["fragment_rate"] -= 0.1


def altered_policy(header, arrays):
    header["policy"] = "me"


@pytest.mark.parametrize("change", [altered_action, altered_metric, altered_policy])
def test_content_hash(path, change):
    forge(path, change, rehash=False)
    with pytest.raises(RecordError, match="does not match its SHA-256"):
        EpisodeRecord.read(path)


def put(name, value):
    def change(header, arrays):
        header[name] = value

    return change


def put_scenario(**fields):
    return lambda header, arrays: header["scenario"].update(fields)


def put_array(name, make):
    def change(header, arrays):
        arrays[name] = make(arrays[name])

    return change


def set_at(name, index, value):
    def change(header, arrays):
        arrays[name][index] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (altered_metric, r"metric 'fragment_rate' is .* in the record and .* in the replay"),
        (lambda h, a: h["metrics"].pop("objective"), r"metric 'objective' is not in both"),
        (lambda h, a: h["metrics"].update(speed=1.0), r"metric 'speed' is not in both"),
        (lambda h, a: h["metrics"].update(objective=float("nan")), r"'objective' is nan"),
        (altered_action, r"step 0: action|the state after step 0"),
        (set_at(ACTIONS, 2, -5), r"step 2: action .*-5.* is illegal"),
        (set_at(ACTIONS, 1, 2**40), r"step 1: action .* is illegal"),
        (set_at("digests", 0, 1), r"the state after reset has digest"),
        (set_at("digests", 3, 1), r"the state after step 2 has digest"),
        (set_at("latency_ns", 0, 5), r"step 0: latency"),
        (put("workload_seed", 5), r"seed 5 has SHA-256"),
        (put("workload_seed", -1), r"workload_seed"),
        (put("workload_sha256", "0" * 64), r"the record 0000"),
        (put("workload", "bytedance-large"), r"'bytedance-large'"),
        (put("decision_latency", "none"), r"step 0: latency"),
        (put("decision_latency", "quick"), r"'quick'"),
        (put("information", "psychic"), r"'psychic'"),
        (put("decision_time_s", -1.0), r"decision_time_s"),
        (put("decision_time_s", float("nan")), r"decision_time_s"),
        (put("id", "fleetgym/VMRescheduling-v7"), r"another version"),
        (put("id", "fleetgym/Chess-v0"), r"'fleetgym/Chess-v0'"),
        (put("schema", 2), r"schema 2, this version reads 1"),
        (put("schema", None), r"schema None"),
        (put("version", 3), r"'version' is 3, not str"),
        (put("metrics", []), r"'metrics' is \[\], not dict"),
        (put("workload_seed", 1.5), r"'workload_seed' is 1.5, not int"),
        (lambda h, a: h.pop("policy"), r"'policy' is None, not str"),
        (put_scenario(mnl=4), r"the state after reset"),
        (put_scenario(mnl=0), r"mnl is 0"),
        (put_scenario(mln=4), r"no field 'mln'"),
        (put_scenario(name="tiny"), r"no scenario 'tiny'"),
        (put_array(ACTIONS, lambda a: a.astype(np.float64) * np.nan), r"is float64, it must be"),
        (put_array(ACTIONS, lambda a: a.astype(np.int32)), r"is int32, it must be int64"),
        (put_array(ACTIONS, lambda a: a[:-1]), r"has shape .* steps need"),
        (put_array(ACTIONS, lambda a: a[..., None]), r"actions of role 'scheduler' have shape"),
        (put_array("latency_ns", lambda a: a - 2**62), r"negative latency"),
        (put_array("latency_ns", lambda a: a.reshape(1, -1)), r"latency_ns"),
        (put_array("latency_ns", lambda a: a[0]), r"latency_ns"),
        (put_array("digests", lambda a: a.astype(np.int64)), r"digests is int64"),
        (put_array("digests", lambda a: a[1:]), r"digests has shape"),
        (lambda h, a: a.pop(ACTIONS), r"arrays missing: actions"),
        (lambda h, a: a.pop("digests"), r"arrays missing: \['digests'\]"),
        (lambda h, a: a.update(extra=np.zeros(3)), r"unknown: \['extra'\]"),
        (lambda h, a: a.update({n: v[:0] for n, v in a.items() if n != "digests"}), r"digests"),
    ],
)
def test_forged_with_a_fresh_hash(path, change, message):
    forge(path, change)
    with pytest.raises(FleetGymError, match=message):
        verify(EpisodeRecord.read(path))


def test_shorter_and_longer_episodes(record):
    cut = replace(
        record,
        actions={"scheduler": record.actions["scheduler"][:-1]},
        latency_ns=record.latency_ns[:-1],
        digests=record.digests[:-1],
    )
    with pytest.raises(RecordError, match="is not over in the replay"):
        replay(cut)
    longer = replace(
        record,
        actions={"scheduler": np.concatenate([record.actions["scheduler"]] * 2)},
        latency_ns=np.concatenate([record.latency_ns] * 2),
        digests=np.concatenate([record.digests, record.digests[1:]]),
    )
    with pytest.raises(RecordError, match="is over in the replay"):
        replay(longer)


@pytest.mark.parametrize("size", [0, 1, 100, -30, -1])
def test_truncated_file(path, size):
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(RecordError, match=r"a\.npz: not a readable record"):
        EpisodeRecord.read(path)


def test_no_file_and_no_archive(tmp_path):
    with pytest.raises(RecordError, match=r"none\.npz"):
        EpisodeRecord.read(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(RecordError, match="not a readable record"):
        EpisodeRecord.read(tmp_path / "text.npz")
    np.save(tmp_path / "plain.npy", np.zeros(3))
    with pytest.raises(RecordError):
        EpisodeRecord.read(tmp_path / "plain.npy")


def test_bomb_is_refused_before_it_is_unpacked(path, monkeypatch):
    monkeypatch.setattr(episode, "MAX_BYTES", 100_000)
    forge(path, lambda header, arrays: arrays.update(bomb=np.zeros(10**6, np.int8)))
    monkeypatch.setattr(np, "load", lambda *a, **k: pytest.fail("the bomb was unpacked"))
    with pytest.raises(RecordError, match=r"bytes unpacked, at most 100000 are read"):
        EpisodeRecord.read(path)


def test_array_that_declares_more_than_it_has(path):
    """A few bytes whose header claims 10^13 numbers."""
    buffer = io.BytesIO()
    header = {"descr": "<i8", "fortran_order": False, "shape": (10**13,)}
    np.lib.format.write_array_header_1_0(buffer, header)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("actions.more.npy", buffer.getvalue())
    with pytest.raises(RecordError, match="not a readable record"):
        EpisodeRecord.read(path)


class Mine:
    """What a forger would like to be unpickled."""

    def __reduce__(self):
        return pytest.fail, ("the record was unpickled",)


def test_pickled_array_is_not_unpickled(path):
    with np.load(path) as file:
        entries = {name: file[name] for name in file.files}
    entries["actions.other"] = np.array([Mine()], dtype=object)
    np.savez_compressed(path, **entries, allow_pickle=True)
    with pytest.raises(RecordError, match=r"not a readable record.*allow_pickle"):
        EpisodeRecord.read(path)


def test_header_that_is_no_json_or_no_text(path):
    with np.load(path) as file:
        entries = {name: file[name] for name in file.files}
    for header, message in (
        (np.array("{"), "not JSON"),
        (np.array("[]"), "schema"),
        (np.array(3), "missing or not a text"),
        (np.array(["{}"]), "missing or not a text"),
    ):
        np.savez_compressed(path, **(entries | {"header": header}))
        with pytest.raises(RecordError, match=message):
            EpisodeRecord.read(path)


def test_a_record_of_an_older_package_replays(record):
    assert verify(replace(record, version="0.0.1")) == record.metrics


def test_evaluate_refuses_bad_arguments():
    with pytest.raises(ScenarioError, match="num_worlds is 2"):
        fleetgym.evaluate(
            "random", "VMRescheduling", "toy", [0], num_worlds=2, decision_latency="measured"
        )
    with pytest.raises(FleetGymError, match="no policy 'randm': did you mean 'random'"):
        fleetgym.evaluate("randm", "VMRescheduling", "toy", [0])
