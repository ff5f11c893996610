import importlib.util
import io

import numpy as np
import pytest
import trimesh
from PIL import Image

from engine.export import export_asset
from engine.recipes import get
from pipeline.errors import UserError
from pipeline.export import formats
from tests.engine.export.subjects import box


def test_words_are_names_of_formats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert formats.parse(()) == ()
    assert formats.parse(("obj,ply", "mp4", "obj")) == ("obj", "ply", "mp4")
    with pytest.raises(UserError, match="--format OBJ: expected some of obj, ply, mp4"):
        formats.parse(("ply,OBJ",))


def test_a_film_needs_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert formats.parse(("obj",)) == ("obj",)
    with pytest.raises(UserError, match=r"--format mp4: needs ffmpeg .*dreambatch\[video\]"):
        formats.parse(("mp4",))


def test_meshes_and_films_are_made_from_the_files_of_an_asset() -> None:
    asset = export_asset(box(), get("smoke").export, metadata={"prompt": "a box"})
    sources = {"mesh.glb": asset.mesh_glb, "turntable.webp": asset.turntable}
    made = {}
    for kind in formats.FORMATS.values():
        data = sources[kind.source]
        assert data is not None
        found = kind.convert(data)
        assert kind.target in found
        made |= found
    ply = trimesh.load_mesh(io.BytesIO(made["mesh.ply"]), file_type="ply")
    assert np.argsort(ply.extents).tolist() == [0, 1, 2]
    obj = trimesh.load_mesh(io.BytesIO(made["mesh.obj"]), file_type="obj")
    assert np.argsort(obj.extents).tolist() == [2, 0, 1]
    if "texture.png" in made:
        assert Image.open(io.BytesIO(made["texture.png"])).format == "PNG"
    assert made["turntable.mp4"][4:8] == b"ftyp"
