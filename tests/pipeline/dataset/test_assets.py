import pickle
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline import compact
from pipeline.dataset import assets as assets_module
from pipeline.errors import InvalidStore
from pipeline.storage.objects import Objects
from pipeline.store import Store, asset_name
from tests.pipeline.packed import fill
from tests.pipeline.sample_assets import open_store

COLUMNS = ["asset_id", "prompt", "views.list.element.radius"]


@pytest.fixture(params=[None, "collection"])
def mixed(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Assets that are packed, that are packed and lie alone too, and that lie alone."""
    store = open_store(str(tmp_path))
    packed = sorted(fill(store, range(4), ("a", "b")))
    compact.compact(store, partition_by=request.param)
    for asset_id in packed[:2]:
        store.objects.remove(asset_name(asset_id))
    fill(store, range(4, 6), ("a", "b"))
    return Store(store.objects)


def test_an_asset_is_one_wherever_it_lies(mixed: Store) -> None:
    asset_ids = mixed.committed()
    assert len(asset_ids) == 6
    shards = list(mixed.shards())
    assert sorted(x for shard in shards for x in shard.asset_ids()) == sorted(asset_ids)
    assert [sum(len(x.loose) for x in shards), sum(len(x.packed) for x in shards)] == [4, 4]
    files = {x: shard.file_of(x) for shard in shards for x in shard.asset_ids()}
    alone = [x for x, name in files.items() if name == asset_name(x)]
    assert len(alone) == 2
    for shard in shards:
        assert mixed.assets.shard(shard.name).asset_ids() == shard.asset_ids()


def test_assets_are_read_in_the_order_asked_for(mixed: Store) -> None:
    asked = sorted(mixed.committed(), key=lambda asset_id: asset_id[::-1])
    rows = [row.to_pylist() for row in mixed.read_assets(asked, COLUMNS)]
    assert [len(row) for row in rows] == [1] * 6
    assert [row[0]["asset_id"] for row in rows] == asked
    assert all(len(row[0]["views"]) == 8 for row in rows)
    assert {tuple(row[0]) for row in rows} == {("asset_id", "prompt", "views")}
    for (row,) in (row.to_pylist() for row in mixed.read_assets(asked)):
        assert row["collection"] == "ab"[int(row["prompt_id"].removeprefix("row-")) % 2]
    names = {tuple(row.column_names) for row in mixed.read_assets(asked, ["collection"])}
    assert names == {("collection",)}


def test_columns_can_be_chosen_among_those_of_a_file(mixed: Store) -> None:
    def all_but_few(schema: pa.Schema) -> list[str]:
        return [name for name in schema.names if name not in ("field", "asset_id", "views")]

    asked = sorted(mixed.committed())
    tables = list(mixed.assets.read(asked, all_but_few, ahead=2))
    assert len(tables) == 6
    for table in tables:
        assert {"mesh_glb", "turntable", "loss_sds", "collection"} <= set(table.column_names)
        assert not {"field", "asset_id", "views"} & set(table.column_names)


def test_what_cannot_be_read_is_passed_over(mixed: Store, tmp_path: Path) -> None:
    asked = sorted(mixed.committed())
    shards = list(mixed.shards())
    alone = [x for shard in shards for x in shard.loose if shard.file_of(x) == asset_name(x)]
    (tmp_path / asset_name(alone[0])).write_bytes(b"PAR1")
    asked.insert(2, gone := "0" * 32)
    found = dict(zip(asked, mixed.assets.read_each(asked, ["asset_id"]), strict=True))
    assert isinstance(found.pop(alone[0]), InvalidStore)
    assert isinstance(found.pop(gone), FileNotFoundError)
    for asset_id, table in found.items():
        assert not isinstance(table, assets_module.Unreadable)
        assert table["asset_id"].to_pylist() == [asset_id]
    assert len(found) == len(asked) - 2


def opened_names(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of objects as they are opened from now on."""
    opened: list[str] = []
    open_object = Objects.open

    def watched(self: Objects, name: str):
        opened.append(name)
        return open_object(self, name)

    monkeypatch.setattr(Objects, "open", watched)
    return opened


def test_neighbours_in_a_row_group_are_read_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(str(tmp_path))
    asset_ids = sorted(fill(store, range(20)))
    compact.compact(store, partition_by="collection")
    opened = opened_names(monkeypatch)
    assert len(list(store.read_assets(asset_ids, ["prompt"]))) == 20
    assert len([name for name in opened if name.startswith("packed/")]) == 1


def test_what_is_damaged_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever lies in it."""
    store = open_store(str(tmp_path))
    asset_ids = sorted(fill(store, range(20)))
    compact.compact(store, partition_by="collection")
    snapshot = store.assets.snapshots.newest()
    assert snapshot is not None
    for file in snapshot.files:
        store.publish(file.name, b"PAR1 half")
    opened = opened_names(monkeypatch)
    found = list(store.assets.read_each(asset_ids, ["prompt"]))
    assert len(found) == 20
    assert all(isinstance(x, InvalidStore) for x in found)
    assert len([name for name in opened if name.startswith("packed/")]) == 1


def test_a_damaged_pack_is_named(mixed: Store) -> None:
    snapshot = mixed.assets.snapshots.newest()
    assert snapshot is not None
    for file in snapshot.files:
        mixed.publish(file.name, b"PAR1 half")
    with pytest.raises(InvalidStore, match=r"packed/.* is no readable asset: restore it"):
        list(mixed.read_assets(sorted(mixed.committed())))


def test_only_files_of_assets_in_shards_count(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    for directory in ("", "shard=xzz/", "shard=00/", "other/"):
        store.publish(f"assets/{directory}{'0' * 32}.parquet", b"x")
    assert store.committed() == set()
    assert not any(shard.loose for shard in store.shards())


def test_few_shards_are_held_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(str(tmp_path))
    fill(store, range(30))
    monkeypatch.setattr(assets_module, "_SHARDS_AHEAD", 4)
    listed: list[str] = []
    sizes = Objects.sizes

    def watched(self: Objects, directory: str) -> dict[str, int]:
        listed.append(directory)
        return sizes(self, directory)

    monkeypatch.setattr(Objects, "sizes", watched)
    shards: Iterator = store.shards()
    next(shards)
    assert len(listed) <= 4
    assert sum(len(shard.loose) for shard in shards) > 0
    assert len(listed) == len(set(listed)) == len(store.objects.names("assets"))


def test_readers_travel(mixed: Store) -> None:
    reader = pickle.loads(pickle.dumps(mixed.assets))
    assert reader.committed() == mixed.committed()
