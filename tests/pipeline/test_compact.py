import itertools
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import compact, contact_sheet, status
from pipeline.compact import LARGEST
from pipeline.dataset import catalog
from pipeline.errors import UserError
from pipeline.storage.objects import Objects
from pipeline.store import Store, asset_name
from tests.pipeline.dataset.test_partitions import HOSTILE
from tests.pipeline.packed import commit_large, fill, seen
from tests.pipeline.sample_assets import open_store

ROOT = Path(__file__).parents[2]
TARGET = 200_000


@pytest.fixture
def anywhere(request: pytest.FixtureRequest, place: str, tmp_path: Path) -> Store:
    if place == "local":
        return open_store(str(tmp_path))
    server = request.getfixturevalue(place)
    server.clear()
    return open_store(server.url("out"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path))


def packed_files(store: Store) -> set[str]:
    return {
        f"packed/{directory}/{name}"
        for directory in store.objects.names("packed")
        for name in store.objects.names(f"packed/{directory}")
    }


@pytest.mark.parametrize(
    ("place", "partition_by"),
    [("local", None), ("local", "collection"), ("gs", "collection"), ("s3", "collection")],
)
def test_everything_is_packed_once_and_nothing_is_lost(
    anywhere: Store, partition_by: str | None
) -> None:
    first = fill(anywhere, range(4), ("a", "b"))
    before = catalog.collect(anywhere)
    done = compact.compact(anywhere, target_bytes=TARGET, partition_by=partition_by)
    assert (done.num_assets, done.left) == (4, ())
    assert done.snapshot is not None
    assert (done.snapshot.number, done.snapshot.num_assets) == (1, 4)
    assert {file.name for file in done.snapshot.files} == packed_files(anywhere)
    assert anywhere.committed() == first
    assert seen(anywhere) == sorted(first)
    for asset_id in first:
        anywhere.objects.remove(asset_name(asset_id))
    second = fill(anywhere, range(4, 6), ("a", "c"))
    done = compact.compact(anywhere, target_bytes=TARGET)
    assert (done.num_assets, done.snapshot and done.snapshot.num_assets) == (2, 6)
    assert seen(anywhere) == sorted(first | second)
    after = catalog.collect(anywhere)
    chosen = after.filter(pa.array([x in first for x in after["asset_id"].to_pylist()]))
    assert chosen.drop_columns(["asset_file"]).equals(before.drop_columns(["asset_file"]))


def test_a_second_compaction_does_nothing(store: Store) -> None:
    fill(store, range(10))
    compact.compact(store, target_bytes=TARGET)
    before = packed_files(store), store.assets.snapshots.newest()
    done = compact.compact(store, target_bytes=TARGET)
    assert (done.num_assets, done.num_files) == (0, 0)
    assert (packed_files(store), store.assets.snapshots.newest()) == before
    assert done.snapshot == before[1]


def test_an_output_without_assets_has_no_snapshot(store: Store) -> None:
    done = compact.compact(store)
    assert (done.snapshot, done.num_assets) == (None, 0)
    assert store.objects.names("_snapshots") == []
    assert catalog.collect(store).num_rows == 0
    assert compact.render(done) == "nothing new to pack; nothing is packed"


@pytest.mark.parametrize(
    ("partition_by", "numbers", "said"),
    [
        (None, range(3), "packed 3 assets in 3 shards, a file each"),
        (None, range(1), "packed 1 asset in 1 shard, 1 file"),
        ("collection", range(3), "packed 3 assets in 2 values of 'collection', a file each"),
        ("collection", range(1), "packed 1 asset in 1 value of 'collection', 1 file"),
    ],
)
def test_a_file_for_each_partition_is_said_to_be_that(
    store: Store, partition_by: str | None, numbers: range, said: str
) -> None:
    fill(store, numbers, ("a", "b"))
    done = compact.compact(store, partition_by=partition_by)
    assert len(packed_files(store)) == done.num_files == done.num_partitions
    size, assets = f"{done.num_bytes / 1e6:.1f} MB", "3 assets" if len(numbers) > 1 else "1 asset"
    assert compact.render(done) == f"{said} ({size}); snapshot 1 holds {assets}"
    again = compact.render(compact.compact(store))
    assert again == f"nothing new to pack; snapshot 1 holds {assets}"


def test_partitions_of_several_files_are_told_with_their_number(store: Store) -> None:
    fill(store, range(10))
    done = compact.compact(store, target_bytes=TARGET, partition_by="collection")
    assert done.num_files > 1
    start = f"packed 10 assets in 1 value of 'collection', {done.num_files} files ("
    assert compact.render(done).startswith(start)


def test_the_dataset_reads_as_before_for_those_who_look_at_it(store: Store) -> None:
    asset_ids = fill(store, range(12))
    picture, counts = contact_sheet.draw(store), status.summarise(store)
    done = compact.compact(store, target_bytes=TARGET)
    assert done.snapshot is not None
    assert contact_sheet.draw(store) == picture
    both = status.summarise(store)
    assert (both.num_committed, both.num_bytes) == (12, done.num_bytes)
    for asset_id in asset_ids:
        store.objects.remove(asset_name(asset_id))
    assert contact_sheet.draw(store) == picture
    alone = status.summarise(store)
    assert alone == both
    assert counts.num_committed == 12


def test_readers_of_the_old_state_keep_working(store: Store) -> None:
    first = fill(store, range(8))
    compact.compact(store, target_bytes=TARGET)
    reader = Store(store.objects)
    old = reader.assets.snapshots.newest()
    assert old is not None
    rows = reader.read_assets(sorted(first), ["asset_id"])
    found = [next(rows)["asset_id"][0].as_py()]
    fill(store, range(8, 24))
    compact.compact(store, target_bytes=TARGET)
    found += [row["asset_id"][0].as_py() for row in rows]
    assert found == sorted(first)
    paths = [f"{store.url}/{file.name}" for file in old.files]
    assert sorted(ds.dataset(paths).to_table()["asset_id"].to_pylist()) == sorted(first)


def test_hostile_values_are_harmless_directories(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "out"))
    asset_ids = fill(store, range(len(HOSTILE)), tuple(HOSTILE))
    compact.compact(store, partition_by="collection")
    assert sorted(x.name for x in tmp_path.iterdir()) == ["out"]
    top = {name.partition("/")[0] for name in os.listdir(tmp_path / "out")}
    assert top == {"_schema.json", "_snapshots", "assets", "catalog", "packed"}
    assert len(store.objects.names("packed")) == len(set(HOSTILE))
    for asset_id in asset_ids:
        store.objects.remove(asset_name(asset_id))
    rows = store.read_assets(sorted(asset_ids), ["prompt_id", "collection"])
    found = {row["prompt_id"][0].as_py(): row["collection"][0].as_py() for row in rows}
    assert found == {f"row-{k}": value for k, value in enumerate(HOSTILE)}
    (tmp_path / "out" / catalog.NAME).unlink()
    whole = catalog.collect(store)
    assert (
        dict(zip(*(whole[x].to_pylist() for x in ("prompt_id", "collection")), strict=True))
        == found
    )


def test_too_many_values_are_a_users_mistake(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.dataset.partitions.MAX_VALUES", 3)
    fill(store, range(8), ("a", "b", "c", "d"))
    with pytest.raises(UserError, match="expected at most 3 different values, got more"):
        compact.compact(store, partition_by="collection")
    assert store.objects.names("packed") == []


def test_a_dataset_is_packed_in_one_way(store: Store) -> None:
    fill(store, range(2))
    compact.compact(store)
    with pytest.raises(UserError, match="is packed by shard: expected the same again"):
        compact.compact(store, partition_by="collection")


@pytest.mark.parametrize("partition_by", [None, "collection"])
def test_a_damaged_asset_is_left_and_the_others_are_packed(
    store: Store, partition_by: str | None
) -> None:
    asset_ids = sorted(fill(store, range(6)))
    bad = asset_name(asset_ids[2])
    store.objects.publish(bad, b"PAR1 half")
    first, again = (compact.compact(store, partition_by=partition_by) for _ in range(2))
    for done in (first, again):
        assert [left.name for left in done.left] == [bad]
        assert f"left {bad}: " in compact.render(done)
    assert compact.render(again).startswith("nothing was packed; snapshot 1 holds 5 assets\n")
    snapshot = store.assets.snapshots.newest()
    assert snapshot is not None
    assert snapshot.num_assets == 5
    assert store.committed() == set(asset_ids)
    assert store.objects.read(bad) == b"PAR1 half"
    assert seen(store) == sorted({*asset_ids} - {asset_ids[2]})


def test_a_damaged_pack_is_not_merged_and_named(store: Store) -> None:
    fill(store, range(2), ("a",))
    compact.compact(store, partition_by="collection")
    (name,) = packed_files(store)
    store.objects.publish(name, (store.objects.read(name) or b"")[:-9])
    new = fill(store, range(2, 5), ("a",))
    done = compact.compact(store)
    assert [left.name for left in done.left] == [name]
    assert done.snapshot is not None
    assert done.snapshot.num_assets == 5
    assert name in {file.name for file in done.snapshot.files}
    newest = [x for x in done.snapshot.files if x.name != name]
    assert [file.rows for file in newest] == [len(new)]


def test_files_have_the_size_asked_for_and_small_ones_are_merged(store: Store) -> None:
    target, written, done = 3_000_000, 0, compact.compact(store, partition_by="collection")
    for numbers in (range(1), range(1, 3), range(3, 20), range(20, 60), range(60, 61)):
        commit_large(store, numbers, 200_000)
        done = compact.compact(store, target_bytes=target, partition_by="collection")
        written += done.num_files
    assert done.snapshot is not None
    sizes = sorted(file.bytes for file in done.snapshot.files)
    assert sum(file.rows for file in done.snapshot.files) == 61
    assert max(sizes) <= LARGEST * target + 200_000
    small = [size for size in sizes if size < LARGEST * target / 2]
    assert len(small) <= 1 < len(sizes)
    assert written > len(sizes)


@given(
    sizes=st.lists(st.integers(0, 10**8), min_size=1, max_size=200),
    merged=st.integers(0, 255 * 10**6),
)
def test_bins_are_equal_and_hold_each_asset_once(sizes: list[int], merged: int) -> None:
    largest, pack = 512_000_000, compact.PackedFile(name="p/x", rows=1, bytes=merged, sha256="")
    group = compact._Group(
        directory="p",
        ids=np.arange(len(sizes)),
        sizes=np.array(sizes),
        packs=(pack,) if merged else (),
    )
    bins = list(compact._bins(group, largest))
    assert [int(x) for part in bins for x in part.ids] == list(range(len(sizes)))
    assert [part.packs for part in bins[1:]] == [()] * (len(bins) - 1)
    assert bins[0].packs == group.packs
    total = sum(sizes) + merged
    assert len(bins) == max(1, -(-total // largest))
    for number, part in enumerate(bins):
        mean, held = total / len(bins), int(part.sizes.sum()) + (0 if number else merged)
        assert held <= mean + max(sizes)


class Killed(BaseException):
    """The process ends here."""


@contextmanager
def killed_at(patch: pytest.MonkeyPatch, step: int, *, before: bool) -> Iterator[Counter[str]]:
    """Ends at the write number `step`, before or after it; counts the writes."""
    count: Counter[str] = Counter()
    with patch.context() as context:
        for name in ("create", "publish", "create_from", "publish_from"):
            write = getattr(Objects, name)

            def watched(self: Objects, *args: Any, _write: Any = write, _name: str = name) -> Any:
                count[_name] += 1
                if count.total() == step and before:
                    raise Killed
                result = _write(self, *args)
                if count.total() == step:
                    raise Killed
                return result

            context.setattr(Objects, name, watched)
        yield count


@pytest.mark.parametrize("before", [True, False])
def test_a_compactor_killed_at_any_write_loses_and_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    kinds, step = Counter[str](), 0
    store = open_store(str(tmp_path / "0"))
    asset_ids = fill(store, range(2), ("a", "b"))
    compact.compact(store, target_bytes=TARGET, partition_by="collection")
    asset_ids |= fill(store, range(2, 4), ("a", "b"))
    for step in itertools.count(1):
        shutil.copytree(tmp_path / "0", tmp_path / f"{step}")
        store = Store.open(str(tmp_path / f"{step}"), create=False)
        was_killed = False
        with killed_at(monkeypatch, step, before=before) as count:
            try:
                compact.compact(store, target_bytes=TARGET, publish_seconds=0)
            except Killed:
                was_killed = True
        kinds = count if not was_killed else kinds
        store = Store.open(store.url, create=False)
        assert store.committed() == asset_ids
        assert seen(store) == sorted(asset_ids)
        done = compact.compact(store, target_bytes=TARGET)
        assert done.snapshot is not None
        assert done.snapshot.num_assets == 4
        assert seen(store) == sorted(asset_ids)
        assert compact.compact(store, target_bytes=TARGET).num_files == 0
        if not was_killed:
            break
    assert set(kinds) == {"create", "create_from", "publish_from"}
    assert step == kinds.total() + 1 == 8


def test_of_two_compactors_the_slower_one_starts_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    asset_ids = fill(store, range(6))
    publish, said = type(store.assets.snapshots).publish, []
    rivals = iter([Store(store.objects)])

    def raced(self: Any, *args: Any, **options: Any) -> Any:
        for rival in rivals:
            asset_ids.update(fill(store, range(6, 8)))
            compact.compact(rival, target_bytes=TARGET)
        return publish(self, *args, **options)

    monkeypatch.setattr(type(store.assets.snapshots), "publish", raced)
    done = compact.compact(store, target_bytes=TARGET, say=said.append)
    assert any("starting again" in text for text in said)
    assert done.snapshot is not None
    assert (done.snapshot.number, done.snapshot.num_assets) == (1, 8)
    assert packed_files(store) == {file.name for file in done.snapshot.files}
    assert seen(store) == sorted(asset_ids)


def test_an_asset_that_goes_meanwhile_is_no_error(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    asset_ids = sorted(fill(store, range(4)))
    write, told = compact.Packer.write, []

    def late(self: Any, name: str, members: Any) -> Any:
        store.objects.remove(asset_name(asset_ids[1]))
        return write(self, name, members)

    monkeypatch.setattr(compact.Packer, "write", late)
    done = compact.compact(store, partition_by="collection", say=told.append)
    assert any("starting again" in text for text in told)
    assert done.snapshot is not None
    assert done.snapshot.num_assets == 3


def test_a_reader_that_listed_before_the_removal_finds_the_packed_one(store: Store) -> None:
    (asset_id,) = fill(store, range(1))
    rows = Store(store.objects).read_assets(iter([asset_id]), ["asset_id"])
    snapshots = store.assets.snapshots
    assert snapshots.newest() is None
    reader = Store(store.objects)
    compact.compact(store)
    store.objects.remove(asset_name(asset_id))
    row = reader.assets._read_alone(asset_id, ["asset_id"])
    assert row["asset_id"].to_pylist() == [asset_id]
    assert len(list(rows)) == 1
