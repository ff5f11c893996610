"""The whole of `engine.export`."""

import dataclasses
import subprocess
import sys

import torch

from engine import fields
from engine.configs.export import ExportConfig
from engine.configs.fields import DenseGridConfig
from engine.export import MESH_STATISTICS, export_asset
from engine.scene import Scene

from .subjects import decode, figure, nothing

CONFIG = ExportConfig(
    num_views=4,
    view_size=32,
    grid_size=40,
    view_samples=96,
    texture_size=128,
    turntable_frames=3,
    turntable_size=16,
)


def test_an_asset_has_everything():
    asset = export_asset(figure(), CONFIG, metadata={"prompt": "a figure"})
    assert asset.mesh_status == "ok"
    assert asset.mesh_glb is not None
    assert b'"prompt":"a figure"' in asset.mesh_glb
    assert len(asset.views) == 4
    assert asset.field == b"solids"
    assert asset.turntable[8:12] == b"WEBP"
    assert decode(asset.thumb).shape == (32, 32, 3)
    assert asset.mesh["mesh_components"] == 1
    assert asset.mesh["mesh_watertight"] is True
    assert set(asset.mesh) == set(MESH_STATISTICS)


def test_the_same_scene_gives_the_same_bytes():
    first, second = (export_asset(figure(), CONFIG, metadata={}) for _ in range(2))
    assert first == second


def test_a_texture_size_of_zero_leaves_colours_at_the_vertices():
    textured = export_asset(figure(), CONFIG, metadata={})
    plain = export_asset(figure(), dataclasses.replace(CONFIG, texture_size=0), metadata={})
    assert textured.mesh_glb is not None
    assert plain.mesh_glb is not None
    assert b"TEXCOORD_0" in textured.mesh_glb
    assert b"COLOR_0" not in textured.mesh_glb
    assert b"COLOR_0" in plain.mesh_glb
    assert b"TEXCOORD_0" not in plain.mesh_glb
    assert textured.mesh == plain.mesh


def test_an_empty_scene_is_a_status():
    asset = export_asset(nothing(), CONFIG, metadata={})
    assert asset.mesh_status == "empty"
    assert asset.mesh_glb is None
    assert asset.mesh["mesh_vertices"] == 0
    assert (decode(asset.thumb) == 255).all()


def test_a_scene_of_the_engine_is_exported():
    """The blob that every scene starts from."""
    config = DenseGridConfig(resolutions=(4, 8))
    scene = Scene(config, fields.build(config).initial(torch.tensor([0])))
    asset = export_asset(scene, CONFIG, metadata={})
    assert asset.mesh_status == "ok"
    assert asset.mesh["mesh_watertight"] is True
    assert asset.field == scene.to_bytes()


def test_importing_it_loads_no_torch():
    code = "import engine.export, sys; assert 'torch' not in sys.modules; print('light')"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "light"
