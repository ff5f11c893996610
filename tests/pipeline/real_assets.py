"""A true asset of a known shape, seen from everywhere, in a dataset of its own."""

from dataclasses import replace

from engine.configs.export import ExportConfig
from engine.export import Asset, export_asset
from engine.export.views import render_views
from pipeline.store import Store
from tests.engine.export.subjects import figure
from tests.pipeline.sample_assets import sample_bytes, sample_task

ELEVATIONS_DEG = (-45.0, 10.0, 50.0)


def figure_asset(*, size: int = 80) -> Asset:
    """The figure, unlike itself from every side, from three rings of eight cameras."""
    config = ExportConfig(
        view_size=size, view_samples=64, grid_size=64, turntable_frames=4, turntable_size=16
    )
    rings = [replace(config, view_elevation_deg=elevation) for elevation in ELEVATIONS_DEG]
    views = [view for ring in rings for view in render_views(figure(), ring)]
    return replace(export_asset(figure(), config, metadata={"prompt": "a figure"}), views=views)


def commit_figure(store: Store) -> str:
    """Puts the figure into a dataset; returns its id."""
    task = sample_task(prompt="a figure")
    store.commit(task.asset_id, sample_bytes(task, asset=figure_asset()))
    return task.asset_id
