import os
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import compact
from pipeline.dataset import catalog, garbage
from pipeline.dataset.asset_table import BLOBS, MESH, SCALARS, asset_table, to_parquet_bytes
from pipeline.dataset.scores import Metric, Scores
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
        "asset_file",
        "is_best",
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
    assert list(frame.columns) == [
        *SCALARS.names,
        "asset_file",
        "is_best",
        *MESH.names,
        "collection",
    ]


def test_only_new_assets_are_read_and_lost_ones_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = filled(tmp_path, 3)
    catalog.write(store)
    new, lost = sample_task(7), sample_task(0)
    store.commit(new.asset_id, sample_bytes(new))
    (tmp_path / asset_name(lost.asset_id)).unlink()
    read: list[str] = []
    read_each = store.assets.read_each

    def watched(names: list[str], columns: list[str] | None):
        read.extend(names)
        return read_each(names, columns)

    monkeypatch.setattr(store.assets, "read_each", watched)
    table = catalog.collect(store)
    assert read == [new.asset_id]
    expected = {sample_task(k).asset_id for k in (1, 2, 7)}
    assert set(table["asset_id"].to_pylist()) == expected


def test_the_catalog_says_where_each_asset_lies(tmp_path: Path) -> None:
    store = filled(tmp_path, 3)
    catalog.write(store)
    before = pd.read_parquet(tmp_path / "catalog")
    assert before["asset_file"].tolist() == [asset_name(x) for x in before["asset_id"]]
    compact.compact(store)
    task = sample_task(7)
    store.commit(task.asset_id, sample_bytes(task))
    catalog.write(store)
    after = pd.read_parquet(tmp_path / "catalog")
    for asset_id, name in zip(after["asset_id"], after["asset_file"], strict=True):
        assert name.startswith("assets/" if asset_id == task.asset_id else "packed/shard=x")
        assert asset_id in pd.read_parquet(tmp_path / name)["asset_id"].tolist()


def test_large_catalogs_are_made_of_row_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog, "_ROWS", 4)
    store = filled(tmp_path, 12)
    for _ in range(2):
        catalog.write(store)
        file = pq.ParquetFile(tmp_path / catalog.NAME)
        assert file.num_row_groups > 1
        assert file.read()["asset_id"].to_pylist() == sorted(store.committed())


@pytest.mark.parametrize("kind", ["empty", "cut", "changed", "foreign", "type", "null", "few"])
def test_a_damaged_catalog_is_written_anew(tmp_path: Path, kind: str) -> None:
    store = filled(tmp_path, 3)
    catalog.write(store)
    path = tmp_path / catalog.NAME
    data, expected = path.read_bytes(), pq.read_table(path)
    foreign = {
        "foreign": pa.table({"x": [1]}),
        "null": expected.set_column(0, "asset_id", pa.nulls(3, pa.string())),
        "few": expected.select(["asset_id"]),
        "type": expected.set_column(2, "prompt", pa.array([1, 2, 3])),
    }
    if kind in foreign:
        pq.write_table(foreign[kind], path)
    else:
        middle = data[:40] + bytes(40) + data[80:]
        path.write_bytes({"empty": b"", "cut": data[:-30], "changed": middle}[kind])
    catalog.write(store)
    assert pq.read_table(path).equals(expected)


def test_an_asset_that_cannot_be_read_is_left_out_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = filled(tmp_path, 4)
    bad = sorted(store.committed())[1]
    (tmp_path / asset_name(bad)).write_bytes(b"PAR1 half")
    catalog.write(store)
    found = pq.read_table(tmp_path / catalog.NAME)["asset_id"].to_pylist()
    assert found == sorted(store.committed() - {bad})
    assert f"{bad}.parquet is no readable asset: delete it and run again" in caplog.text


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


def score(store: Store, label: str, values: dict[str, float], *captions: str) -> Metric:
    """Publishes scores as an evaluation does."""
    scores = Scores(store.objects)
    metric = scores.claim(
        Metric(
            label=label,
            kind="clip",
            judge=label,
            weights_digest=label,
            protocol={},
            captions=list(captions),
        )
    )
    rows = {"asset_id": list(values), f"score_{label}_overall": list(values.values())}
    scores.write(metric, pa.table(rows))
    scores.publish(metric)
    return metric


def test_scores_are_joined_anew_each_time(tmp_path: Path) -> None:
    store = filled(tmp_path, 4)
    catalog.write(store)
    before = pd.read_parquet(tmp_path / "catalog")
    assert before["is_best"].tolist() == [True] * 4, "each is alone"
    first, second, third, fourth = sorted(store.committed())
    score(store, "x", {first: 0.25, third: 0.5})
    score(store, "y", {fourth: -0.5})
    for _ in range(2):  # the second time from a catalog that has the columns
        catalog.write(store)
        frame = pd.read_parquet(tmp_path / "catalog").set_index("asset_id")
        assert frame["score_x_overall"].dropna().to_dict() == {first: 0.25, third: 0.5}
        assert frame["score_y_overall"].dropna().to_dict() == {fourth: -0.5}
        assert list(frame.columns)[-3:] == ["score_x_overall", "score_y_overall", "collection"]
    score(store, "x", {second: 0.75}, "another pool")
    catalog.write(store)
    frame = pd.read_parquet(tmp_path / "catalog").set_index("asset_id")
    assert frame["score_x_overall"].dropna().to_dict() == {second: 0.75}
    pd.testing.assert_frame_equal(catalog.collect(store).to_pandas(), frame.reset_index())
    (bare, *_) = catalog.rows(store, with_scores=False)
    assert not [name for name in bare.column_names if name.startswith("score_")]


def test_the_best_seed_follows_the_label_that_was_chosen(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    for k in range(3):
        task = sample_task(k, prompt="a red ball" if k < 2 else "alone")
        store.commit(task.asset_id, sample_bytes(task))
    one, two, alone = (
        sample_task(k, prompt="a red ball" if k < 2 else "alone").asset_id for k in range(3)
    )
    score(store, "x", {one: 0.25, two: 0.5})
    score(store, "y", {one: 0.5, two: 0.25})
    for label, expected in (
        (None, {one: None, two: None, alone: True}),
        ("x", {one: False, two: True, alone: True}),
        ("y", {one: True, two: False, alone: True}),
    ):
        if label is not None:
            Scores(store.objects).choose_best_by(label)
        catalog.write(store)
        table = pq.read_table(tmp_path / "catalog")
        found = dict(zip(*table.select(["asset_id", "is_best"]).to_pydict().values(), strict=True))
        assert found == expected
        assert catalog.collect(store)["is_best"].to_pylist() == table["is_best"].to_pylist()
        ranked = pa.concat_tables(catalog.ranked_rows(store))
        assert ranked["is_best"].to_pylist() == table["is_best"].to_pylist()


def test_a_catalog_from_before_there_were_scores_is_read(tmp_path: Path) -> None:
    store = filled(tmp_path, 2)
    catalog.write(store)
    path = tmp_path / catalog.NAME
    pq.write_table(pq.read_table(path).drop_columns(["is_best"]), path)
    task = sample_task(7)
    store.commit(task.asset_id, sample_bytes(task))
    catalog.write(store)
    assert pd.read_parquet(path)["is_best"].tolist() == [True] * 3


def test_packing_and_collecting_leave_scores_alone(tmp_path: Path) -> None:
    store = filled(tmp_path, 3)
    first, *_ = sorted(store.committed())
    score(store, "x", {first: 0.25})
    before = {p: p.read_bytes() for p in (tmp_path / "scores").rglob("*") if p.is_file()}
    compact.compact(store)
    frame = pd.read_parquet(tmp_path / "catalog").set_index("asset_id")
    assert frame["score_x_overall"].dropna().to_dict() == {first: 0.25}
    year = 365 * 24 * 3600.0
    done = garbage.collect(store, grace_seconds=0, is_dry=False, clock=lambda: time.time() + year)
    assert done.removed["one-asset files"].count == 3
    catalog.write(store)
    frame = pd.read_parquet(tmp_path / "catalog").set_index("asset_id")
    assert frame["score_x_overall"].dropna().to_dict() == {first: 0.25}
    assert before == {p: p.read_bytes() for p in (tmp_path / "scores").rglob("*") if p.is_file()}


def test_a_dataset_of_damaged_assets_has_an_empty_catalog(tmp_path: Path) -> None:
    store = filled(tmp_path, 2)
    for path in (tmp_path / "assets").rglob("*.parquet"):
        path.write_bytes(b"PAR1")
    catalog.write(store)
    table = pd.read_parquet(tmp_path / "catalog")
    assert len(table) == 0
    assert {"asset_id", "prompt", "asset_file"} <= set(table.columns)
