import errno
import hashlib
import io
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.dataset import packing
from pipeline.dataset.asset_table import BLOBS, asset_table, to_parquet_bytes
from pipeline.dataset.packing import DamagedPack, Gone, Member, Packer
from pipeline.storage.places import StorageError
from pipeline.store import Store, asset_name
from tests.pipeline.packed import ASSET, fill
from tests.pipeline.sample_assets import (
    CARRIED,
    open_store,
    sample_asset,
    sample_bytes,
    sample_provenance,
    sample_task,
)

NAME = "packed/shard=x00/one.parquet"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path))


def loose(store: Store) -> list[Member]:
    return [
        Member(asset_id=x, name=asset_name(x), row_group=None, num_bytes=size)
        for shard in store.shards()
        for x, size in shard.loose.items()
    ]


def read(store: Store, name: str = NAME) -> pq.ParquetFile:
    return pq.ParquetFile(io.BytesIO(store.objects.read(name) or b""))


def test_a_pack_holds_every_column_of_every_asset(store: Store) -> None:
    fill(store, range(5))
    empty = sample_task(9)
    store.commit(empty.asset_id, sample_bytes(empty, asset=sample_asset(is_empty=True)))
    members = loose(store)
    pack = Packer(store.objects, CARRIED).write(NAME, reversed(members))
    expected = [
        pq.read_table(io.BytesIO(store.objects.read(member.name) or b""))
        for member in sorted(members, key=lambda member: member.asset_id)
    ]
    found = read(store).read()
    assert found.equals(pa.concat_tables(expected))
    assert found.schema.metadata == expected[0].schema.metadata
    assert b"huggingface" in (found.schema.metadata or {})
    assert pack.asset_ids == sorted(member.asset_id for member in members)
    assert pack.left == []
    assert pack.file is not None
    data = store.objects.read(NAME) or b""
    assert (pack.file.rows, pack.file.bytes) == (6, len(data))
    assert pack.file.sha256 == hashlib.sha256(data).hexdigest() == store.objects.sha256(NAME)


def test_pictures_are_stored_as_they_are_and_scalars_compressed(store: Store) -> None:
    fill(store, range(3))
    Packer(store.objects, CARRIED).write(NAME, loose(store))
    row_group = read(store).metadata.row_group(0)
    columns = [row_group.column(k) for k in range(row_group.num_columns)]
    codecs = {column.path_in_schema: column.compression for column in columns}
    assert codecs["mesh_glb"] == codecs["views.list.element.image.bytes"] == "UNCOMPRESSED"
    assert {codecs[x] for x in codecs if x.split(".")[0] not in BLOBS.names} == {"ZSTD"}


@pytest.mark.parametrize(("max_assets", "max_bytes"), [(4, 10**9), (64, 100_000), (64, 1)])
def test_row_groups_are_small(
    store: Store, monkeypatch: pytest.MonkeyPatch, max_assets: int, max_bytes: int
) -> None:
    monkeypatch.setattr(packing, "ROW_GROUP_ASSETS", max_assets)
    monkeypatch.setattr(packing, "ROW_GROUP_BYTES", max_bytes)
    fill(store, range(10))
    members = loose(store)
    pack = Packer(store.objects, CARRIED).write(NAME, members)
    file = read(store)
    sizes = [file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)]
    limit = min(max_assets, max(1, max_bytes // members[0].num_bytes))
    assert max(sizes) == limit
    assert sum(sizes) == 10
    for number in range(file.num_row_groups):
        found = file.read_row_group(number, ["asset_id"])["asset_id"].to_pylist()
        chosen = [x for x, k in zip(pack.asset_ids, pack.row_groups, strict=True) if k == number]
        assert found == chosen


def test_losses_of_any_recipe_share_a_file(store: Store) -> None:
    fill(store, range(3))
    task = sample_task(9)
    provenance = replace(sample_provenance(), losses={"entropy": 0.75})
    table = asset_table(task, ASSET, provenance, CARRIED)
    store.commit(task.asset_id, to_parquet_bytes(table))
    Packer(store.objects, CARRIED).write(NAME, loose(store))
    found = read(store).read()
    assert found.column_names[-4:] == ["loss_entropy", "loss_opacity", "loss_sds", "collection"]
    for row in found.select(["asset_id", "loss_entropy", "loss_sds"]).to_pylist():
        is_new = row["asset_id"] == task.asset_id
        assert (row["loss_entropy"], row["loss_sds"]) == ((0.75, None) if is_new else (None, 0.25))


def test_packs_are_merged_with_new_assets(store: Store) -> None:
    first = fill(store, range(6))
    packer = Packer(store.objects, CARRIED)
    pack = packer.write(NAME, loose(store))
    for asset_id in first:
        store.objects.remove(asset_name(asset_id))
    second = fill(store, range(6, 10))
    old = [
        Member(asset_id=x, name=NAME, row_group=number, num_bytes=1000)
        for x, number in zip(pack.asset_ids, pack.row_groups, strict=True)
    ]
    merged = packer.write("packed/shard=x00/two.parquet", [*loose(store), *old])
    assert merged.asset_ids == sorted(first | second)
    found = read(store, "packed/shard=x00/two.parquet").read()
    assert found["asset_id"].to_pylist() == merged.asset_ids
    assert set(map(len, found["views"].to_pylist())) == {8}


def spoilt(kind: str, data: bytes) -> bytes:
    """Bytes that are no asset any more."""
    table = pq.read_table(io.BytesIO(data))
    if kind == "cut":
        return data[: len(data) // 2]
    if kind == "empty":
        return b""
    if kind == "foreign":
        return b"PAR1 hello PAR1"
    if kind == "changed":
        place = data.index(b"IDAT") + 4
        return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
    tables = {
        "renamed": table.set_column(0, "asset_id", pa.array(["0" * 32])),
        "two rows": pa.concat_tables([table, table]),
        "no rows": table.slice(0, 0),
        "other": pa.table({"x": [1]}),
        "type": table.set_column(4, "seed", pa.array(["1"])),
        "loss": table.append_column("loss_odd", pa.array(["1"])),
        "twice": pa.Table.from_arrays(
            [*table.columns, table["seed"]], [*table.column_names, "seed"]
        ),
    }
    buffer = io.BytesIO()
    pq.write_table(tables[kind], buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("cut", "not readable"),
        ("empty", "not readable"),
        ("foreign", "not readable"),
        ("changed", "CRC checksum"),
        ("renamed", "does not hold the asset of its name"),
        ("two rows", "does not hold the asset of its name"),
        ("no rows", "does not hold the asset of its name"),
        ("other", "does not hold the asset of its name"),
        ("type", "column 'seed' is string, expected int64"),
        ("loss", "column 'loss_odd' is string, expected double"),
        ("twice", "two columns of one name"),
    ],
)
def test_a_damaged_asset_is_left_and_named(store: Store, kind: str, reason: str) -> None:
    fill(store, range(4))
    members = loose(store)
    bad = members[1]
    data = spoilt(kind, store.objects.read(bad.name) or b"")
    store.objects.publish(bad.name, data)
    pack = Packer(store.objects, CARRIED).write(NAME, members)
    assert pack.asset_ids == sorted(x.asset_id for x in members if x is not bad)
    (left,) = pack.left
    assert left.name == bad.name
    assert reason in left.reason
    assert "\n" not in left.reason
    assert store.objects.read(bad.name) == data
    assert read(store).read(["asset_id"])["asset_id"].to_pylist() == pack.asset_ids


def test_nothing_to_pack_makes_no_file(store: Store) -> None:
    fill(store, range(1))
    (member,) = loose(store)
    store.objects.publish(member.name, b"x")
    pack = Packer(store.objects, CARRIED).write(NAME, [member])
    assert (pack.file, pack.asset_ids, len(pack.left)) == (None, [], 1)
    assert store.objects.names("packed/shard=x00") == []
    assert list(store.objects.temporaries()) == []


def test_a_damaged_pack_is_an_error(store: Store) -> None:
    fill(store, range(4))
    packer = Packer(store.objects, CARRIED)
    pack = packer.write(NAME, loose(store))
    members = [Member(asset_id=x, name=NAME, row_group=0, num_bytes=9) for x in pack.asset_ids]
    stranger = replace(members[0], asset_id="0" * 32)
    with pytest.raises(DamagedPack):
        packer.write("packed/shard=x00/two.parquet", [stranger, *members])
    store.objects.publish(NAME, (store.objects.read(NAME) or b"")[:-10])
    with pytest.raises(DamagedPack) as caught:
        packer.write("packed/shard=x00/two.parquet", members)
    assert caught.value.name == NAME
    assert list(store.objects.temporaries()) == []
    store.objects.remove(NAME)
    with pytest.raises(DamagedPack):
        packer.write("packed/shard=x00/two.parquet", members)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EIO, "Input/output error"),
        StorageError("passing", "answer 503", "gs://bucket/out"),
        TimeoutError(),
    ],
)
def test_a_pack_that_is_out_of_reach_is_not_damaged(
    store: Store, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    fill(store, range(2))
    packer = Packer(store.objects, CARRIED)
    pack = packer.write(NAME, loose(store))
    members = [Member(asset_id=x, name=NAME, row_group=0, num_bytes=9) for x in pack.asset_ids]

    class Unreachable(io.BytesIO):
        def read(self, *_: object) -> bytes:
            raise error

    monkeypatch.setattr(store.objects, "open", lambda _: Unreachable(bytes(100)))
    with pytest.raises(type(error)) as caught:
        packer.write("packed/shard=x00/two.parquet", members)
    assert caught.value is error
    assert list(store.objects.temporaries()) == []


def test_a_vanished_asset_is_gone(store: Store) -> None:
    fill(store, range(2))
    members = loose(store)
    store.objects.remove(members[0].name)
    with pytest.raises(Gone):
        Packer(store.objects, CARRIED).write(NAME, members)


def test_a_partition_s_column_is_in_the_path_only(store: Store) -> None:
    fill(store, range(2))
    Packer(store.objects, CARRIED, omit="collection").write(NAME, loose(store))
    schema = read(store).schema_arrow
    assert "collection" not in schema.names
    assert b'"collection"' not in (schema.metadata or {})[b"huggingface"]
