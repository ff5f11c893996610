import io
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from PIL import Image

from engine.export.asset import MESH_STATISTICS
from pipeline.dataset import asset_table
from pipeline.dataset.asset_table import MESH, is_reserved, to_parquet_bytes
from tests.pipeline.sample_assets import (
    CARRIED,
    open_store,
    sample_asset,
    sample_bytes,
    sample_provenance,
    sample_task,
)

DESIGN_COLUMNS = [
    "asset_id",
    "prompt_id",
    "prompt",
    "negative_prompt",
    "seed",
    "seed_used",
    "attempt_id",
    "status",
    "mesh_status",
    "recipe",
    "recipe_digest",
    "guidance",
    "guidance_digest",
    "created_at",
    "attempts",
    "iterations",
    "gpu_seconds",
    "device",
    "peak_memory_bytes",
    "thumb",
    "views",
    "mesh_glb",
    "turntable",
    "field",
]
DESIGN_VIEW = [
    "name",
    "image",
    "depth",
    "normal",
    "c2w",
    "fl_x",
    "fl_y",
    "cx",
    "cy",
    "w",
    "h",
    "depth_scale",
    "azimuth_deg",
    "elevation_deg",
    "radius",
]
BLOB_LEAVES = {
    "thumb.bytes",
    "views.list.element.image.bytes",
    "views.list.element.depth.bytes",
    "views.list.element.normal.bytes",
    "mesh_glb",
    "turntable.bytes",
    "field",
}


def sample_table(extra: pa.Schema = CARRIED, **options: bool) -> pa.Table:
    asset = sample_asset(**options)
    return asset_table.asset_table(sample_task(), asset, sample_provenance(), extra)


def stored(table: pa.Table) -> pq.ParquetFile:
    return pq.ParquetFile(io.BytesIO(to_parquet_bytes(table)))


def test_the_columns_are_those_of_the_design_in_its_order() -> None:
    names = sample_table().column_names
    assert names[: len(DESIGN_COLUMNS)] == DESIGN_COLUMNS
    rest = names[len(DESIGN_COLUMNS) :]
    assert rest == [*MESH_STATISTICS, "loss_opacity", "loss_sds", "collection"]
    view = sample_table().schema.field("views").type.value_type
    assert [view.field(k).name for k in range(view.num_fields)] == DESIGN_VIEW
    assert view.field("image").type == pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    assert view.field("c2w").type == pa.list_(pa.float64())


def test_mesh_columns_are_the_engines_statistics() -> None:
    types = {int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    assert pa.schema([(name, types[kind]) for name, kind in MESH_STATISTICS.items()]) == MESH


def test_a_row_holds_what_it_was_made_from() -> None:
    task, asset, provenance = sample_task(3), sample_asset(), sample_provenance()
    table = asset_table.asset_table(task, asset, provenance, CARRIED)
    (row,) = stored(table).read().to_pylist()
    assert (row["asset_id"], row["prompt"], row["seed"]) == (task.asset_id, task.prompt.prompt, 3)
    assert (row["seed_used"], row["status"], row["mesh_status"]) == (7, "ok", "ok")
    assert row["created_at"] == provenance.created_at
    assert (row["loss_sds"], row["collection"]) == (0.25, "demo")
    assert row["mesh_glb"] == asset.mesh_glb
    assert row["field"] == asset.field
    assert len(row["views"]) == 8
    for view, source in zip(row["views"], asset.views, strict=True):
        assert view["c2w"] == source.c2w
        assert view["azimuth_deg"] == source.azimuth_deg
        depth = np.asarray(Image.open(io.BytesIO(view["depth"]["bytes"])))
        assert depth.dtype == np.uint16
        assert depth.max() * view["depth_scale"] == pytest.approx(1.2)
        assert view["image"]["path"] == f"{task.asset_id}-{source.name}-image.png"


def test_an_empty_mesh_is_null_and_says_so() -> None:
    (row,) = sample_table(is_empty=True).to_pylist()
    assert (row["mesh_status"], row["mesh_glb"], row["mesh_faces"]) == ("empty", None, 0)
    assert row["bbox_min_x"] is None
    assert row["mesh_level"] is None


def test_blobs_are_stored_as_they_are_and_scalars_compressed() -> None:
    file = stored(sample_table())
    assert (file.num_row_groups, file.metadata.num_rows) == (1, 1)
    group = file.metadata.row_group(0)
    leaves = [group.column(k) for k in range(group.num_columns)]
    assert {
        leaf.path_in_schema for leaf in leaves if leaf.compression == "UNCOMPRESSED"
    } == BLOB_LEAVES
    assert {leaf.compression for leaf in leaves} == {"UNCOMPRESSED", "ZSTD"}
    for leaf in leaves:
        if leaf.path_in_schema in BLOB_LEAVES:
            assert "RLE_DICTIONARY" not in leaf.encodings
            assert leaf.statistics is None
    data = to_parquet_bytes(sample_table())
    assert sample_asset().field in data
    assert (sample_asset().mesh_glb or b"") in data


def test_a_carried_binary_column_is_no_blob() -> None:
    extra = pa.schema([("raw", pa.binary())])
    group = stored(sample_table(extra)).metadata.row_group(0)
    by_path = {c.path_in_schema: c for c in (group.column(k) for k in range(group.num_columns))}
    assert by_path["raw"].compression == "ZSTD"


def test_a_carried_column_that_a_row_lacks_is_null() -> None:
    extra = pa.schema([*CARRIED, pa.field("weight", pa.float32())])
    assert sample_table(extra)["weight"].to_pylist() == [None]


def test_a_loss_that_is_not_a_number_is_kept() -> None:
    provenance = sample_provenance()
    provenance = type(provenance)(**{**vars(provenance), "losses": {"sds": math.nan}})
    table = asset_table.asset_table(sample_task(), sample_asset(), provenance, CARRIED)
    assert math.isnan(table["loss_sds"][0].as_py())


def test_a_statistic_without_a_column_is_a_bug() -> None:
    asset = sample_asset()
    asset.mesh["mesh_beauty"] = 1.0
    with pytest.raises(AssertionError, match="mesh_beauty"):
        asset_table.asset_table(sample_task(), asset, sample_provenance(), CARRIED)


@pytest.mark.parametrize(
    "name", [*DESIGN_COLUMNS, *MESH.names, "shard", "is_best", "Thumb", "loss_x", "score_clip", ""]
)
def test_the_datasets_own_names_are_reserved(name: str) -> None:
    assert is_reserved(name)


@pytest.mark.parametrize("name", ["collection", "meshes", "x", "losses", "image"])
def test_other_names_are_free(name: str) -> None:
    assert not is_reserved(name)


def test_common_readers_see_text_shards_and_the_columns_they_ask_for(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    tasks = [sample_task(k) for k in range(6)]
    for task in tasks:
        store.commit(task.asset_id, sample_bytes(task))
    store.publish("assets/shard=x00/.stale.parquet.1.tmp", b"half")
    dataset = ds.dataset(tmp_path / "assets", partitioning="hive")
    assert dataset.schema.field("shard").type == pa.string()
    found = dataset.to_table(columns=["asset_id", "shard", "mesh_faces"]).to_pylist()
    assert {row["asset_id"]: row["shard"] for row in found} == {
        task.asset_id: f"x{task.asset_id[:2]}" for task in tasks
    }
    one = dataset.to_table(filter=ds.field("shard") == f"x{tasks[0].asset_id[:2]}")
    assert tasks[0].asset_id in one["asset_id"].to_pylist()
    frame = pd.read_parquet(tmp_path / "assets", columns=["prompt", "collection"])
    assert sorted(frame["prompt"]) == sorted(task.prompt.prompt for task in tasks)
