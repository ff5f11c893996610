"""Nothing of an object lies outside the pictures of its asset, whatever its size and the lens."""

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image, ImageSequence

from engine.configs.export import ExportConfig
from engine.export import Asset, export_asset, lattice, solid
from engine.export.framing import framed

from .drawing import load
from .subjects import Ball, Box, Solids, decode, nothing, project

CONFIG = ExportConfig(
    view_size=48,
    view_samples=96,
    grid_size=48,
    density_level=5.0,
    texture_size=64,
    turntable_frames=8,
    turntable_size=32,
)
CLEAR = 8
"""An opacity, of 255, that no eye sees."""


def cross(reach: float, bound: float = 1.0) -> Solids:
    """Three thin bars along the axes, a little out of the middle, that end `reach` from it."""
    thin = 0.05 * reach
    halves = ((reach, thin, thin), (thin, reach, thin), (thin, thin, reach))
    bars = tuple(Box(centre=(0.02, -0.01, 0.01), half=half) for half in halves)
    return Solids(parts=bars, bound=bound)


def border(picture: np.ndarray) -> np.ndarray:
    return np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])


def assert_nothing_is_cut(asset: Asset) -> None:
    assert asset.mesh_glb is not None
    gltf = np.asarray(load(asset.mesh_glb).vertices)
    vertices = np.stack([gltf[:, 2], gltf[:, 0], gltf[:, 1]], axis=-1)
    for view in asset.views:
        column, row, z = project(view, vertices)
        assert z.min() > 0
        assert min(column.min(), row.min()) > 0
        assert column.max() < view.w
        assert row.max() < view.h
        assert border(decode(view.image)[..., 3]).max() <= CLEAR
    with Image.open(io.BytesIO(asset.turntable)) as animation:
        frames = [np.asarray(f.convert("RGB")) for f in ImageSequence.Iterator(animation)]
    assert len(frames) == CONFIG.turntable_frames
    for frame in frames:
        assert frame.min() < 240  # the grey object is there
        assert border(frame).min() > 240
    assert border(decode(asset.thumb)).min() > 255 - CLEAR


@pytest.mark.parametrize("cameras", ["ring", "sphere"])
@pytest.mark.parametrize("fov_deg", [20.0, 45.0, 90.0])
@pytest.mark.parametrize("bound", [0.5, 1.4])
def test_what_fills_the_ball_is_in_every_picture(cameras: str, fov_deg: float, bound: float):
    config = dataclasses.replace(CONFIG, cameras=cameras, view_fov_deg=fov_deg, view_radius=0.1)
    asset = export_asset(cross(1.2 * bound, bound), config, metadata={})
    assert_nothing_is_cut(asset)
    # Some picture is hardly larger than the object.
    reach = max(np.abs(decode(view.image)[..., 3] > 128).nonzero()[1].max() for view in asset.views)
    assert reach > 0.8 * CONFIG.view_size


def test_what_did_not_fit_makes_the_cameras_stand_back_all_at_one_distance():
    asset = export_asset(cross(1.0), CONFIG, metadata={})
    assert_nothing_is_cut(asset)
    (radius,) = {view.radius for view in asset.views}
    assert radius > 2.4
    for view in asset.views:
        place = np.array(view.c2w).reshape(4, 4)[:3, 3]
        assert np.linalg.norm(place) == pytest.approx(radius)


@pytest.mark.parametrize("subject", [cross(0.75), nothing()], ids=["what fits", "nothing"])
def test_what_fits_is_seen_from_where_the_config_says(subject: Solids):
    asset = export_asset(subject, CONFIG, metadata={})
    assert {view.radius for view in asset.views} == {2.4}


def test_an_island_that_the_mesh_drops_moves_no_camera():
    island = Ball(centre=(0.0, 0.0, 0.9), radius=0.05)
    both = Solids(parts=(Ball(radius=0.4), island))
    samples = lattice.sample(both, CONFIG.grid_size)
    density = samples.density.numpy()
    found = solid.find(density, CONFIG.density_level)
    assert found is not None
    assert framed(CONFIG, samples, found) == CONFIG
    everything = solid.Solid(level=found.level, inside=density > found.level)
    assert everything.inside.sum() > found.inside.sum()
    assert framed(CONFIG, samples, everything).view_radius > 2.4
