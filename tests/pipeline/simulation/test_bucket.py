"""The bucket in memory, under the real `Objects` and `Store`."""

import io
from collections.abc import Iterator

import pyarrow.parquet as pq
import pytest

from pipeline.simulation.bucket import Bucket, Refused, Unanswered, asset_bytes
from pipeline.storage.objects import Objects
from pipeline.store import Store

ASSET, ONE, OTHER = "a" * 32, "1" * 32, "2" * 32


def store_in(bucket: Bucket) -> Store:
    return Store(Objects(bucket, "bucket", url="simulated://bucket"))


def once() -> Iterator[bool]:
    """True the first time, then never."""
    yield True
    while True:
        yield False


def test_of_two_attempts_at_one_id_one_wins() -> None:
    bucket = Bucket()
    store = store_in(bucket)
    assert store.commit(ASSET, asset_bytes(ASSET, ONE)) == "committed"
    assert store.commit(ASSET, asset_bytes(ASSET, OTHER)) == "duplicate"
    (table,) = store.read_assets([ASSET], ["attempt_id"])
    assert table["attempt_id"].to_pylist() == [ONE]
    assert bucket.counts["create, name taken"] == 1
    assert bucket.num_assets == 1


def test_an_attempt_whose_answer_was_lost_finds_that_it_has_won() -> None:
    losses = once()
    bucket = Bucket(is_unanswered=lambda: next(losses))
    store = store_in(bucket)
    with pytest.raises(Unanswered):
        store.commit(ASSET, asset_bytes(ASSET, ONE))
    assert bucket.has_asset(ASSET)
    assert store.commit(ASSET, asset_bytes(ASSET, ONE)) == "committed"
    assert bucket.counts["answer lost"] == 1


def test_what_is_refused_is_not_done() -> None:
    refusals = once()
    bucket = Bucket(is_refused=lambda: next(refusals))
    store = store_in(bucket)
    with pytest.raises(Refused):
        store.commit(ASSET, asset_bytes(ASSET, ONE))
    assert not bucket.has_asset(ASSET)
    assert store.commit(ASSET, asset_bytes(ASSET, ONE)) == "committed"


def test_the_drivers_own_writes_are_answered() -> None:
    bucket = Bucket(is_refused=lambda: True, is_unanswered=lambda: True)
    store_in(bucket).put_json("_failures/one.json", {"kind": "store"})
    assert list(bucket.contents("bucket/_failures")) != []


def test_an_asset_is_a_parquet_file() -> None:
    table = pq.read_table(io.BytesIO(asset_bytes(ASSET, ONE)))
    assert table.to_pylist() == [{"asset_id": ASSET, "attempt_id": ONE}]


def test_listings_ask_once_for_a_thousand_names() -> None:
    bucket = Bucket()
    store = store_in(bucket)
    names = {f"ab{number:030x}" for number in range(2001)} | {"cd" + "0" * 30}
    for name in names:
        store.commit(name, asset_bytes(name, ONE))
    bucket.counts.clear()
    assert store.committed() == names
    assert bucket.counts["list"] == 3 + 1 + 2, "two shards, the shards' names and the snapshots"


def test_checkpoints_come_and_go() -> None:
    bucket = Bucket()
    store = store_in(bucket)
    assert store.read_checkpoint(ASSET) is None
    store.write_checkpoint(ASSET, b"half")
    assert store.read_checkpoint(ASSET) == b"half"
    assert store.checkpointed() == {ASSET}
    store.remove_checkpoint(ASSET)
    store.remove_checkpoint(ASSET)
    assert store.checkpointed() == set()
