"""Datasets of small assets for tests of packing, and what a reader sees of them."""

import hashlib
import io
import os
from collections.abc import Iterable
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.dataset import catalog
from pipeline.dataset.asset_table import asset_table, to_parquet_bytes
from pipeline.store import Store
from tests.pipeline.sample_assets import (
    CARRIED,
    sample_asset,
    sample_bytes,
    sample_provenance,
    sample_task,
)

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


def commit_large(store: Store, numbers: range, num_bytes: int) -> None:
    """Commits assets of which one table is made, and the id is changed."""
    task = sample_task(0)
    asset = replace(ASSET, field=os.urandom(num_bytes))
    table = asset_table(task, asset, sample_provenance(), CARRIED)
    for number in numbers:
        asset_id = hashlib.sha256(str(number).encode()).hexdigest()[:32]
        row = table.set_column(0, table.schema.field(0), pa.array([asset_id]))
        store.commit(asset_id, to_parquet_bytes(row))
