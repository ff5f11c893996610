import os
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import catalog
from pipeline.asset_table import BLOBS, MESH, SCALARS, asset_table, to_parquet_bytes
from pipeline.store import Store, asset_name
from tests.pipeline.sample_assets import (
    CARRIED,
    open_store,
    sample_asset,
    sample_bytes,
    sample_provenance,
    sample_task,
)


def filled(path: Path, count: int) -> Store:
    store = open_store(str(path))
    for k in range(count):
        task = sample_task(k, collection=f"collection {k}")
        asset = sample_asset(is_empty=k == 1)
        store.commit(task.asset_id, sample_bytes(task, asset=asset))
    return store


def test_the_catalog_is_the_scalars_of_all_assets(tmp_path: Path) -> None:
    store = filled(tmp_path, 5)
    assert catalog.write(store) == f"{tmp_path}/catalog/part-00000.parquet"
    frame = pd.read_parquet(tmp_path / "catalog")
    assert list(frame.columns) == [
        *SCALARS.names,
        *MESH.names,
        "loss_opacity",
        "loss_sds",
        "collection",
    ]
    assert frame["asset_id"].tolist() == sorted(store.committed())
    assert set(frame["collection"]) == {f"collection {k}" for k in range(5)}
    assert sorted(frame["mesh_status"]) == ["empty", "ok", "ok", "ok", "ok"]
    assert not set(frame.columns) & set(BLOBS.names)


def test_an_output_without_assets_has_an_empty_catalog(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    catalog.write(store)
    frame = pd.read_parquet(tmp_path / "catalog")
    assert len(frame) == 0
    assert list(frame.columns) == [*SCALARS.names, *MESH.names, "collection"]


def test_only_new_assets_are_read_and_lost_ones_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = filled(tmp_path, 3)
    catalog.write(store)
    new, lost = sample_task(7), sample_task(0)
    store.commit(new.asset_id, sample_bytes(new))
    (tmp_path / asset_name(lost.asset_id)).unlink()
    read: list[str] = []
    read_assets = store.read_assets

    def watched(names: list[str]):
        read.extend(names)
        return read_assets(names)

    monkeypatch.setattr(store, "read_assets", watched)
    table = catalog.collect(store)
    assert read == [new.asset_id]
    expected = {sample_task(k).asset_id for k in (1, 2, 7)}
    assert set(table["asset_id"].to_pylist()) == expected


def test_recipes_with_other_losses_share_a_catalog(tmp_path: Path) -> None:
    store = filled(tmp_path, 2)
    catalog.write(store)
    task = sample_task(9)
    provenance = replace(sample_provenance(), losses={"sds": 0.5, "entropy": 0.75})
    table = asset_table(task, sample_asset(), provenance, CARRIED)
    store.commit(task.asset_id, to_parquet_bytes(table))
    catalog.write(store)
    found = pq.read_table(tmp_path / "catalog")
    assert found.column_names[-4:] == ["loss_entropy", "loss_opacity", "loss_sds", "collection"]
    for row in found.to_pylist():
        is_new = row["asset_id"] == task.asset_id
        assert row["loss_entropy"] == (0.75 if is_new else None)
        assert row["loss_opacity"] == (None if is_new else 0.5)


def test_a_reader_sees_the_old_catalog_until_the_new_one_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = filled(tmp_path, 2)
    catalog.write(store)
    task = sample_task(9)
    store.commit(task.asset_id, sample_bytes(task))
    seen: list[tuple[list[str], int]] = []
    replace_file = os.replace

    def watched(source: str, target: str) -> None:
        for moment in range(2):
            names = [x for x in os.listdir(tmp_path / "catalog") if not x.startswith(".")]
            seen.append((names, pq.read_table(tmp_path / "catalog").num_rows))
            if moment == 0:
                replace_file(source, target)

    monkeypatch.setattr(os, "replace", watched)
    catalog.write(store)
    assert seen == [(["part-00000.parquet"], 2), (["part-00000.parquet"], 3)]


def test_the_catalog_is_the_same_in_memory(tmp_path: Path, memory_url: str) -> None:
    tables: list[pa.Table] = []
    for url in (str(tmp_path), memory_url):
        store = open_store(url)
        for k in range(3):
            task = sample_task(k)
            store.commit(task.asset_id, sample_bytes(task))
        catalog.write(store)
        tables.append(catalog.collect(store))
    assert tables[0].equals(tables[1])
