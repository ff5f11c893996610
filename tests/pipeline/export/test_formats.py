import importlib.util
import io
from dataclasses import replace

import numpy as np
import pytest
import trimesh
from PIL import Image

from engine.export import export_asset
from engine.export.textureless import textureless
from engine.recipes import get
from pipeline.errors import UserError
from pipeline.export import asset_files, formats
from tests.engine.export.subjects import box
from tests.pipeline.export.test_asset_files import row
from tests.pipeline.real_assets import figure_asset


def test_words_are_names_of_formats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert formats.parse(()) == ()
    assert formats.parse(("obj,ply", "mp4", "obj")) == ("obj", "ply", "mp4")
    with pytest.raises(UserError, match="--format OBJ: expected some of obj, ply, mp4, tex"):
        formats.parse(("ply,OBJ",))


def test_a_film_needs_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert formats.parse(("obj",)) == ("obj",)
    with pytest.raises(UserError, match=r"--format mp4: needs ffmpeg .*dreambatch\[video\]"):
        formats.parse(("mp4",))


def test_textureless_pictures_are_of_the_views_by_their_cameras() -> None:
    """From the files alone, whatever cameras share."""
    asset = figure_asset(size=24)
    views = [replace(view, fl_x=view.fl_x * (1 + k / 100)) for k, view in enumerate(asset.views)]
    for some in (asset.views, views):
        files = dict(asset_files.files(row(replace(asset, views=some)), asset_files.Names()))
        made = formats.FORMATS["textureless"].convert(files.__getitem__)
        assert len(made) == 24
        for k, view in enumerate(some):
            camera = {key: getattr(view, key) for key in ("c2w", "fl_x", "fl_y", "cx", "cy")}
            expected = textureless(view.image, view.normal, **camera)
            assert made[f"textureless/{k:03d}.png"] == expected


def test_meshes_and_films_are_made_from_the_files_of_an_asset() -> None:
    asset = export_asset(box(), get("smoke").export, metadata={"prompt": "a box"})
    assert asset.mesh_glb is not None
    sources = {"mesh.glb": asset.mesh_glb, "turntable.webp": asset.turntable}
    made = {}
    for kind in [x for x in formats.FORMATS.values() if x.source in sources]:
        found = kind.convert(sources.__getitem__)
        assert kind.target in found
        made |= found
    ply = trimesh.load_mesh(io.BytesIO(made["mesh.ply"]), file_type="ply")
    assert np.argsort(ply.extents).tolist() == [0, 1, 2]
    obj = trimesh.load_mesh(io.BytesIO(made["mesh.obj"]), file_type="obj")
    assert np.argsort(obj.extents).tolist() == [2, 0, 1]
    if "texture.png" in made:
        assert Image.open(io.BytesIO(made["texture.png"])).format == "PNG"
    assert made["turntable.mp4"][4:8] == b"ftyp"
