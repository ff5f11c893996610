import json
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dataset import snapshots as module
from pipeline.dataset.asset_names import SHARDS
from pipeline.dataset.snapshots import Index, PackedFile, Snapshots, snapshot_name, to_bytes, to_hex
from pipeline.errors import InvalidStore
from pipeline.storage.objects import Objects
from pipeline.storage.places import StorageError, connect
from tests.pipeline.buckets import Bucket, ForgetfulBucket, objects_in

FILES = [
    PackedFile(name=f"packed/shard=x00/{k}.parquet", rows=1, bytes=10, sha256=64 * "0")
    for k in range(3)
]
IDS = st.binary(min_size=16, max_size=16).map(bytes.hex)


def local(path: Path) -> Objects:
    fs, root = connect(str(path))
    return Objects(fs, root, url=str(path))


def index_of(places: dict[str, tuple[int, int]]) -> Index:
    """An index from a plain dict: id -> file, row group."""
    return Index.sorted(
        ids=to_bytes(places),
        files=np.array([file for file, _ in places.values()], np.int32),
        row_groups=np.array([number for _, number in places.values()], np.int32),
    )


@given(st.dictionaries(IDS, st.tuples(st.integers(0, 9), st.integers(0, 99)), max_size=40))
def test_an_index_is_a_dictionary(places: dict[str, tuple[int, int]]) -> None:
    index = index_of(places)
    assert index.asset_ids() == sorted(places)
    assert {name: index.find(name) for name in places} == places
    assert index.find("00" * 15 + "01") == places.get("00" * 15 + "01")
    again = Index.from_table(index.to_table())
    assert again.asset_ids() == sorted(places)
    parts = [index.of_shard(name).asset_ids() for name in SHARDS]
    assert [x for part in parts for x in part] == sorted(places)
    assert all(x[:2] == name[1:] for name, p in zip(SHARDS, parts, strict=True) for x in p)


def test_ids_that_end_in_nothing_are_kept_apart() -> None:
    names = ["ab" + "00" * 15, "ab" + "00" * 14 + "01", "00" * 16]
    places = {name: (0, k) for k, name in enumerate(names)}
    index = index_of(places)
    assert to_hex(to_bytes(names)) == names
    assert {name: index.find(name) for name in names} == places


@pytest.mark.parametrize("place", ["local", "bucket"])
def test_the_newest_snapshot_is_the_one_that_counts(tmp_path: Path, place: str) -> None:
    objects = local(tmp_path) if place == "local" else objects_in(Bucket)
    reader = Snapshots(objects)
    assert reader.newest() is None
    one, two = "00" * 16, "ff" * 16
    first = Snapshots(objects).publish(1, FILES[:1], index_of({one: (0, 5)}), partition=None)
    assert reader.newest() == first
    assert first is not None
    assert reader.shard_index(first, "x00").find(one) == (0, 5)
    both = index_of({one: (0, 5), two: (1, 2)})
    column = pa.field("collection", pa.string())
    second = Snapshots(objects).publish(2, FILES[:2], both, partition=column)
    assert reader.newest() == second
    assert second is not None
    assert second.partition == column
    assert reader.shard_index(second, "xff").find(two) == (1, 2)
    assert reader.shard_index(first, "xff").find(two) is None
    assert reader.index(second).asset_ids() == [one, two]
    assert reader.numbers() == [1, 2]


def test_a_recent_snapshot_needs_no_listing(monkeypatch: pytest.MonkeyPatch) -> None:
    objects = objects_in(Bucket)
    reader, now = Snapshots(objects), 1000.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    assert reader.recent() is None
    first = Snapshots(objects).publish(1, FILES[:1], index_of({"00" * 16: (0, 0)}), partition=None)
    assert first is not None
    now += module.RECENT_SECONDS - 1
    listed: list[str] = []
    plain = objects.names
    monkeypatch.setattr(objects, "names", lambda name: listed.append(name) or plain(name))
    assert reader.recent() is None
    assert not listed
    now += 2
    assert reader.recent() == first
    assert reader.recent() == first
    assert listed == ["_snapshots"]


def test_a_look_that_failed_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise what is packed would count as absent for a minute, and be committed again."""
    objects = objects_in(Bucket)
    first = Snapshots(objects).publish(1, FILES[:1], index_of({"00" * 16: (0, 0)}), partition=None)
    reader = Snapshots(objects)

    def fail(*_: object) -> None:
        raise StorageError("passing", "answer 503", objects.url)

    for method in ("names", "read"):
        with monkeypatch.context() as context:
            context.setattr(objects, method, fail)
            with pytest.raises(StorageError):
                reader.recent()
    assert reader.recent() == first


def test_one_shard_is_one_small_read() -> None:
    objects = objects_in(Bucket)
    rng = np.random.default_rng(0)
    places = {rng.bytes(16).hex(): (0, 0) for _ in range(50_000)}
    snapshots = Snapshots(objects)
    snapshot = snapshots.publish(1, FILES[:1], index_of(places), partition=None)
    assert snapshot is not None
    file = pq.ParquetFile(objects.open(snapshot.index))
    assert file.num_row_groups == len(SHARDS)
    whole = objects.sizes("_snapshots")[snapshot.index.removeprefix("_snapshots/")]
    row_group = file.metadata.row_group(7).total_byte_size
    assert row_group < whole / 100
    expected = sorted(x for x in places if x.startswith("07"))
    assert snapshots.shard_index(snapshot, "x07").asset_ids() == expected


def test_of_many_that_publish_one_number_one_wins(tmp_path: Path) -> None:
    start = threading.Barrier(8, timeout=30)

    def publish(k: int) -> bool:
        index = index_of({f"{k:032x}": (0, 0)})
        start.wait()
        return Snapshots(local(tmp_path)).publish(1, FILES[:1], index, partition=None) is not None

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(publish, range(8)))
    assert won.count(True) == 1
    newest = Snapshots(local(tmp_path)).newest()
    assert newest is not None
    found = Snapshots(local(tmp_path)).index(newest).asset_ids()
    assert found == [f"{won.index(True):032x}"]


def test_a_publication_whose_answer_was_lost_is_ours() -> None:
    objects = objects_in(ForgetfulBucket)
    index = index_of({"00" * 16: (0, 0)})
    assert Snapshots(objects).publish(1, FILES[:1], index, partition=None) is not None
    other = index_of({"01" * 16: (0, 0)})
    assert Snapshots(objects).publish(1, FILES[:1], other, partition=None) is None


def test_what_is_no_snapshot_is_not_read(tmp_path: Path) -> None:
    objects = local(tmp_path)
    for name in ("notes.txt", "1.json", "00000009.json.bak", "x0000009.json", ".00000009.json"):
        objects.publish(f"_snapshots/{name}", b"{")
    assert Snapshots(objects).newest() is None


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"{}", b"\xff", b'{"files": 3}', b'{"files": [{}]}', b"null", b"[" * 5000],
)
def test_a_damaged_snapshot_is_named(tmp_path: Path, data: bytes) -> None:
    objects = local(tmp_path)
    objects.publish(snapshot_name(1), data)
    with pytest.raises(InvalidStore, match=r"00000001\.json is damaged") as caught:
        Snapshots(objects).newest()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", ["absent", "cut", "changed"])
def test_a_damaged_index_is_named(tmp_path: Path, damage: str) -> None:
    objects = local(tmp_path)
    index = index_of({f"{k:032x}": (0, 0) for k in range(100)})
    snapshot = Snapshots(objects).publish(1, FILES[:1], index, partition=None)
    assert snapshot is not None
    data = bytearray(objects.read(snapshot.index) or b"")
    objects.remove(snapshot.index)
    if damage == "cut":
        objects.publish(snapshot.index, bytes(data[:-20]))
    if damage == "changed":
        data[data.index(bytes(15) + b"\x32")] ^= 1
        objects.publish(snapshot.index, bytes(data))
    with pytest.raises(InvalidStore, match=r"\.ids\.parquet is damaged"):
        Snapshots(objects).index(snapshot)


def test_a_snapshot_reads_well_by_eye(tmp_path: Path) -> None:
    Snapshots(local(tmp_path)).publish(1, FILES[:1], index_of({"00" * 16: (0, 0)}), partition=None)
    document = json.loads((tmp_path / "_snapshots/00000001.json").read_text())
    assert document.pop("created_at").startswith("20")
    assert document.pop("index").startswith("_snapshots/00000001.")
    assert document == {
        "number": 1,
        "partition_by": None,
        "partition_type": None,
        "files": [
            {"name": "packed/shard=x00/0.parquet", "rows": 1, "bytes": 10, "sha256": 64 * "0"}
        ],
        "num_assets": 1,
    }


def test_snapshots_travel_without_what_they_read(tmp_path: Path) -> None:
    snapshots = Snapshots(local(tmp_path))
    snapshots.publish(1, FILES[:1], index_of({"00" * 16: (0, 0)}), partition=None)
    empty = len(pickle.dumps(snapshots))
    newest = snapshots.newest()
    assert newest is not None
    snapshots.shard_index(newest, "x00")
    assert len(pickle.dumps(snapshots)) == empty
    assert pickle.loads(pickle.dumps(snapshots)).newest() == newest


@pytest.mark.slow
def test_a_million_ids_load_in_seconds(tmp_path: Path) -> None:
    snapshots = Snapshots(local(tmp_path))
    raw = np.random.default_rng(0).bytes(16_000_000)
    index = Index.sorted(
        ids=np.frombuffer(raw, "S16"),
        files=np.zeros(1_000_000, np.int32),
        row_groups=np.arange(1_000_000, dtype=np.int32) // 64,
    )
    snapshot = snapshots.publish(1, FILES[:1], index, partition=None)
    assert snapshot is not None
    start = time.monotonic()
    found = snapshots.index(snapshot)
    assert len(set(found.asset_ids())) == 1_000_000
    assert time.monotonic() - start < 10
    arrays = (found.ids, found.files, found.row_groups)
    assert sum(array.nbytes for array in arrays) < 25_000_000
