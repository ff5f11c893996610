"""A dataset of true scenes: what `dreambatch evaluate` is asked about."""

import dataclasses
from pathlib import Path

import pyarrow as pa

from engine.scene import Scene
from pipeline.dataset.asset_table import asset_table, to_parquet_bytes
from pipeline.records import Task
from pipeline.store import Store
from tests.pipeline.sample_assets import (
    CARRIED,
    RECIPE_DIGEST,
    open_store,
    sample_asset,
    sample_provenance,
    sample_run,
    sample_task,
)

ASSET = sample_asset()


def commit(store: Store, number: int, prompt: str, scene: Scene | bytes | None) -> Task:
    """An asset with that seed whose field is the scene."""
    task = sample_task(number, prompt=prompt)
    field = scene.to_bytes() if isinstance(scene, Scene) else scene
    asset = dataclasses.replace(ASSET, field=field or b"")
    table = asset_table(task, asset, sample_provenance(), CARRIED)
    if field is None:
        column = table.schema.get_field_index("field")
        table = table.set_column(column, table.schema.field(column), pa.array([None], pa.binary()))
    assert store.commit(task.asset_id, to_parquet_bytes(table)) == "committed"
    return task


def begin(path: Path | str) -> Store:
    """An output without assets."""
    store = open_store(str(path))
    store.start_run(sample_run())
    assert RECIPE_DIGEST
    return store
