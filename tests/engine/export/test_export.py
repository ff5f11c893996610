"""The whole of `engine.export`."""

import dataclasses
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from engine import fields
from engine.configs.export import ExportConfig
from engine.configs.fields import DenseGridConfig
from engine.export import MESH_STATISTICS, Asset, export_asset
from engine.export.subject import Subject
from engine.scene import Scene

from .subjects import RED, Ball, Box, Solids, decode, figure, nothing

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


def _at_once(subjects: Sequence[Subject], num_exports: int) -> list[Asset | Exception]:
    """What their exports return or raise, so many at a time."""

    def export(subject: Subject) -> Asset | Exception:
        try:
            return export_asset(subject, CONFIG, metadata={})
        except Exception as error:
            return error

    with ThreadPoolExecutor(num_exports) as pool:
        return list(pool.map(export, subjects))


@dataclass(kw_only=True)
class Meeting(Solids):
    """Solids whose export goes on when the others' have come as far."""

    together: threading.Barrier
    has_met: bool = False

    def albedo(self, x: Tensor) -> Tensor:
        if not self.has_met:
            self.together.wait(60)
            self.has_met = True
        return super().albedo(x)


class Broken(Meeting):
    """One that fails there."""

    def albedo(self, x: Tensor) -> Tensor:
        super().albedo(x)
        raise RuntimeError("no colour")


def test_exports_at_the_same_time_give_the_bytes_of_one_after_the_other():
    parts = [(Ball(radius=0.3 + 0.1 * k, colour=RED), Box(half=(0.2, 0.2, 0.7))) for k in range(3)]
    expected = _at_once([Solids(parts=some) for some in parts], 1)
    assert all(isinstance(asset, Asset) and asset.mesh_status == "ok" for asset in expected)
    together = threading.Barrier(3)
    meeting = [Meeting(parts=some, together=together) for some in parts]
    assert _at_once(meeting, 3) == expected


def test_an_export_that_fails_takes_no_others_along():
    together = threading.Barrier(3)
    kinds = (Meeting, Broken, Meeting)
    first, failed, last = _at_once([k(parts=(Ball(),), together=together) for k in kinds], 3)
    assert str(failed) == "no colour"
    assert first == last == export_asset(Solids(parts=(Ball(),)), CONFIG, metadata={})


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
