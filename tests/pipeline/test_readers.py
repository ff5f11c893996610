"""The dataset read by pandas, DuckDB and Hugging Face `datasets`, without our code."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import trimesh

from pipeline import compact
from pipeline.card import card
from pipeline.dataset import catalog
from pipeline.dataset.asset_table import asset_table, to_parquet_bytes
from pipeline.export import export
from pipeline.store import Store
from tests.pipeline import snippets
from tests.pipeline.packed import ASSET, fill
from tests.pipeline.sample_assets import (
    CARRIED,
    open_store,
    sample_bytes,
    sample_provenance,
    sample_task,
)

README = Path(__file__).parents[2] / "README.md"

PICTURES = """
from datasets import Image, load_dataset

def check(assets, count):
    assert len(assets) == count, len(assets)
    assert isinstance(assets.features["thumb"], Image)
    asset = assets[0]
    assert asset["thumb"].getpixel((8, 8)) == (255, 0, 0)
    assert asset["turntable"].size == (16, 16)
    assert asset["mesh_glb"][:4] == b"glTF"
    assert asset["created_at"].utcoffset().total_seconds() == 0
    views = asset["views"]
    assert [view["azimuth_deg"] for view in views] == [45.0 * k for k in range(8)]
    colours = [view["image"].getpixel((8, 8))[:3] for view in views[::2]]
    assert colours == [(255, 0, 0), (0, 128, 0), (0, 0, 255), (255, 255, 0)]
    assert [view["image"].mode for view in views] == ["RGBA"] * 8
    assert views[3]["depth"].getpixel((8, 8)) == 1200
    assert views[3]["normal"].getpixel((8, 8)) == (128, 128, 255)
    assert views[3]["c2w"] == [float(k) for k in range(16)]
"""


def some_losses(store: Store) -> None:
    """Two assets with other losses than all others have."""
    for number in (50, 51):
        task = sample_task(number)
        provenance = replace(sample_provenance(), losses={"sds": 0.5, "sparsity": number / 100})
        store.commit(task.asset_id, to_parquet_bytes(asset_table(task, ASSET, provenance, CARRIED)))


def test_the_code_of_the_readme_runs(tmp_path: Path) -> None:
    output = tmp_path / "out" / "demo"
    store = open_store(str(output))
    fill(store, range(4))
    catalog.write(store)
    blocks = snippets.python_blocks(README.read_text())
    assert len(blocks) >= 2
    assert {"pandas", "pyarrow.dataset", "duckdb", "datasets"} <= {
        word for block in blocks for word in block.split()
    }
    last = max(k for k, block in enumerate(blocks) if "ds.dataset" in block)
    blocks[last] += 'print("count", assets.count_rows())'
    said = snippets.run(blocks, tmp_path, tmp_path / "cache")
    assert "a red ball, number" in said
    assert "count 4" in said
    assert (tmp_path / "asset.glb").read_bytes() == ASSET.mesh_glb
    assert (tmp_path / "asset.webp").read_bytes() == ASSET.turntable


def test_hugging_face_shows_pictures_with_no_code(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    fill(store, range(5))
    compact.compact(store)
    code = """
for place in ("assets", "packed"):
    check(load_dataset("parquet", data_files=f"{place}/*/*.parquet", split="train"), 5)
rows = load_dataset("parquet", data_files="catalog/*.parquet", split="train")
assert len(rows) == 5 and rows[0]["mesh_faces"] == 12 and "views" not in rows.column_names
"""
    snippets.run([PICTURES, code], tmp_path, tmp_path / "_cache")


def test_hugging_face_reads_recipes_of_other_losses_by_the_card(tmp_path: Path) -> None:
    """Files differ in their columns then, so that the card says what they are together."""
    store = open_store(str(tmp_path))
    fill(store, range(3))
    compact.compact(store)
    some_losses(store)
    card.write(store)
    code = """
import yaml
from datasets import load_dataset_builder

for name in ("assets", "catalog"):
    rows = load_dataset(HERE, name, split="train")
    assert len(rows) == 5
    assert sum(x is None for x in rows["loss_sparsity"]) == 3, rows["loss_sparsity"][:]
    front = yaml.safe_load(open("README.md").read().split("---\\n")[1])
    info = {x["config_name"]: x["features"] for x in front["dataset_info"]}
    assert rows.features._to_yaml_list() == info[name]
    if name == "assets":
        check(rows, 5)
assert load_dataset_builder(HERE).config.name == "assets"
"""
    here = "from pathlib import Path\nHERE = str(Path.cwd())"
    snippets.run([PICTURES, here, code], tmp_path, tmp_path / "_cache")


def test_hugging_face_reads_the_shards(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "out"))
    box = trimesh.creation.box().export(file_type="glb")
    for task in map(sample_task, range(3)):
        store.commit(task.asset_id, sample_bytes(task, asset=replace(ASSET, mesh_glb=box)))
    request = export.Request(
        directory=str(tmp_path / "shards"), is_all=True, layout="webdataset", shard_mb=1
    )
    export.export(store.url, request, say=print)
    code = """
from datasets import load_dataset

rows = load_dataset("webdataset", data_files="shards/*.tar", split="train")
assert len(rows) == 3
assert rows[0]["002.image.png"].getpixel((8, 8)) == (0, 128, 0, 255)
assert rows[0]["json"]["request"]["prompt"].startswith("a red ball")
assert rows[0]["transforms.json"]["frames"][2]["file_path"].endswith(".002.image.png")
assert rows[0]["002.depth.png"].getpixel((8, 8)) == 1200
assert rows[0]["glb"].to_mesh().faces.shape == (12, 3)  # a mesh, too, needs no code
"""
    snippets.run([code], tmp_path, tmp_path / "_cache")


def test_pandas_reads_all_of_a_dataset(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    fill(store, range(3))
    some_losses(store)
    frame = pd.read_parquet(tmp_path / "assets", columns=["asset_id", "views", "mesh_glb"])
    assert sorted(frame["asset_id"]) == sorted(store.committed())
    assert all(len(views) == 8 for views in frame["views"])
    assert np.reshape(frame["views"][0][0]["c2w"], (4, 4))[1, 0] == 4.0
