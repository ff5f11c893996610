"""Datasets of small assets for tests of packing, and what a reader sees of them."""

import io
from collections.abc import Iterable

import pyarrow.parquet as pq

from pipeline.dataset import catalog
from pipeline.store import Store
from tests.pipeline.sample_assets import sample_asset, sample_bytes, sample_task

ASSET = sample_asset()
"""One asset for all: its pictures are what takes time to make."""


def fill(
    store: Store, numbers: Iterable[int], collections: tuple[str, ...] = ("demo",)
) -> set[str]:
    """Commits the sample tasks of these numbers, in collections in turn; returns their ids."""
    asset_ids: set[str] = set()
    for number in numbers:
        task = sample_task(number, collection=collections[number % len(collections)])
        store.commit(task.asset_id, sample_bytes(task, asset=ASSET))
        asset_ids.add(task.asset_id)
    return asset_ids


def seen(store: Store) -> list[str]:
    """The ids that somebody reads who opens the files that the catalog names, sorted."""
    catalog.write(store)
    table = pq.read_table(io.BytesIO(store.objects.read(catalog.NAME) or b""))
    found: list[str] = []
    for name in sorted(set(table["asset_file"].to_pylist())):
        with store.objects.open(name) as stream:
            found += pq.ParquetFile(stream).read(["asset_id"])["asset_id"].to_pylist()
    assert sorted(found) == table["asset_id"].to_pylist()
    return sorted(found)
