"""A dataset of true scenes: what `dreambatch evaluate` is asked about."""

import dataclasses
from pathlib import Path

from engine.scene import Scene
from pipeline.asset_table import asset_table, to_parquet_bytes
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
    asset = dataclasses.replace(ASSET, field=field)  # pyright: ignore[reportArgumentType]
    table = asset_table(task, asset, sample_provenance(), CARRIED)
    assert store.commit(task.asset_id, to_parquet_bytes(table)) == "committed"
    return task


def begin(path: Path | str) -> Store:
    """An output without assets."""
    store = open_store(str(path))
    store.start_run(sample_run())
    assert RECIPE_DIGEST
    return store
